"""A client that calls the same server in several ways, in turns, and measures each call.

python -m tests.support.steady_client CALLS PAUSE COMMAND…

The commands are JSON lists; after each call it rests for PAUSE seconds. Says after every hundred
calls of each kind how many it has made, and after the last, as JSON, what each kind took: the
seconds of each call, and those without the time in which one of its processes stood in the
machine's queue for a processor, which none of them can help. It leaves when its input is closed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from time import sleep

import psutil

from tests.support.wrapping import Client, client

SAID_EVERY = 100
SETTLING = 0.5
"""Seconds until a wrapped server has all its threads."""


class Queue:
    """How long the threads of some processes have waited for a processor, in seconds."""

    def __init__(self, pids: Iterable[int]) -> None:
        folders = (Path(f"/proc/{pid}/task") for pid in pids)
        files = (thread / "schedstat" for folder in folders for thread in folder.iterdir())
        self._files = [os.open(file, os.O_RDONLY) for file in files if file.exists()]

    def waited(self) -> float:
        """Since they began."""
        return sum(int(os.pread(file, 100, 0).split()[1]) for file in self._files) / 1e9


class Side:
    """One of the ways to the server."""

    def __init__(self, desk: Client) -> None:
        self.own: list[float] = []
        self._desk = desk
        self._queue = Queue([os.getpid(), *_family(desk.process.pid)])

    def call(self) -> None:
        """One call."""
        before = self._queue.waited()
        self._desk.call()
        waited = self._queue.waited() - before
        self.own.append(max(0.0, self._desk.seconds[-1] - waited))

    def found(self) -> dict[str, list[float]]:
        """What each call took."""
        return {"seconds": self._desk.seconds[-len(self.own) :], "own": self.own}


def main() -> int:
    calls, pause = int(sys.argv[1]), float(sys.argv[2])
    with ExitStack() as stack:
        desks = [stack.enter_context(client(json.loads(words))) for words in sys.argv[3:]]
        for desk in desks:
            desk.greet()
            desk.ask("ping")
        sleep(SETTLING)
        sides = [Side(desk) for desk in desks]
        for made in range(1, calls + 1):
            for side in sides:
                side.call()
                if pause:
                    sleep(pause)
            if made % SAID_EVERY == 0:
                print(made, flush=True)
        print(json.dumps([side.found() for side in sides]), flush=True)
        sys.stdin.read()
    return 0


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


if __name__ == "__main__":
    sys.exit(main())

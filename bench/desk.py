"""What ``wrap`` costs the person at the desk.

``python -m bench.desk`` runs the same small server direct and wrapped, in turns, with an exporter
that listens, and measures what is added to one message and to the server's start, how late a call
may be while nothing happens to the exporter, and the memory of 20 wrapped servers beside their
servers'. It ends with 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import psutil

from tests.exporting import ROOT, exporter, obedient
from tests.wrapping import GREETING, client, obedient_command, wrapped

MAX_MESSAGE = 20e-6
MAX_START = 0.1
MAX_MIB = 25

STARTS = 9
SERVERS = 20
CALLS_EACH = 200


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds and MiB; those of a message are half of a call's."""

    calls: int
    message_seconds: float
    own_message_seconds: float
    """With all processes on one processor: without the waking of another one that slept, which
    in virtual machines takes longer than the work."""
    worst_wrapped_seconds: float
    worst_direct_seconds: float
    start_seconds: float
    private_mib: float

    @property
    def is_good(self) -> bool:
        """Whether every bound holds."""
        return (
            self.message_seconds <= MAX_MESSAGE
            and self.start_seconds <= MAX_START
            and self.private_mib <= MAX_MIB
        )


def main() -> int:
    """Measure, print as JSON, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.desk", description=__doc__)
    parser.add_argument("--calls", type=int, default=6000)
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "s"
        with exporter(Path(folder), {"other": obedient()}, "--wrap.socket", str(socket)):
            found = measure(calls, socket)
    sys.stdout.write(json.dumps(asdict(found), indent=2) + "\n")
    return 0 if found.is_good else 1


def measure(calls: int, socket: Path) -> Measured:
    """Everything, one after the other."""
    direct = obedient_command()
    through = wrapped(direct, socket)
    sides = taken(calls, [through, direct])
    with one_processor():
        together = taken(calls, [through, direct])
    starts = list(zip(*((start(through), start(direct)) for _ in range(STARTS)), strict=True))
    return Measured(
        calls=calls,
        message_seconds=added(sides),
        own_message_seconds=added(together),
        worst_wrapped_seconds=max(sides[0]["own"]),
        worst_direct_seconds=max(sides[1]["own"]),
        start_seconds=min(starts[0]) - min(starts[1]),
        private_mib=largest(socket),
    )


def added(sides: list[dict[str, list[float]]]) -> float:
    """Seconds that a message takes more."""
    usual = [statistics.median(side["seconds"]) for side in sides]
    return (usual[0] - usual[1]) / 2


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep what is started within the block on one processor, where the system can do that."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def taken(calls: int, commands: list[list[str]]) -> list[dict[str, list[float]]]:
    """What each call took, of each command."""
    words = [str(calls), "0", *map(json.dumps, commands)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.steady_client", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def start(command: list[str]) -> float:
    """From the start to the first reply."""
    began = perf_counter()
    with client(command) as desk:
        desk.ask("initialize", **GREETING)
        return perf_counter() - began


def largest(socket: Path) -> float:
    """The most private memory that one of many wrappers has."""
    with ExitStack() as stack:
        commands = (wrapped(obedient_command(), socket, f"s{number}") for number in range(SERVERS))
        desks = [stack.enter_context(client(command)) for command in commands]
        for desk in desks:
            desk.greet()
            for _ in range(CALLS_EACH):
                desk.call()
        used = (psutil.Process(desk.process.pid).memory_full_info().uss for desk in desks)
        return max(used) / 1024 / 1024


if __name__ == "__main__":
    sys.exit(main())

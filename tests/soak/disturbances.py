"""What happens to the servers and the configuration while the clients call."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support.exporting import Exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.running import SECONDS_TO_START, wait_for

NO_SERVER_SECONDS = 0.5
"""How long a restarted server stays away."""


class HttpServer:
    """An HTTP server process on an address of its own, which can be killed and started again."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def entry(self) -> dict[str, Any]:
        """It in the configuration."""
        return {"url": f"http://{self.address}/mcp"}

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = [sys.executable, "-m", "tests.soak.upstream", self.address]
        self._process = subprocess.Popen(command, cwd=ROOT)
        wait_for(self._accepts, SECONDS_TO_START, f"{self.address} accepts connections")

    def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _accepts(self) -> bool:
        host, _, port = self.address.rpartition(":")
        with suppress(OSError), socket.create_connection((host, int(port))):
            return True
        return False


class Disturber:
    """Kills, restarts and reloads, one after the other."""

    def __init__(self, exporter: Exporter, config: Path, restarted: HttpServer) -> None:
        self.done: Counter[str] = Counter()
        self._exporter = exporter
        self._config = config
        self._restarted = restarted
        self._numbers = itertools.count(1)
        self._random = random.Random(0)

    async def run(self, over: asyncio.Event, every: float) -> None:
        """Disturb in turn, until it is over."""
        ways: dict[str, Callable[[], Awaitable[None]]] = {
            "HTTP servers restarted": self._restart,
            "children killed": self._kill_child,
            "reloads of the same": self._reload_the_same,
            "reloads with a server changed": self._change,
            "reloads with a server added": self._add,
            "reloads with a server removed": self._remove,
            "reloads refused": self._reload_nonsense,
        }
        for name, way in itertools.cycle(ways.items()):
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), every)
            if over.is_set():
                break
            await way()
            self.done[name] += 1
        await self._remove()  # what was added would hold on to what is its own

    async def _restart(self) -> None:
        self._restarted.kill()
        await asyncio.sleep(NO_SERVER_SECONDS)
        await asyncio.to_thread(self._restarted.start)

    async def _kill_child(self) -> None:
        children = [pid for pid in self._exporter.descendants() if _is_to_be_killed(pid)]
        if children:
            psutil.Process(self._random.choice(children)).kill()

    async def _reload_the_same(self) -> None:
        await self._reload(200)

    async def _change(self) -> None:
        number = str(next(self._numbers))
        self._edit(lambda servers: servers.update(changed_stdio=scripted_stdio("--change", number)))
        await self._reload(200)

    async def _add(self) -> None:
        self._edit(lambda servers: servers.update(extra=scripted_stdio()))
        await self._reload(200)

    async def _remove(self) -> None:
        self._edit(lambda servers: servers.pop("extra", None))
        await self._reload(200)

    async def _reload_nonsense(self) -> None:
        good = self._config.read_text()
        self._config.write_text(good.replace('"command"', '"comand"'))
        await self._reload(500)
        self._config.write_text(good)

    def _edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        document = json.loads(self._config.read_text())
        change(document["servers"])
        self._config.write_text(json.dumps(document))

    async def _reload(self, expected: int) -> None:
        url = f"{self._exporter.web}/-/reload"
        answer = await asyncio.to_thread(requests.post, url, timeout=30)
        assert answer.status_code == expected, answer.text


KILLED = "--killed"
"""The argument that marks the children of the server that is there to be killed."""


def _is_to_be_killed(pid: int) -> bool:
    with suppress(psutil.Error):
        return KILLED in psutil.Process(pid).cmdline()
    return False

"""Restarts of one of two exporters behind a load balancer: no call fails, and none is uncounted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.rollout import Clients, Pair, Scraper
from tests.support.running import wait_for

RESTARTS = 2
CHECK_INTERVAL = 0.1


class Balancer:
    """Forwards connections in turn to the exporters whose ``/-/ready`` said yes when last asked."""

    def __init__(self, backends: dict[str, str]) -> None:
        self.address = ""
        self._backends = backends
        self._ready: set[str] = set()
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Balancer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def ready(self) -> int:
        return len(self._ready)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._checks = [self._loop.create_task(self._check(mcp)) for mcp in self._backends]
        opening = asyncio.start_server(self._forward, "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(opening)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        self._started.set()
        self._loop.run_forever()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _check(self, mcp: str) -> None:
        host, _, port = self._backends[mcp].partition(":")
        while True:
            (self._ready.add if await _is_ready(host, int(port)) else self._ready.discard)(mcp)
            await asyncio.sleep(CHECK_INTERVAL)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        ready = sorted(self._ready)
        host, _, port = ready[self._turn % len(ready)].partition(":")
        try:
            async with _connected(host, int(port)) as there:
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        except OSError:
            pass
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def _connected(
    host: str, port: int
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is closed however the block ends, the end of its task included."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _is_ready(host: str, port: int) -> bool:
    try:
        async with _connected(host, port) as (reader, writer):
            writer.write(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            line = await reader.readline()
    except OSError:
        return False
    return b" 200 " in line


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


def test_restarts_cost_nobody_a_call_and_no_count(tmp_path: Path) -> None:
    with (
        Pair(tmp_path, "3s") as pair,
        Balancer(dict(pair.addresses)) as balancer,
        Scraper([web for _, web in pair.addresses]) as scraper,
    ):
        wait_for(lambda: balancer.ready == 2, 60, "both are ready")
        with Clients(balancer.address) as clients:
            for _ in range(RESTARTS):
                clients.hold(pair.addresses[1][0], pair.restart)
                wait_for(lambda: balancer.ready == 2, 60, "it is back")
                time.sleep(0.3)
        wait_for(lambda: scraper.sums() == clients.counted, 30, "every call is counted")
    assert clients.failed == []
    assert clients.calls > 40 * RESTARTS
    assert clients.counted["sessions not found"] >= RESTARTS, "they end with their exporter"
    assert clients.ended_streams >= RESTARTS

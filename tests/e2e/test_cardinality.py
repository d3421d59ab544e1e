"""100,000 invented names of every kind leave no series, no memory, and an honest count."""

from __future__ import annotations

import asyncio
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.exporting import Exporter, exporter

pytestmark = pytest.mark.alone

NAMES = 100_000
"""Of each kind: tools, methods, clients, protocol versions, error codes, values of headers."""
WARM = NAMES // 5
"""Requests until memory may grow no more."""
ADMITTED = 3
"""Client names that the configuration admits."""
CONNECTIONS = 8
MOST_GROWTH = 0.05
SECONDS = 240
"""It takes a tenth of that where the machine does nothing else."""

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
NUMBER = re.compile(rb'"id":"t(\d+)"')


def batch(number: int) -> bytes:
    """A session, a method and a call that nobody has ever heard of."""
    info = {"name": f"client {number}", "version": str(number)}
    opening = {"protocolVersion": f"2099-{number}", "clientInfo": info, "capabilities": {}}
    trace = {"traceparent": f"00-{number + 1:032x}-00f067aa0ba902b7-01"}
    call = {"name": f"tool {number}", "arguments": {}, "_meta": trace}
    return json.dumps(
        [
            {"jsonrpc": "2.0", "id": f"s{number}", "method": "initialize", "params": opening},
            {"jsonrpc": "2.0", "id": f"m{number}", "method": f"invented/{number}"},
            {"jsonrpc": "2.0", "id": f"t{number}", "method": "tools/call", "params": call},
        ],
        separators=(",", ":"),
    ).encode()


def request(number: int) -> bytes:
    """It with headers that nobody has ever heard of either."""
    body = batch(number)
    lines = [
        "POST /invented/mcp HTTP/1.1",
        f"Host: {number}.localhost",
        f"Content-Length: {len(body)}",
        "Accept: application/json",
        f"User-Agent: agent/{number}",
        f"Mcp-Name: tool {number}",
        f"Mcp-Method: invented/{number}",
        f"MCP-Protocol-Version: 2099-{number}",
        f"X-Header-{number}: {number}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Messages(asyncio.Protocol, ABC):
    """HTTP messages with a length, as they come."""

    def __init__(self) -> None:
        self._buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self._buffer, 0, end)
            size = end + 4 + int(found[1] if found else 0)
            if len(self._buffer) < size:
                return
            whole, self._buffer = self._buffer[:size], self._buffer[size:]
            self.heard(whole)

    @abstractmethod
    def heard(self, message: bytes) -> None:
        """One message, whole."""


class Server(Messages):
    """Opens a session each time, and fails with codes that nobody has ever heard of."""

    def heard(self, message: bytes) -> None:
        found = NUMBER.search(message)
        assert found is not None
        number = int(found[1])
        replies = [
            {"jsonrpc": "2.0", "id": f"s{number}", "result": {}},
            {"jsonrpc": "2.0", "id": f"m{number}", "error": {"code": number + 1, "message": "?"}},
            {"jsonrpc": "2.0", "id": f"t{number}", "result": {"isError": True}},
        ]
        body = json.dumps(replies).encode()
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: {number}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        assert self.transport is not None
        self.transport.write(head.encode() + body)


class Client(Messages):
    """Asks for one number after the other, and counts the replies."""

    def __init__(self, numbers: Iterator[int]) -> None:
        super().__init__()
        self._numbers = numbers
        self.answered = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._next()

    def heard(self, message: bytes) -> None:
        assert message.startswith(b"HTTP/1.1 200 "), message
        self.answered += 1
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionResetError())

    def _next(self) -> None:
        assert self.transport is not None
        number = next(self._numbers, None)
        if number is None:
            self.done.set_result(None)
            self.transport.close()
        else:
            self.transport.write(request(number))


async def ask(host: tuple[str, int], numbers: range) -> int:
    """Ask for all of them over a few connections; how many replies came."""
    loop, waiting = asyncio.get_running_loop(), iter(numbers)
    made = [
        await loop.create_connection(lambda: Client(waiting), *host) for _ in range(CONNECTIONS)
    ]
    clients = [client for _, client in made]
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), SECONDS)
    return sum(client.answered for client in clients)


@dataclass(frozen=True)
class Size:
    """How large an exporter is, in series and in bytes of memory."""

    series: frozenset[str]
    memory: int

    @classmethod
    def of(cls, running: Exporter) -> Size:
        lines = requests.get(f"{running.web}/metrics", timeout=60).text.splitlines()
        series = {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}
        return cls(frozenset(series), running.status("VmRSS"))


def test_100000_invented_names_of_every_kind_leave_no_series_and_no_memory(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(Server, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        servers = {"invented": {"url": f"http://127.0.0.1:{port}/mcp"}}
        limits = {"clients": ADMITTED, "sessions_per_server": NAMES}
        with exporter(tmp_path, servers, idle_timeout="200ms", limits=limits) as running:
            assert await ask(running.host, range(CONNECTIONS)) == CONNECTIONS
            first = await asyncio.to_thread(Size.of, running)
            await ask(running.host, range(CONNECTIONS, WARM))
            warm = await asyncio.to_thread(Size.of, running)
            await ask(running.host, range(WARM, NAMES))
            last = await asyncio.to_thread(Size.of, running)
            await asyncio.to_thread(check, running, first, warm, last)
        listening.close()

    asyncio.run(run())


def check(running: Exporter, first: Size, warm: Size, last: Size) -> None:
    assert last.series == warm.series == first.series
    assert last.memory < warm.memory * (1 + MOST_GROWTH), (warm.memory, last.memory)
    scrape = running.scrape()
    overflow = scrape.by("label", "mcp_exporter_label_overflow_total")
    assert overflow == {"tool": NAMES, "client": NAMES - ADMITTED}
    assert scrape.by("method", "mcp_requests_total") == {
        "initialize": NAMES, "tools/call": NAMES, "_other": NAMES,
    }  # fmt: skip
    assert scrape.by("tool", "mcp_tool_calls_total") == {"_other": NAMES}
    assert scrape.by("code", "mcp_protocol_errors_total") == {"other": NAMES}
    sessions = list(scrape.select("mcp_sessions_started_total"))
    assert sum(sample.value for sample in sessions) == NAMES
    assert {sample.labels["protocol_version"] for sample in sessions} == {"_other"}
    assert len(sessions) == ADMITTED + 1
    assert scrape.total("mcp_requests_in_flight") == 0
    assert scrape.total("mcp_exporter_internal_errors_total") == 0

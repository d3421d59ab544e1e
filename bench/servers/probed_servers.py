"""Many MCP servers in one process, half of them dead; it notes when each was probed.

``python -m bench.servers.probed_servers COUNTS`` with ``mode=number`` for each mode; says where
they listen as one line of JSON, and what it noted as another one when its input ends.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any, cast

MODERN = "2026-07-28"
INFO = {"name": "probed", "version": "1"}
TOOLS = [{"name": f"tool_{number}", "inputSchema": {"type": "object"}} for number in range(1)]

Json = dict[str, Any]
Answer = tuple[int, bytes, str]

_sessions = itertools.count(1)


def modern(request: Json) -> Answer:
    """A server of the newer era."""
    if request.get("method") == "server/discover":
        meta = {"io.modelcontextprotocol/serverInfo": INFO}
        return reply(request, supportedVersions=[MODERN], capabilities={"tools": {}}, _meta=meta)
    if request.get("method") == "tools/list":
        return reply(request, tools=TOOLS)
    return refusal(request, 404)


def legacy(request: Json) -> Answer:
    """A server of the older era, with sessions."""
    if request.get("method") == "initialize":
        status, body, _ = reply(
            request, protocolVersion="2025-11-25", capabilities={"tools": {}}, serverInfo=INFO
        )
        return status, body, f"Mcp-Session-Id: {next(_sessions)}\r\n"
    if request.get("method") == "tools/list":
        return reply(request, tools=TOOLS)
    if request.get("method") == "ping":
        return reply(request)
    return refusal(request, 400) if "id" in request else (202, b"", "")


def html(request: Json) -> Answer:  # noqa: ARG001
    """A web site."""
    return 200, b"<html></html>", ""


def broken(request: Json) -> Answer:  # noqa: ARG001
    """A server that fails."""
    return 500, b"no", ""


def silent(request: Json) -> None:
    """A server that says nothing."""


MODES: dict[str, Callable[[Json], Answer | None]] = {
    mode.__name__: mode for mode in (modern, legacy, html, broken, silent)
}


def reply(request: Json, **members: object) -> Answer:
    """A result."""
    body = {"jsonrpc": "2.0", "id": request.get("id"), "result": members}
    return 200, json.dumps(body).encode(), ""


def refusal(request: Json, status: int) -> Answer:
    """An error."""
    fault = {"code": -32601, "message": "no"}
    return (
        status,
        json.dumps({"jsonrpc": "2.0", "id": request.get("id"), "error": fault}).encode(),
        "",
    )


class Server(asyncio.Protocol):
    """One connection to one server."""

    def __init__(self, mode: Callable[[Json], Answer | None], seen: list[float]) -> None:
        self._mode = mode
        self._seen = seen
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._seen.append(time.monotonic())

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if not end or len(body) < int(fields.get(b"content-length", 0)):
            return
        self._data = b""
        answer = self._mode(json.loads(body) if body else {})
        if answer is not None and self._transport is not None:
            status, content, extra = answer
            kind = "Content-Type: application/json\r\n" if content[:1] == b"{" else ""
            lines = f"HTTP/1.1 {status} X\r\n{kind}{extra}Content-Length: {len(content)}\r\n\r\n"
            self._transport.write(lines.encode() + content)


def refused() -> tuple[str, socket.socket]:
    """An address that is taken, and where nobody listens."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return f"http://127.0.0.1:{taken.getsockname()[1]}/mcp", taken


async def main(counts: dict[str, int]) -> None:
    loop = asyncio.get_running_loop()
    urls: dict[str, str] = {}
    seen: dict[str, list[float]] = {}
    kept = []
    for mode, count in counts.items():
        for number in range(count):
            name = f"{mode}-{number}"
            if mode == "refused":
                urls[name], taken = refused()
                kept.append(taken)
                continue
            times: list[float] = []
            seen[name] = times
            build = functools.partial(Server, MODES[mode], times)
            server = await loop.create_server(build, "127.0.0.1", 0)
            urls[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    sys.stdout.write(json.dumps(urls) + "\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    asyncio.run(main({mode: int(n) for mode, _, n in (a.partition("=") for a in sys.argv[1:])}))

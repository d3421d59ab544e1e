"""An MCP server over HTTP that costs as little as Python can: what is behind a measured proxy.

``python -m bench.servers.http_server`` says its port as one line of JSON, and ends with its
standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import json
import sys
from collections.abc import Callable
from typing import cast

import httptools
import uvloop

from bench.load.usage import pin
from bench.servers.answers import answer

_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n%b\r\n"
)
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_NO_STREAM = b"HTTP/1.1 405 Method Not Allowed\r\nAllow: POST, DELETE\r\nContent-Length: 0\r\n\r\n"
_ENDED = b"HTTP/1.1 204 No Content\r\n\r\n"
_SESSION = b"Mcp-Session-Id: 0123456789abcdef0123456789abcdef\r\n"


class Connection(asyncio.Protocol):
    """One connection, of one client after another."""

    def __init__(self, tools: int) -> None:
        self._tools = tools
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._fields = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body.clear()
        self._fields = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"mcp-session-id":
            self._fields = b"Mcp-Session-Id: %b\r\n" % value

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method()
        if method != b"POST":
            self._transport.write(_ENDED if method == b"DELETE" else _NO_STREAM)
            return
        messages = answer(bytes(self._body), self._tools)
        if not messages:
            self._transport.write(_ACCEPTED)
        elif len(messages) == 1:
            fields = _SESSION if b'"initialize"' in self._body else self._fields
            self._transport.write(_JSON % (len(messages[0]), fields, messages[0]))
        else:
            self._stream(messages)

    def _stream(self, messages: list[bytes]) -> None:
        self._transport.write(_STREAM % self._fields)
        self._loop.call_soon(self._send_event, messages, 0)

    def _send_event(self, messages: list[bytes], number: int) -> None:
        """Each event is written by itself: a server has them one after another."""
        event = b"event: message\r\ndata: %b\r\n\r\n" % messages[number]
        is_last = number + 1 == len(messages)
        self._transport.write(b"%x\r\n%b\r\n%b" % (len(event), event, b"0\r\n\r\n" * is_last))
        if not is_last:
            self._loop.call_soon(self._send_event, messages, number + 1)


async def serve(build: Callable[[], asyncio.Protocol]) -> None:
    """Say the port, and take connections until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(build, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--tools", type=int, default=10)
    arguments.add_argument("--cpu", type=int)
    given = arguments.parse_args()
    pin(given.cpu)
    uvloop.run(serve(functools.partial(Connection, given.tools)))

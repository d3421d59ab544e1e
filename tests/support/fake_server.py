"""An HTTP server on the virtual loop: the test says what each request is answered with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools
import msgspec

from tests.support.fakes import FakeTransport, settle, virtual_loop

Fields = dict[str, str]
Answer = tuple[int, object, Fields] | None
"""Status, body (bytes, or what is sent as JSON) and headers; ``None`` for silence."""


class Asked:
    """One request as the server saw it."""

    def __init__(self) -> None:
        self.method = b""
        self.target = b""
        self.headers: dict[str, str] = {}
        self.body = b""
        self.wire: object = None

    @property
    def message(self) -> Any:
        return msgspec.json.decode(self.body) if self.body else {}

    @property
    def asks(self) -> str:
        """The JSON-RPC method, else the HTTP method."""
        return str(self.message.get("method") or self.method.decode())


class _Wire(FakeTransport):
    """One connection: parses what is written to it."""

    def __init__(self, protocol: asyncio.Protocol, server: FakeServer) -> None:
        super().__init__(protocol)
        self._server = server
        self._asked = Asked()
        self._parser = httptools.HttpRequestParser(self)

    def write(self, data: Any) -> None:
        super().write(data)
        if not self.is_closing():
            self._parser.feed_data(bytes(data))

    def on_url(self, url: bytes) -> None:
        self._asked.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        assert name.decode().lower() not in self._asked.headers, "twice"
        self._asked.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._asked.body += body

    def on_message_complete(self) -> None:
        asked, self._asked = self._asked, Asked()
        asked.method = self._parser.get_method()
        asked.wire = self
        self._server.take(asked, self)


class FakeServer:
    """Answers by ``answer``; keeps what it was asked."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.wires: list[_Wire] = []
        self.delay = 0.0
        self.refuses_connections = False
        virtual_loop().dial = self._dial

    @property
    def methods(self) -> list[str]:
        """What it was asked since the last time."""
        methods = [asked.asks for asked in self.asked]
        self.asked.clear()
        return methods

    def take(self, asked: Asked, wire: _Wire) -> None:
        self.asked.append(asked)
        virtual_loop().call_later(self.delay, self._reply, asked, wire)

    def _reply(self, asked: Asked, wire: _Wire) -> None:
        try:
            answer = self.answer(asked)
        except ConnectionError as error:
            wire.lose(error)
            return
        if answer is None or wire.is_closing():
            return
        status, content, fields = answer
        body = content if isinstance(content, bytes) else msgspec.json.encode(content)
        kind = {} if isinstance(content, bytes) else {"Content-Type": "application/json"}
        headers = {**kind, "Content-Length": str(len(body)), **fields}
        if "Transfer-Encoding" in headers:
            del headers["Content-Length"]
        lines = [f"HTTP/1.1 {status} Fine", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        wire.protocol.data_received("\r\n".join(lines).encode() + body)

    async def _dial(self, protocol: asyncio.Protocol) -> FakeTransport:
        if self.refuses_connections:
            raise ConnectionRefusedError(111, "Connection refused")
        wire = _Wire(protocol, self)
        self.wires.append(wire)
        return wire


def chunk(text: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(text), text)


async def pass_time(seconds: float) -> None:
    """Let time pass on the virtual loop."""
    await asyncio.sleep(seconds)
    await settle()

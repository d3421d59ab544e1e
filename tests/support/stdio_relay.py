"""A stdio server behind a listener, with children that the test speaks for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from exporter.config.limits import Timeout
from exporter.config.model import Server
from exporter.protocol import jsonrpc
from exporter.protocol.jsonrpc import CAPABILITIES_KEY, VERSION_KEY
from exporter.relay.stdio import children as stdio_children
from exporter.relay.stdio.param_headers import ParamHeaders
from exporter.relay.stdio.upstream import StdioUpstream
from exporter.transport.http.request import Request
from exporter.transport.process.child import ChildOwner
from exporter.transport.process.reaper import Reaper
from tests.support.fakes import (
    Downstream,
    FakeChild,
    OpenApplication,
    Reply,
    Telemetry,
    post,
    request,
    result,
    virtual_loop,
)

META = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}
PARAMS = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "inspector"}}
INITIALIZE = request(0, "initialize", **PARAMS)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    """The children that are started, in order."""
    started: list[FakeChild] = []

    def start(_: Server, owner: ChildOwner, *rest: Any, **options: Any) -> FakeChild:
        started.append(FakeChild(owner, rest[-1]))
        started[-1].after = options["after"]
        return started[-1]

    monkeypatch.setattr(stdio_children, "Child", start)
    return started


class Client(Downstream):
    """One connection of a client."""

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies()
        return reply


class StdioSetup(OpenApplication):
    """A stdio server behind a listener."""

    def __init__(self, started: list[FakeChild], **settings: float | Timeout) -> None:
        self.children = started
        param_headers = ParamHeaders()
        self.telemetry = Telemetry(transport="stdio", listener=param_headers)
        server = Server("files", "stdio", command="x", **cast("dict[str, Any]", settings))
        self.upstream = StdioUpstream(
            server,
            self.telemetry.observer,
            self.telemetry.recorder,
            Reaper(),
            virtual_loop(),
            param_headers,
        )

    def handle(self, request: Request) -> None:
        messages = jsonrpc.read_all(request.body) if request.method == b"POST" else ()
        assert messages is not None
        self.upstream.handle(request, messages)

    def reject(self, request: Request, status: int, reason: str) -> None:
        raise AssertionError((request, status, reason))

    def say(self, text: bytes) -> Client:
        client = Client(self)
        client.say(text)
        return client

    def post(self, body: object, session: bytes | None = None) -> Client:
        headers = [(b"Mcp-Session-Id", session)] if session else []
        return self.say(post(body, b"/files/mcp", *headers))

    def other(self, method: bytes, *headers: bytes) -> Client:
        lines = [method + b" /files/mcp HTTP/1.1", b"Host: x", *headers, b"", b""]
        return self.say(b"\r\n".join(lines))

    def modern(self, request_id: object, method: str = "tools/list", **params: object) -> Client:
        headers = [(b"MCP-Protocol-Version", b"2026-07-28"), (b"Mcp-Method", method.encode())]
        body = request(request_id, method, _meta=META, **params)
        return self.say(post(body, b"/files/mcp", *headers))

    def open(self) -> tuple[bytes, FakeChild]:
        """A new session, initialized."""
        client = self.post(INITIALIZE)
        child = self.children[-1]
        child.say(result(0))
        session_id = client.reply.header(b"Mcp-Session-Id")
        assert session_id is not None
        return session_id, child

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.telemetry.outcomes())

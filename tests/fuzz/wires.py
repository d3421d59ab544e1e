"""The targets that need connections: the listener's bytes, and those of a server's reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httptools

from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.request import Request
from tests.fuzz.targets import Target, pieces
from tests.support.fakes import Downstream, Scribe, VirtualLoop, fake_time, post, request, settle
from tests.unit.relay.http.test_relay import Setup

LIMITS = ListenerLimits(head_bytes=2000, body_bytes=2000)
MOST_KEPT = 64 * 1024
CALL = request(1, "tools/call", name="x")
MODERN, LEGACY = b"2026-07-28", b"2025-11-25"


class Echo(Scribe):
    """Answers each request at once; every third in two parts."""

    def handle(self, request: Request) -> None:
        super().handle(request)
        if len(request.body) % 3:
            request.respond(200, request.body, b"text/plain")
        else:
            request.response.start(200, [])
            request.response.write(request.target)
            request.response.end()


class Listening:
    """Bytes of a client."""

    async def take(self, data: bytes) -> None:
        """Feed them; whatever is answered is HTTP, and the end is the end."""
        app = Echo()
        client = Downstream(app, LIMITS)
        for piece in pieces(data):
            if client.is_closing():
                break
            client.say(piece)
        await settle()
        client.end()
        await settle()
        check_replies(bytes(client.sent), app.requests)
        assert len(app.refused) <= 1, app.refused
        assert client.is_closing() or client.has_eof
        client.connection.abort()
        await settle()
        assert not client.listener.connections
        assert len(client.connection._backlog) <= MOST_KEPT + len(data)


def check_replies(data: bytes, requests: list[Request]) -> None:
    """They must be replies; after the one to a HEAD a parser could not tell what follows."""
    if data and not any(each.method in (b"HEAD", b"CONNECT") for each in requests):
        httptools.HttpResponseParser(_Nobody()).feed_data(data)


class _Nobody:
    """Listens to nothing."""


class Relaying:
    """Bytes of a server, in reply to a call; the connection ends with them."""

    def __init__(self) -> None:
        self._scene = Setup(timeout=5.0, observed_bytes=1000)
        self._calls = 0

    async def take(self, data: bytes) -> None:
        """Whatever comes, the call has one outcome, the client HTTP, and nothing waits."""
        setup = self._scene
        version = MODERN if len(data) % 2 else LEGACY
        client = await setup.send(post(CALL, b"/files/mcp", (b"MCP-Protocol-Version", version)))
        self._calls += 1
        connection = setup.connections[-1]
        for piece in pieces(data):
            if connection.is_closing():
                break
            setup.say(piece)
        connection.end()
        await settle()
        assert sum(setup.outcomes.values()) == self._calls, data
        assert not setup.upstream.pool.live
        check_replies(bytes(client.sent), [])
        client.lose(None)
        await settle()
        setup.connections.clear()
        setup.telemetry.events.losses.clear()


WIRED: dict[str, Callable[[], Listening | Relaying]] = {"listener": Listening, "relay": Relaying}


@contextmanager
def wired(name: str) -> Iterator[Target]:
    """A target of these, on one loop for all its executions."""
    with fake_time() as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualLoop)

        async def make() -> Listening | Relaying:
            return WIRED[name]()

        target = runner.run(make())

        def run(data: bytes) -> None:
            runner.run(target.take(data))
            assert not loop.faults, loop.faults
            assert len(asyncio.all_tasks(loop)) == 0

        yield run
        if isinstance(target, Relaying):
            runner.run(target._scene.upstream.close())

"""Servers come, change and go while the others go on undisturbed."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from exporter.config.load import parse_config
from exporter.config.model import Server
from exporter.probe.history import History
from exporter.relay.gateway import Gateway
from exporter.relay.http.sse_upstream import SseUpstream
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl
from exporter.relay.stdio import children as stdio_children
from exporter.relay.stdio.upstream import StdioUpstream
from exporter.servers import DRAIN_TIME, ServerSet
from exporter.transport.process.child import ChildOwner
from exporter.transport.process.reaper import Reaper
from tests.support.fakes import (
    Downstream,
    FakeChild,
    Reply,
    Telemetry,
    on_fake_time,
    post,
    request,
    result,
    settle,
)
from tests.support.kept_spans import CONTEXT, KeptSpans

SHELL = "shell: {command: cat}"
WEB = "web: {url: 'http://up:8000/mcp'}"
OLD = "old: {url: 'http://up:8000/sse', type: sse}"


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    """The children that were started, in order."""
    started: list[FakeChild] = []

    def start(_: Server, owner: ChildOwner, *rest: Any, **_options: Any) -> FakeChild:
        started.append(FakeChild(owner, rest[-1]))
        return started[-1]

    monkeypatch.setattr(stdio_children, "Child", start)
    return started


class Setup:
    """A servers behind a gateway."""

    def __init__(self, children: list[FakeChild]) -> None:
        self.children = children
        self.telemetry = Telemetry("shell")
        self.gateway = Gateway(self.telemetry.metrics)
        self.servers = ServerSet(
            self.telemetry.metrics, self.gateway, History(), Reaper(), OwnUrl(None)
        )

    def apply(self, *servers: str, probe: str = "probe: {enabled: false}") -> tuple[Any, ...]:
        """Serve these; answers who was added, changed and removed."""
        text = f"{{servers: {{{', '.join(servers)}}}, {probe}}}"
        difference = self.servers.apply(parse_config(text, "mcp.yml", {}))
        return difference.added, difference.changed, difference.removed

    def open(self) -> tuple[bytes, FakeChild]:
        """A session with the shell."""
        client = self.post(request(0, "initialize"))
        child = self.children[-1]
        child.say(result(0))
        (reply,) = client.replies()
        session = reply.header(b"Mcp-Session-Id")
        assert session is not None
        return session, child

    def post(self, body: object, session: bytes = b"", path: bytes = b"/shell/mcp") -> Downstream:
        client = Downstream(self.gateway)
        client.say(post(body, path, *([(b"Mcp-Session-Id", session)] if session else [])))
        return client

    def has_series(self, server: str) -> bool:
        return self.telemetry.value("mcp_server_up", server=server) is not None


def reply_of(client: Downstream) -> Reply:
    (reply,) = client.replies()
    return reply


@on_fake_time
async def test_every_transport_has_its_relay(children: list[FakeChild]) -> None:
    setup = Setup(children)
    assert setup.apply(SHELL, WEB, OLD) == (["shell", "web", "old"], [], [])
    kinds = {name: type(upstream) for name, upstream in setup.gateway._routes.servers.items()}
    assert kinds == {"shell": StdioUpstream, "web": HttpUpstream, "old": SseUpstream}
    assert setup.servers.names == ["shell", "web", "old"]
    assert [row.path for row in setup.servers.rows()] == ["/shell/mcp", "/web/mcp", "/old/mcp"]
    await setup.servers.close()


@on_fake_time
async def test_a_server_that_stays_keeps_its_sessions(children: list[FakeChild]) -> None:
    setup = Setup(children)
    setup.apply(SHELL, WEB)
    session, child = setup.open()
    assert setup.apply(OLD, SHELL) == (["old"], [], ["web"])
    client = setup.post(request(1), session)
    child.say(result(1))
    assert reply_of(client).json == result(1)
    assert setup.servers.names == ["old", "shell"]
    await setup.servers.close()


@on_fake_time
async def test_a_server_that_is_told_of_spans_keeps_its_sessions(children: list[FakeChild]) -> None:
    setup = Setup(children)
    setup.apply(SHELL)
    session, child = setup.open()
    kept = KeptSpans(setup.telemetry.metrics)
    for propagates in (True, False):
        told = f"shell: {{command: cat, propagate: {str(propagates).lower()}}}"
        assert setup.apply(told) == ([], ["shell"], [])
        found = setup.servers.find("shell")
        assert found is not None
        assert found.propagate is propagates
        setup.post(request(1, "tools/list", _meta={"traceparent": CONTEXT}), session)
        child.say(result(1))
        heard = child.lines[-1].decode()
        assert not propagates or kept.told in heard
        assert (CONTEXT in heard) is not propagates
    assert len(children) == 1


@on_fake_time
async def test_a_server_that_changed_is_replaced(children: list[FakeChild]) -> None:
    setup = Setup(children)
    setup.apply(SHELL)
    session, child = setup.open()
    assert setup.apply("shell: {command: cat, args: [-u]}") == ([], ["shell"], [])
    await asyncio.sleep(1)
    assert child.is_stopped
    assert reply_of(setup.post(request(1), session)).status == 404
    found = setup.servers.find("shell")
    assert found is not None
    assert found.args == ("-u",)
    assert setup.has_series("shell")
    setup.open()
    assert setup.telemetry.value("mcp_sessions") == 1
    await setup.servers.close()


@contextmanager
def without_collections() -> Iterator[None]:
    """Only reference counts free what is dropped."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "server",
    [
        "shell: {command: cat, args: [%s]}",
        "shell: {url: 'http://up:8000/mcp', headers: {X: %s}}",
        "shell: {url: 'http://up:8000/sse', type: sse, headers: {X: %s}}",
    ],
)
@on_fake_time
async def test_what_was_replaced_is_freed_without_the_garbage_collector(
    children: list[FakeChild], server: str
) -> None:
    setup = Setup(children)
    setup.apply(server % "old")
    runtime = setup.servers._runtimes["shell"]
    parts = (runtime.upstream, runtime.prober, runtime.recorder, runtime.prober.health)
    freed = [weakref.ref(part) for part in parts]
    del runtime, parts
    with without_collections():
        setup.apply(server % "new")
        await asyncio.sleep(DRAIN_TIME)
        assert [part() for part in freed] == [None] * len(freed)
    await setup.servers.close()


@on_fake_time
async def test_what_is_in_flight_is_answered_before_its_server_goes(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    setup.apply(SHELL, WEB)
    session, child = setup.open()
    client = setup.post(request(1), session)
    setup.apply(WEB)
    await asyncio.sleep(DRAIN_TIME / 2)
    assert not child.is_stopped
    assert reply_of(setup.post(request(2), session)).status == 404
    child.say(result(1))
    assert reply_of(client).json == result(1)
    await asyncio.sleep(1)
    assert child.is_stopped
    assert not setup.has_series("shell")
    assert setup.has_series("web")
    await setup.servers.close()


@on_fake_time
async def test_what_does_not_end_in_time_is_answered_with_an_error(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    setup.apply(SHELL, WEB)
    session, child = setup.open()
    client = setup.post(request(1), session)
    setup.apply(WEB)
    await asyncio.sleep(DRAIN_TIME + 1)
    assert reply_of(client).status == 502
    assert child.is_stopped
    assert not setup.has_series("shell")
    await setup.servers.close()


@on_fake_time
async def test_a_server_that_comes_back_keeps_its_series(children: list[FakeChild]) -> None:
    setup = Setup(children)
    setup.apply(SHELL, WEB)
    setup.apply(WEB)
    setup.apply(WEB, SHELL)
    await asyncio.sleep(DRAIN_TIME + 1)
    assert setup.has_series("shell")
    setup.open()
    assert setup.telemetry.value("mcp_sessions") == 1
    await setup.servers.close()


@on_fake_time
async def test_passive_signs_reach_the_health_unless_switched_off(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    setup.apply(SHELL, "quiet: {command: cat, probe: {passive: false}}")
    for name, state in (("shell", "ok"), ("quiet", "unknown")):
        client = setup.post(request(0, "initialize"), path=f"/{name}/mcp".encode())
        children[-1].say(result(0))
        assert reply_of(client).status == 200
        assert setup.telemetry.value("mcp_server_health_state", server=name, state=state) == 1
    await setup.servers.close()


@on_fake_time
async def test_the_end_answers_everything_and_leaves_nothing(children: list[FakeChild]) -> None:
    setup = Setup(children)
    setup.apply(SHELL, WEB)
    session, child = setup.open()
    client = setup.post(request(1), session)
    leaving = setup.post(request(2), session)
    setup.apply(WEB)
    await settle()
    await setup.servers.close()
    assert child.is_stopped
    assert reply_of(client).status == 502
    assert reply_of(leaving).status == 502
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert others == []

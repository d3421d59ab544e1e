"""Which child serves whom: a session has its own, all 2026-07-28 clients share one."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from exporter.config.model import Server
from exporter.protocol import jsonrpc
from exporter.protocol.jsonrpc import CAPABILITIES_KEY, VERSION_KEY
from exporter.relay.stdio import upstream as stdio_upstream
from exporter.relay.stdio.upstream import Backoff, StdioUpstream
from exporter.transport.http.request import Request
from exporter.transport.process.child import ChildOwner
from exporter.transport.process.reaper import Reaper
from tests.support.fakes import (
    Books,
    Downstream,
    FakeChild,
    OpenApplication,
    Reply,
    encoded,
    error,
    notification,
    on_fake_time,
    post,
    request,
    result,
    settle,
    virtual_loop,
)

META = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}
PARAMS = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "inspector"}}
INITIALIZE = request(0, "initialize", **PARAMS)


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch) -> list[FakeChild]:
    """The children that were started, in order."""
    started: list[FakeChild] = []

    def start(_: Server, owner: ChildOwner, *rest: Any) -> FakeChild:
        started.append(FakeChild(owner, rest[-1]))
        return started[-1]

    monkeypatch.setattr(stdio_upstream, "Child", start)
    return started


class Client(Downstream):
    """One connection of a client."""

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies()
        return reply


class Scene(OpenApplication):
    """A stdio server behind a listener."""

    def __init__(self, children: list[FakeChild], **settings: float) -> None:
        self.children = children
        self.books = Books(transport="stdio")
        server = Server("files", "stdio", command="x", **cast("dict[str, Any]", settings))
        self.upstream = StdioUpstream(
            server, self.books.observer, self.books.recorder, Reaper(), virtual_loop()
        )

    def handle(self, request: Request) -> None:
        messages = jsonrpc.read_all(request.body) if request.method == b"POST" else ()
        assert messages is not None
        self.upstream.handle(request, messages)

    def refuse(self, request: Request, status: int, reason: str) -> None:
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
        return dict(self.books.outcomes())


# Sessions


@on_fake_time
async def test_each_session_has_a_child_of_its_own(children: list[FakeChild]) -> None:
    scene = Scene(children)
    (first, one), (second, two) = scene.open(), scene.open()
    assert first != second
    scene.post(request(1), first)
    assert (len(one.lines), len(two.lines)) == (2, 1)
    assert [child.use for child in children] == ["session", "session"]
    assert scene.books.value("mcp_sessions") == 2
    started = "mcp_sessions_started_total"
    assert scene.books.value(started, client="inspector", protocol_version="2025-11-25") == 2


@on_fake_time
async def test_a_delete_ends_the_session_and_its_child(children: list[FakeChild]) -> None:
    scene = Scene(children)
    session, child = scene.open()
    waiting = scene.post(request(1), session)
    await asyncio.sleep(60)
    reply = scene.other(b"DELETE", b"Mcp-Session-Id: " + session).reply
    assert (reply.status, reply.body) == (200, b"")
    assert child.is_stopped
    assert waiting.replies()[-1].is_complete
    assert scene.books.value("mcp_sessions") == 0
    assert scene.books.value("mcp_session_duration_seconds_sum") == pytest.approx(60)
    assert scene.post(request(2), session).reply.status == 404


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
@on_fake_time
async def test_a_session_must_be_named_and_known(children: list[FakeChild], method: bytes) -> None:
    scene = Scene(children)
    unnamed = [scene.post(request(7)), scene.other(method)]
    unknown = [scene.post(request(7), b"x"), scene.other(method, b"Mcp-Session-Id: x")]
    assert [client.reply.status for client in unnamed + unknown] == [400, 400, 404, 404]
    assert unnamed[0].reply.json["id"] == 7
    assert "initialize" in unknown[0].reply.json["error"]["message"]
    assert children == []
    for reason in ("bad_request", "unknown_session"):
        assert scene.books.own("mcp_exporter_rejected_requests_total", reason=reason) == 2


@on_fake_time
async def test_the_stream_of_a_session_is_opened_by_get(children: list[FakeChild]) -> None:
    scene = Scene(children)
    session, child = scene.open()
    stream = scene.other(b"GET", b"Mcp-Session-Id: " + session)
    child.say(notification("notifications/tools/list_changed"))
    assert stream.reply.events == [notification("notifications/tools/list_changed")]
    await scene.upstream.close()
    assert stream.reply.is_complete


@pytest.mark.parametrize(
    "body", [{"jsonrpc": "2.0"}, {"id": 1}, [request(1), {"id": 2}], {"method": 5}]
)
@on_fake_time
async def test_what_is_no_message_reaches_no_child(children: list[FakeChild], body: object) -> None:
    scene = Scene(children)
    session, child = scene.open()
    assert scene.post(body, session).reply.status == 400
    assert scene.post(body).reply.status == 400
    assert len(child.lines) == 1


@on_fake_time
async def test_initialize_without_an_id_opens_nothing(children: list[FakeChild]) -> None:
    scene = Scene(children)
    assert scene.post(notification("initialize", **PARAMS)).reply.status == 400
    assert children == []


@on_fake_time
async def test_an_unused_session_is_ended_and_a_used_one_is_not(
    children: list[FakeChild],
) -> None:
    scene = Scene(children, idle_timeout=100, timeout=0)
    unused, waiting, listening = (scene.open() for _ in range(3))
    scene.post(request(1), waiting[0])
    scene.other(b"GET", b"Mcp-Session-Id: " + listening[0])
    await asyncio.sleep(98)
    assert not unused[1].is_stopped
    await asyncio.sleep(5)
    assert [child.is_stopped for child in children] == [True, False, False]
    assert scene.post(request(2), unused[0]).reply.status == 404
    assert scene.books.value("mcp_sessions") == 2
    await scene.upstream.close()


@on_fake_time
async def test_use_keeps_a_session(children: list[FakeChild]) -> None:
    scene = Scene(children, idle_timeout=100)
    session, child = scene.open()
    for _ in range(5):
        await asyncio.sleep(60)
        scene.post(notification("notifications/initialized"), session)
    assert not child.is_stopped
    await scene.upstream.close()


@on_fake_time
async def test_without_idle_timeout_nothing_is_ended(children: list[FakeChild]) -> None:
    scene = Scene(children, idle_timeout=0)
    _, child = scene.open()
    scene.modern(1)
    children[1].say(result(1))
    await asyncio.sleep(20_000)
    assert not child.is_stopped
    assert not children[1].is_stopped
    await scene.upstream.close()


# 2026-07-28


@on_fake_time
async def test_clients_without_sessions_share_one_child(children: list[FakeChild]) -> None:
    scene = Scene(children)
    first, second = scene.modern("a"), scene.modern("a")
    assert [child.use for child in children] == ["shared"]
    children[0].say(result(2, n=2))
    children[0].say(result(1, n=1))
    assert first.reply.json == result("a", n=1)
    assert second.reply.json == result("a", n=2)
    assert first.reply.header(b"Mcp-Session-Id") is None
    assert scene.books.value("mcp_sessions") == 0


@on_fake_time
async def test_the_eras_never_meet_in_one_child(children: list[FakeChild]) -> None:
    scene = Scene(children)
    scene.modern(1)
    scene.open()
    scene.modern(2)
    assert [(child.use, len(child.lines)) for child in children] == [("shared", 2), ("session", 1)]


@on_fake_time
async def test_a_request_without_a_whole_envelope_reaches_no_child(
    children: list[FakeChild],
) -> None:
    scene = Scene(children)
    header = (b"MCP-Protocol-Version", b"2026-07-28")
    mismatch = scene.say(post(request(3, "tools/list", _meta=META), b"/files/mcp", header))
    missing = scene.say(post(request(3, "tools/list"), b"/files/mcp", header))
    for client, code in ((mismatch, -32020), (missing, -32602)):
        assert client.reply.status == 400
        assert (client.reply.json["id"], client.reply.json["error"]["code"]) == (3, code)
    assert children == []
    assert scene.outcomes == {"rejected": 2}


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
@on_fake_time
async def test_only_post_is_served_without_sessions(
    children: list[FakeChild], method: bytes
) -> None:
    reply = Scene(children).other(method, b"MCP-Protocol-Version: 2026-07-28").reply
    assert (reply.status, reply.header(b"Allow")) == (405, b"POST")


@pytest.mark.parametrize(
    "body", [[request(1, _meta=META)], [request(1), request(2)], result(1), {"id": 1}]
)
@on_fake_time
async def test_only_one_request_at_a_time_is_served_without_sessions(
    children: list[FakeChild], body: object
) -> None:
    scene = Scene(children)
    headers = [(b"MCP-Protocol-Version", b"2026-07-28"), (b"Mcp-Method", b"ping")]
    assert scene.say(post(body, b"/files/mcp", *headers)).reply.status == 400
    assert children == []


@on_fake_time
async def test_a_notification_without_a_session_is_accepted_and_goes_no_further(
    children: list[FakeChild],
) -> None:
    scene = Scene(children)
    body = encoded(notification("notifications/cancelled", requestId=1))
    reply = scene.say(post(body, b"/x", (b"MCP-Protocol-Version", b"2026-07-28"))).reply
    assert (reply.status, reply.body) == (202, b"")
    assert children == []
    count = "mcp_notifications_total"
    labels = {"method": "notifications/cancelled", "direction": "to_server"}
    assert scene.books.value(count, **labels) == 1


@on_fake_time
async def test_an_unused_shared_child_is_ended(children: list[FakeChild]) -> None:
    scene = Scene(children, idle_timeout=100)
    scene.modern(1)
    children[0].say(result(1))
    await asyncio.sleep(105)
    assert children[0].is_stopped
    scene.modern(2)
    assert len(children) == 2
    await scene.upstream.close()


@on_fake_time
async def test_a_server_that_refuses_discover_is_not_asked_again_for_a_while(
    children: list[FakeChild],
) -> None:
    scene = Scene(children)
    first = scene.modern(1, "server/discover")
    children[0].say(error(1, -32601))
    await settle()
    again = scene.modern("again", "server/discover")
    assert first.reply.status == again.reply.status == 404
    assert again.reply.json["id"] == "again"
    assert again.reply.json["error"]["code"] == -32601
    assert len(children) == 1
    assert scene.books.events.signs_of_life == 1
    assert scene.outcomes == {"protocol_error": 2}
    await asyncio.sleep(61)
    scene.modern(2, "server/discover")
    assert len(children) == 2
    await scene.upstream.close()


@on_fake_time
async def test_a_silent_older_server_still_gets_its_sessions(children: list[FakeChild]) -> None:
    scene = Scene(children)
    for _ in range(4):
        scene.modern(1, "server/discover")
        await asyncio.sleep(70)
        assert scene.post(INITIALIZE).sent == b""
        assert children[-1].use == "session"
    await scene.upstream.close()


# Loss


@on_fake_time
async def test_a_lost_child_is_replaced_with_the_next_request(children: list[FakeChild]) -> None:
    scene = Scene(children)
    client = scene.modern(1)
    children[0].say(result(1))
    assert client.reply.status == 200
    children[0].die()
    scene.modern(2)
    assert len(children) == 2
    assert scene.books.outcomes() == {"ok": 1}


@on_fake_time
async def test_a_child_that_keeps_failing_is_given_time(children: list[FakeChild]) -> None:
    scene = Scene(children)
    for wait in (0, 1, 2, 4, 8, 16, 30, 30, 30):
        if wait:
            refused = scene.modern("r").reply
            assert refused.status == 503
            assert refused.json["id"] == "r"
            assert "keeps failing" in refused.json["error"]["message"]
            assert int(refused.header(b"Retry-After") or 0) >= wait
            assert scene.post(INITIALIZE).reply.status == 503
            await asyncio.sleep(wait + 0.01)
        before = len(children)
        client = scene.modern(1)
        assert len(children) == before + 1
        children[-1].die()
        assert client.reply.status == 502
        if before == 0:
            scene.modern(1)
            children[-1].die()
    assert set(scene.outcomes) == {"upstream_error"}
    assert scene.books.in_flight == 0
    await scene.upstream.close()


def test_waiting_grows_to_a_limit_and_ends_with_the_first_use() -> None:
    backoff = Backoff()
    waits = []
    for _ in range(2000):
        backoff.ended(was_useful=False, now=100.0)
        waits.append(backoff.remaining(100.0))
    assert waits[:8] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert waits[-1] == 30
    assert backoff.remaining(131.0) == 0
    backoff.ended(was_useful=True, now=200.0)
    backoff.ended(was_useful=False, now=200.0)
    assert backoff.remaining(200.0) == 0


@on_fake_time
async def test_clients_that_leave_early_are_no_fault_of_the_child(
    children: list[FakeChild],
) -> None:
    scene = Scene(children)
    for _ in range(3):
        scene.post(INITIALIZE).lose(None)
        await settle()
        assert children[-1].is_stopped
    assert scene.post(INITIALIZE).sent == b""
    assert len(children) == 4
    await scene.upstream.close()


@on_fake_time
async def test_a_child_that_does_not_read_gets_no_more(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(children)
    session, child = scene.open()
    scene.modern(1)
    monkeypatch.setattr(FakeChild, "is_clogged", True)
    for client in (scene.post(request(5), session), scene.modern(5)):
        assert client.reply.status == 503
        assert client.reply.json["id"] == 5
    assert len(child.lines) == 1
    await scene.upstream.close()


# The end


@on_fake_time
async def test_the_end_answers_everything_and_waits_for_the_children(
    children: list[FakeChild],
) -> None:
    scene = Scene(children)
    session, _ = scene.open()
    clients = [scene.post(request(1), session), scene.modern(1)]
    assert scene.upstream.is_busy
    await scene.upstream.close()
    for client in clients:
        assert client.reply.status == 502
        assert "the exporter is stopping" in client.reply.json["error"]["message"]
    assert all(child.is_stopped for child in children)
    assert scene.books.value("mcp_sessions") == 0
    assert scene.books.in_flight == 0
    assert not scene.upstream.is_busy


@on_fake_time
async def test_draining_ends_streams_and_lets_requests_finish(
    children: list[FakeChild],
) -> None:
    scene = Scene(children)
    session, child = scene.open()
    stream = scene.other(b"GET", b"Mcp-Session-Id: " + session)
    client = scene.post(request(1), session)
    listening = scene.modern(1, "subscriptions/listen")
    scene.upstream.drain()
    assert stream.reply.is_complete
    assert listening.reply.is_complete
    child.say(result(1))
    assert client.reply.json == result(1)
    await scene.upstream.close()


@on_fake_time
async def test_a_child_has_no_oauth_metadata(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(children)
    monkeypatch.setattr(scene, "handle", scene.upstream.describe)
    assert scene.other(b"GET").reply.status == 404

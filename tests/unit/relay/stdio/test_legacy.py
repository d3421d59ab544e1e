"""Each session has a child of its own, and is ended when nothing uses it."""

from __future__ import annotations

import asyncio

import pytest

from exporter.config.limits import Timeout
from tests.support.fakes import (
    FakeChild,
    notification,
    on_fake_time,
    request,
    result,
    settle,
)
from tests.support.stdio_relay import PARAMS
from tests.support.stdio_relay import StdioScene as Scene


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
    scene = Scene(children, idle_timeout=100, timeout=Timeout(0.0))
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


@on_fake_time
async def test_a_batch_of_too_many_messages_reaches_no_child(children: list[FakeChild]) -> None:
    scene = Scene(children)
    session, child = scene.open()
    reply = scene.post([request(number) for number in range(101)], session).reply
    assert reply.status == 400
    assert "more than 100 messages" in reply.json["error"]["message"]
    scene.post([request(number) for number in range(100)], session)
    assert len(child.lines) == 2


# Room for another session


@on_fake_time
async def test_the_session_that_is_idle_longest_makes_room(children: list[FakeChild]) -> None:
    scene = Scene(children)
    sessions = []
    for _ in range(3):
        sessions.append(scene.open())
        await asyncio.sleep(1)
    (first, first_child), (second, second_child), (third, _) = sessions
    scene.post(request(1), first)
    first_child.say(result(1))
    await asyncio.sleep(1)
    assert scene.upstream.end_idle_session()
    assert second_child.is_stopped
    assert scene.post(request(2), second).reply.status == 404
    assert scene.upstream.session_count == 2
    scene.open()
    assert children[-1].after is not None, "it waits until the other child has ended"
    for session_id in (first, third):
        scene.post(request(3), session_id)
    assert [child.heard[-1]["id"] for child in children[:3]] == [3, 0, 3]


@on_fake_time
async def test_no_session_whose_client_is_connected_makes_room(children: list[FakeChild]) -> None:
    scene = Scene(children)
    (calling, _), (listening, _) = scene.open(), scene.open()
    scene.post(request(1), calling)
    scene.other(b"GET", b"Mcp-Session-Id: " + listening)
    assert not scene.upstream.end_idle_session()
    assert not scene.upstream.free_child()
    assert scene.upstream.session_count == 2


@on_fake_time
async def test_a_child_that_ends_anyway_leaves_its_place_before_another_session_ends(
    children: list[FakeChild],
) -> None:
    scene = Scene(children)
    scene.open()
    over, _ = scene.open()
    scene.other(b"DELETE", b"Mcp-Session-Id: " + over)
    assert scene.upstream.child_count == 2
    assert scene.upstream.free_child()
    assert scene.upstream.session_count == 1
    scene.open()
    assert children[-1].after is not None
    assert scene.upstream.child_count == 2, "its place is counted once"
    assert scene.upstream.free_child(), "none waits to end: an idle session is ended"
    assert scene.upstream.session_count == 1
    await settle()
    assert scene.upstream.child_count == 1

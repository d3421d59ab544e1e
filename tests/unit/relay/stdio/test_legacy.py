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
from tests.support.stdio_relay import StdioSetup as Setup


@on_fake_time
async def test_each_session_has_a_child_of_its_own(children: list[FakeChild]) -> None:
    setup = Setup(children)
    (first, one), (second, two) = setup.open(), setup.open()
    assert first != second
    setup.post(request(1), first)
    assert (len(one.lines), len(two.lines)) == (2, 1)
    assert [child.use for child in children] == ["session", "session"]
    assert setup.telemetry.value("mcp_sessions") == 2
    started = "mcp_sessions_started_total"
    assert setup.telemetry.value(started, client="inspector", protocol_version="2025-11-25") == 2


@on_fake_time
async def test_a_delete_ends_the_session_and_its_child(children: list[FakeChild]) -> None:
    setup = Setup(children)
    session, child = setup.open()
    waiting = setup.post(request(1), session)
    await asyncio.sleep(60)
    reply = setup.other(b"DELETE", b"Mcp-Session-Id: " + session).reply
    assert (reply.status, reply.body) == (200, b"")
    assert child.is_stopped
    assert waiting.replies()[-1].is_complete
    assert setup.telemetry.value("mcp_sessions") == 0
    assert setup.telemetry.value("mcp_session_duration_seconds_sum") == pytest.approx(60)
    assert setup.post(request(2), session).reply.status == 404


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
@on_fake_time
async def test_a_session_must_be_named_and_known(children: list[FakeChild], method: bytes) -> None:
    setup = Setup(children)
    unnamed = [setup.post(request(7)), setup.other(method)]
    unknown = [setup.post(request(7), b"x"), setup.other(method, b"Mcp-Session-Id: x")]
    assert [client.reply.status for client in unnamed + unknown] == [400, 400, 404, 404]
    assert unnamed[0].reply.json["id"] == 7
    assert "initialize" in unknown[0].reply.json["error"]["message"]
    assert children == []
    for reason in ("bad_request", "unknown_session"):
        assert setup.telemetry.own("mcp_exporter_rejected_requests_total", reason=reason) == 2


@on_fake_time
async def test_the_stream_of_a_session_is_opened_by_get(children: list[FakeChild]) -> None:
    setup = Setup(children)
    session, child = setup.open()
    stream = setup.other(b"GET", b"Mcp-Session-Id: " + session)
    child.say(notification("notifications/tools/list_changed"))
    assert stream.reply.events == [notification("notifications/tools/list_changed")]
    await setup.upstream.close()
    assert stream.reply.is_complete


@pytest.mark.parametrize(
    "body", [{"jsonrpc": "2.0"}, {"id": 1}, [request(1), {"id": 2}], {"method": 5}]
)
@on_fake_time
async def test_what_is_no_message_reaches_no_child(children: list[FakeChild], body: object) -> None:
    setup = Setup(children)
    session, child = setup.open()
    assert setup.post(body, session).reply.status == 400
    assert setup.post(body).reply.status == 400
    assert len(child.lines) == 1


@on_fake_time
async def test_initialize_without_an_id_opens_nothing(children: list[FakeChild]) -> None:
    setup = Setup(children)
    assert setup.post(notification("initialize", **PARAMS)).reply.status == 400
    assert children == []


@on_fake_time
async def test_an_unused_session_is_ended_and_a_used_one_is_not(
    children: list[FakeChild],
) -> None:
    setup = Setup(children, idle_timeout=100, timeout=Timeout(0.0))
    unused, waiting, listening = (setup.open() for _ in range(3))
    setup.post(request(1), waiting[0])
    setup.other(b"GET", b"Mcp-Session-Id: " + listening[0])
    await asyncio.sleep(98)
    assert not unused[1].is_stopped
    await asyncio.sleep(5)
    assert [child.is_stopped for child in children] == [True, False, False]
    assert setup.post(request(2), unused[0]).reply.status == 404
    assert setup.telemetry.value("mcp_sessions") == 2
    await setup.upstream.close()


@on_fake_time
async def test_use_keeps_a_session(children: list[FakeChild]) -> None:
    setup = Setup(children, idle_timeout=100)
    session, child = setup.open()
    for _ in range(5):
        await asyncio.sleep(60)
        setup.post(notification("notifications/initialized"), session)
    assert not child.is_stopped
    await setup.upstream.close()


@on_fake_time
async def test_without_idle_timeout_nothing_is_ended(children: list[FakeChild]) -> None:
    setup = Setup(children, idle_timeout=0)
    _, child = setup.open()
    setup.modern(1)
    children[1].say(result(1))
    await asyncio.sleep(20_000)
    assert not child.is_stopped
    assert not children[1].is_stopped
    await setup.upstream.close()


@on_fake_time
async def test_a_batch_of_too_many_messages_reaches_no_child(children: list[FakeChild]) -> None:
    setup = Setup(children)
    session, child = setup.open()
    reply = setup.post([request(number) for number in range(101)], session).reply
    assert reply.status == 400
    assert "more than 100 messages" in reply.json["error"]["message"]
    setup.post([request(number) for number in range(100)], session)
    assert len(child.lines) == 2


# Room for another session


@on_fake_time
async def test_the_session_that_is_idle_longest_makes_room(children: list[FakeChild]) -> None:
    setup = Setup(children)
    sessions = []
    for _ in range(3):
        sessions.append(setup.open())
        await asyncio.sleep(1)
    (first, first_child), (second, second_child), (third, _) = sessions
    setup.post(request(1), first)
    first_child.say(result(1))
    await asyncio.sleep(1)
    assert setup.upstream.end_idle_session()
    assert second_child.is_stopped
    assert setup.post(request(2), second).reply.status == 404
    assert setup.upstream.session_count == 2
    setup.open()
    assert children[-1].after is not None, "it waits until the other child has ended"
    for session_id in (first, third):
        setup.post(request(3), session_id)
    assert [child.heard[-1]["id"] for child in children[:3]] == [3, 0, 3]


@on_fake_time
async def test_no_session_whose_client_is_connected_makes_room(children: list[FakeChild]) -> None:
    setup = Setup(children)
    (calling, _), (listening, _) = setup.open(), setup.open()
    setup.post(request(1), calling)
    setup.other(b"GET", b"Mcp-Session-Id: " + listening)
    assert not setup.upstream.end_idle_session()
    assert not setup.upstream.free_child()
    assert setup.upstream.session_count == 2


@on_fake_time
async def test_a_child_that_ends_anyway_leaves_its_place_before_another_session_ends(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    setup.open()
    over, _ = setup.open()
    setup.other(b"DELETE", b"Mcp-Session-Id: " + over)
    assert setup.upstream.child_count == 2
    assert setup.upstream.free_child()
    assert setup.upstream.session_count == 1
    setup.open()
    assert children[-1].after is not None
    assert setup.upstream.child_count == 2, "its place is counted once"
    assert setup.upstream.free_child(), "none waits to end: an idle session is ended"
    assert setup.upstream.session_count == 1
    await settle()
    assert setup.upstream.child_count == 1

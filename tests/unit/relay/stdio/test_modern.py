"""All 2026-07-28 clients share one child, which sees whole requests alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fakes import (
    FakeChild,
    encoded,
    error,
    notification,
    on_fake_time,
    post,
    request,
    result,
    settle,
)
from tests.support.stdio_relay import INITIALIZE, META
from tests.support.stdio_relay import StdioSetup as Setup


@on_fake_time
async def test_clients_without_sessions_share_one_child(children: list[FakeChild]) -> None:
    setup = Setup(children)
    first, second = setup.modern("a"), setup.modern("a")
    assert [child.use for child in children] == ["shared"]
    children[0].say(result(2, n=2))
    children[0].say(result(1, n=1))
    assert first.reply.json == result("a", n=1)
    assert second.reply.json == result("a", n=2)
    assert first.reply.header(b"Mcp-Session-Id") is None
    assert setup.telemetry.value("mcp_sessions") == 0


@on_fake_time
async def test_a_request_without_a_whole_envelope_reaches_no_child(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    header = (b"MCP-Protocol-Version", b"2026-07-28")
    mismatch = setup.say(post(request(3, "tools/list", _meta=META), b"/files/mcp", header))
    missing = setup.say(post(request(3, "tools/list"), b"/files/mcp", header))
    for client, code in ((mismatch, -32020), (missing, -32602)):
        assert client.reply.status == 400
        assert (client.reply.json["id"], client.reply.json["error"]["code"]) == (3, code)
    assert children == []
    assert setup.outcomes == {"rejected": 2}


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
@on_fake_time
async def test_only_post_is_served_without_sessions(
    children: list[FakeChild], method: bytes
) -> None:
    reply = Setup(children).other(method, b"MCP-Protocol-Version: 2026-07-28").reply
    assert (reply.status, reply.header(b"Allow")) == (405, b"POST")


@pytest.mark.parametrize(
    "body", [[request(1, _meta=META)], [request(1), request(2)], result(1), {"id": 1}]
)
@on_fake_time
async def test_only_one_request_at_a_time_is_served_without_sessions(
    children: list[FakeChild], body: object
) -> None:
    setup = Setup(children)
    headers = [(b"MCP-Protocol-Version", b"2026-07-28"), (b"Mcp-Method", b"ping")]
    assert setup.say(post(body, b"/files/mcp", *headers)).reply.status == 400
    assert children == []


@on_fake_time
async def test_a_notification_without_a_session_is_accepted_and_goes_no_further(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    body = encoded(notification("notifications/cancelled", requestId=1))
    reply = setup.say(post(body, b"/x", (b"MCP-Protocol-Version", b"2026-07-28"))).reply
    assert (reply.status, reply.body) == (202, b"")
    assert children == []
    count = "mcp_notifications_total"
    labels = {"method": "notifications/cancelled", "direction": "to_server"}
    assert setup.telemetry.value(count, **labels) == 1


@on_fake_time
async def test_an_unused_shared_child_is_ended(children: list[FakeChild]) -> None:
    setup = Setup(children, idle_timeout=100)
    setup.modern(1)
    children[0].say(result(1))
    await asyncio.sleep(105)
    assert children[0].is_stopped
    setup.modern(2)
    assert len(children) == 2
    await setup.upstream.close()


@on_fake_time
async def test_a_server_that_refuses_discover_is_not_asked_again_for_a_while(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    first = setup.modern(1, "server/discover")
    children[0].say(error(1, -32601))
    await settle()
    again = setup.modern("again", "server/discover")
    assert first.reply.status == again.reply.status == 404
    assert again.reply.json["id"] == "again"
    assert again.reply.json["error"]["code"] == -32601
    assert len(children) == 1
    assert setup.telemetry.events.signs_of_life == 1
    assert setup.outcomes == {"protocol_error": 2}
    await asyncio.sleep(61)
    setup.modern(2, "server/discover")
    assert len(children) == 2
    await setup.upstream.close()


@on_fake_time
async def test_how_one_client_words_discover_is_not_held_against_the_others(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    for attempt in range(70):
        odd = setup.modern(1, "server/discover", odd=attempt)
        children[-1].say(error(1, -32602))
        await settle()
        assert odd.reply.status == 400
    first = setup.modern(2, "server/discover")
    children[-1].say(result(1, supportedVersions=["2026-07-28"]))
    assert first.reply.status == 200
    await setup.upstream.close()


@on_fake_time
async def test_a_refused_discover_is_known_again_by_what_it_asks(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    context = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for number, meta in enumerate(({}, {"progressToken": 5, "traceparent": context})):
        headers = [(b"MCP-Protocol-Version", b"2026-07-28"), (b"Mcp-Method", b"server/discover")]
        body = request(number, "server/discover", _meta={**META, **meta})
        client = setup.say(post(body, b"/files/mcp", *headers))
        if number == 0:
            children[-1].say(error(1, -32601))
            await settle()
        assert client.reply.status == 404
    assert len(children) == 1
    for number in range(100, 200):
        setup.modern(1, "server/discover", odd=number)
        children[-1].say(error(1, -32601))
        await settle()
    setup.modern(1, "server/discover")
    assert len(children) == 102
    await setup.upstream.close()


@on_fake_time
async def test_a_silent_older_server_still_gets_its_sessions(children: list[FakeChild]) -> None:
    setup = Setup(children)
    for _ in range(4):
        setup.modern(1, "server/discover")
        await asyncio.sleep(70)
        assert setup.post(INITIALIZE).sent == b""
        assert children[-1].use == "session"
    await setup.upstream.close()

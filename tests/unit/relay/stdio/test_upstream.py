"""Which child serves whom, and how all of them end."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fakes import (
    FakeChild,
    encoded,
    notification,
    on_fake_time,
    request,
    result,
)
from tests.support.stdio_relay import StdioSetup as Setup


@on_fake_time
async def test_the_eras_never_meet_in_one_child(children: list[FakeChild]) -> None:
    setup = Setup(children)
    setup.modern(1)
    setup.open()
    setup.modern(2)
    assert [(child.use, len(child.lines)) for child in children] == [("shared", 2), ("session", 1)]


@on_fake_time
async def test_the_end_replies_to_everything_and_waits_for_the_children(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    session, _ = setup.open()
    clients = [setup.post(request(1), session), setup.modern(1)]
    assert setup.upstream.is_busy
    await setup.upstream.close()
    for client in clients:
        assert client.reply.status == 502
        assert "the exporter is stopping" in client.reply.json["error"]["message"]
    assert all(child.is_stopped for child in children)
    assert setup.telemetry.value("mcp_sessions") == 0
    assert setup.telemetry.in_flight == 0
    assert not setup.upstream.is_busy


@on_fake_time
async def test_draining_ends_streams_and_lets_requests_finish(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    session, child = setup.open()
    stream = setup.other(b"GET", b"Mcp-Session-Id: " + session)
    client = setup.post(request(1), session)
    listening = setup.modern(1, "subscriptions/listen")
    setup.upstream.drain()
    assert stream.reply.is_complete
    assert listening.reply.is_complete
    child.say(result(1))
    assert client.reply.json == result(1)
    await setup.upstream.close()


@on_fake_time
async def test_a_child_has_no_oauth_metadata(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(children)
    monkeypatch.setattr(setup, "handle", setup.upstream.describe)
    assert setup.other(b"GET").reply.status == 404


@on_fake_time
async def test_what_waits_in_the_exporter_is_a_metric(children: list[FakeChild]) -> None:
    setup = Setup(children)
    _, child = setup.open()
    assert setup.telemetry.value("mcp_server_queued_bytes") == 0
    message = encoded(notification("notifications/message", text="x" * 100))
    child.say(message)
    child.unread = 1000
    setup.modern(1)
    children[-1].unread = 500
    await asyncio.sleep(1.5)
    assert setup.telemetry.value("mcp_server_queued_bytes") == len(message) + 1500
    await setup.upstream.close()

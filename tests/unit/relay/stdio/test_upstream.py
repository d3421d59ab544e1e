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
from tests.support.stdio_relay import StdioScene as Scene


@on_fake_time
async def test_the_eras_never_meet_in_one_child(children: list[FakeChild]) -> None:
    scene = Scene(children)
    scene.modern(1)
    scene.open()
    scene.modern(2)
    assert [(child.use, len(child.lines)) for child in children] == [("shared", 2), ("session", 1)]


@on_fake_time
async def test_the_end_replies_to_everything_and_waits_for_the_children(
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


@on_fake_time
async def test_what_waits_in_the_exporter_is_a_metric(children: list[FakeChild]) -> None:
    scene = Scene(children)
    _, child = scene.open()
    assert scene.books.value("mcp_server_queued_bytes") == 0
    message = encoded(notification("notifications/message", text="x" * 100))
    child.say(message)
    child.unread = 1000
    scene.modern(1)
    children[-1].unread = 500
    await asyncio.sleep(1.5)
    assert scene.books.value("mcp_server_queued_bytes") == len(message) + 1500
    await scene.upstream.close()

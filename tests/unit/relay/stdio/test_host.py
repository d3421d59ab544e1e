"""What both eras have in common: a child that reads nothing is lost, and its clients are told."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fakes import FakeChild, on_fake_time, request, result
from tests.support.stdio_relay import Client, StdioScene

TIMEOUT = 10.0


def ask(scene: StdioScene, era: str) -> tuple[Client, FakeChild]:
    """A client that waits for a reply, and the child that owes it."""
    if era == "modern":
        return scene.modern(1), scene.children[-1]
    session, child = scene.open()
    return scene.post(request(1), session), child


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_a_child_that_reads_nothing_for_a_calls_time_is_lost(
    children: list[FakeChild], era: str
) -> None:
    scene = StdioScene(children, timeout=TIMEOUT)
    client, child = ask(scene, era)
    child.unread = 10
    await asyncio.sleep(TIMEOUT + 1)
    assert client.reply.status == 502
    assert "has not read its input for 10 s" in client.reply.json["error"]["message"]
    assert child.is_stopped
    assert scene.outcomes["upstream_error"] == 1
    assert scene.upstream.session_count == 0


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_a_child_that_has_read_a_call_may_be_busy_with_it(
    children: list[FakeChild], era: str
) -> None:
    """What came later waits until then: that alone is no reason to end it."""
    scene = StdioScene(children, timeout=TIMEOUT)
    client, child = ask(scene, era)
    child.send(b"later")
    child.unread = 6
    await asyncio.sleep(TIMEOUT + 1)
    assert client.reply.status == 504
    assert not child.is_stopped
    assert scene.outcomes["timeout"] == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_a_reply_in_a_batch_of_one_is_its_reply(children: list[FakeChild], era: str) -> None:
    scene = StdioScene(children)
    client, child = ask(scene, era)
    child.say([result(child.heard[-1]["id"], x=1)])
    assert client.reply.json == result(1, x=1)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_the_end_of_a_child_is_told_with_its_reason(
    children: list[FakeChild], era: str
) -> None:
    scene = StdioScene(children)
    client, child = ask(scene, era)
    child.die("closed its input")
    assert client.reply.status == 502
    assert "the server closed its input" in client.reply.json["error"]["message"]

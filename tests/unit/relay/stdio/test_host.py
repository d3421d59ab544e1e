"""What both eras have in common: a child that reads nothing is lost, and its clients are told."""

from __future__ import annotations

import asyncio

import pytest

from exporter.config.limits import Timeout
from tests.support.fakes import FakeChild, encoded, error, on_fake_time, post, request, result
from tests.support.stdio_relay import META, Client, StdioSetup

TIMEOUT = 10.0


def ask(setup: StdioSetup, era: str) -> tuple[Client, FakeChild]:
    """A client that waits for a reply, and the child that owes it."""
    if era == "modern":
        return setup.modern(1), setup.children[-1]
    session, child = setup.open()
    return setup.post(request(1), session), child


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_a_child_that_reads_nothing_for_a_calls_time_is_lost(
    children: list[FakeChild], era: str
) -> None:
    setup = StdioSetup(children, timeout=Timeout(TIMEOUT))
    client, child = ask(setup, era)
    child.unread = 10
    await asyncio.sleep(TIMEOUT + 1)
    assert client.reply.status == 502
    assert "has not read its input for 10 s" in client.reply.json["error"]["message"]
    assert child.is_stopped
    assert setup.outcomes["upstream_error"] == 1
    assert setup.upstream.session_count == 0


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_a_child_that_has_read_a_call_may_be_busy_with_it(
    children: list[FakeChild], era: str
) -> None:
    """What came later waits until then: that alone is no reason to end it."""
    setup = StdioSetup(children, timeout=Timeout(TIMEOUT))
    client, child = ask(setup, era)
    child.send(b"later")
    child.unread = 6
    await asyncio.sleep(TIMEOUT + 1)
    assert client.reply.status == 504
    assert not child.is_stopped
    assert setup.outcomes["timeout"] == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_a_reply_in_a_batch_of_one_is_its_reply(children: list[FakeChild], era: str) -> None:
    setup = StdioSetup(children)
    client, child = ask(setup, era)
    child.say([result(child.heard[-1]["id"], x=1)])
    assert client.reply.json == result(1, x=1)


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_the_end_of_a_child_is_told_with_its_reason(
    children: list[FakeChild], era: str
) -> None:
    setup = StdioSetup(children)
    client, child = ask(setup, era)
    child.die("closed its input")
    assert client.reply.status == 502
    assert "the server closed its input" in client.reply.json["error"]["message"]


@pytest.mark.parametrize("kind", [str, float])
@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_an_id_may_come_back_as_another_type(
    children: list[FakeChild], era: str, kind: type
) -> None:
    setup = StdioSetup(children)
    client, child = ask(setup, era)
    child.say(result(kind(child.heard[-1]["id"]), x=1))
    assert client.reply.json["result"] == {"x": 1}
    assert setup.outcomes["ok"] == 1 + (era == "legacy")


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_an_error_without_an_id_is_of_the_only_request(
    children: list[FakeChild], era: str
) -> None:
    setup = StdioSetup(children)
    client, child = ask(setup, era)
    child.say(result(None))
    assert client.sent == b"", "a result says whose it is"
    child.say(error(None, -32700))
    assert client.reply.json["error"]["code"] == -32700
    assert setup.outcomes["protocol_error"] == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_of_several_requests_an_error_without_an_id_ends_none(
    children: list[FakeChild], era: str
) -> None:
    setup = StdioSetup(children)
    client, child = ask(setup, era)
    session = setup.upstream._legacy.sessions
    other = setup.post(request(2), next(iter(session))) if session else setup.modern(2)
    child.say(error(None, -32700))
    assert client.sent == other.sent == b""


@pytest.mark.parametrize("era", ["legacy", "modern"])
@on_fake_time
async def test_a_byte_order_mark_is_no_part_of_a_message(
    children: list[FakeChild], era: str
) -> None:
    mark = b"\xef\xbb\xbf"
    setup = StdioSetup(children)
    client, child = ask(setup, era)
    child.say(mark + encoded(result(child.heard[-1]["id"], x=1)))
    assert client.reply.json == result(1, x=1)


@on_fake_time
async def test_a_request_may_begin_with_a_byte_order_mark(children: list[FakeChild]) -> None:
    mark = b"\xef\xbb\xbf"
    setup = StdioSetup(children)
    session, child = setup.open()
    setup.post(mark + encoded(request(5, "tools/list")), session)
    assert child.heard[-1] == request(5, "tools/list")
    headers = [(b"MCP-Protocol-Version", b"2026-07-28"), (b"Mcp-Method", b"tools/list")]
    setup.say(post(mark + encoded(request(6, "tools/list", _meta=META)), b"/files/mcp", *headers))
    assert children[-1].heard[-1]["method"] == "tools/list"

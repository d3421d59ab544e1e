"""The reply to one POST: JSON where nothing comes before it, else a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from exporter.config.limits import Timeout
from exporter.protocol.jsonrpc import Id
from exporter.relay.stdio.http_response import KEEP_ALIVE, ResponseTimers, StdioResponse
from exporter.transport.http.head import Headers
from tests.support.fakes import (
    Downstream,
    Reply,
    Scribe,
    encoded,
    on_fake_time,
    post,
    result,
    settle,
    virtual_loop,
)

NOTE = b'{"jsonrpc":"2.0","method":"notifications/message"}'


class Owner:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.gone: list[StdioResponse] = []
        self.expired: list[StdioResponse] = []
        self.overflowed: list[StdioResponse] = []
        self.paused: list[bool] = []

    def response_gone(self, response: StdioResponse) -> None:
        self.gone.append(response)

    def response_expired(self, response: StdioResponse) -> None:
        self.expired.append(response)

    def response_overflowed(self, response: StdioResponse) -> None:
        self.overflowed.append(response)

    def response_paused(self, paused: bool) -> None:
        self.paused.append(paused)


class Post:
    """A client that waits, and the response that it is to get."""

    def __init__(
        self,
        ids: Sequence[Id] = (1,),
        timeout: float = 0.0,
        accept: bytes | None = None,
        headers: Headers | None = None,
    ) -> None:
        app = Scribe()
        self.client = Downstream(app)
        fields = [(b"Accept", accept)] if accept else []
        self.client.say(post(b"{}", b"/files/mcp", *fields))
        self.owner = Owner()
        (request,) = app.requests
        timers = ResponseTimers(Timeout(timeout), virtual_loop())
        self.response = StdioResponse(request, self.owner, timers, ids, (), headers)

    @property
    def reply(self) -> Reply:
        (reply,) = self.client.replies()
        return reply


@on_fake_time
async def test_a_reply_that_comes_first_is_json() -> None:
    one = Post(headers=[(b"Mcp-Session-Id", b"s")])
    one.response.reply(1, encoded(result(1)))
    assert (one.reply.status, one.reply.is_complete) == (200, True)
    assert one.reply.header(b"Content-Type") == b"application/json"
    assert one.reply.header(b"Mcp-Session-Id") == b"s"
    assert one.reply.json == result(1)
    assert not one.response.is_open


@on_fake_time
async def test_a_reply_may_have_a_status_of_its_own() -> None:
    one = Post()
    one.response.reply(1, encoded(result(1)), 404)
    assert one.reply.status == 404


@on_fake_time
async def test_what_comes_before_the_reply_makes_it_a_stream() -> None:
    one = Post(headers=[(b"Mcp-Session-Id", b"s")])
    one.response.send(NOTE)
    assert one.reply.status == 200
    assert one.reply.header(b"Content-Type") == b"text/event-stream"
    assert one.reply.header(b"Mcp-Session-Id") == b"s"
    assert one.reply.body == b"event: message\ndata: " + NOTE + b"\n\n"
    assert not one.reply.is_complete
    one.response.reply(1, encoded(result(1)), 404)
    assert one.reply.status == 200
    assert one.reply.events[1] == result(1)
    assert one.reply.is_complete


@on_fake_time
async def test_a_batch_is_replied_to_whole() -> None:
    one = Post(ids=[1, "1"])
    one.response.reply("1", encoded(result("1")))
    assert one.client.sent == b""
    one.response.reply(1, encoded(result(1)))
    assert one.reply.json == [result("1"), result(1)]


@on_fake_time
async def test_a_batch_becomes_a_stream_with_what_is_there_already() -> None:
    one = Post(ids=[1, 2])
    one.response.reply(2, encoded(result(2)))
    one.response.send(NOTE)
    assert one.reply.events[0] == result(2)
    one.response.reply(1, encoded(result(1)))
    assert one.reply.events[2] == result(1)
    assert one.reply.is_complete


@on_fake_time
async def test_silence_becomes_a_stream_that_is_kept_alive() -> None:
    one = Post()
    await asyncio.sleep(KEEP_ALIVE - 1)
    assert one.client.sent == b""
    await asyncio.sleep(2)
    assert one.reply.header(b"Content-Type") == b"text/event-stream"
    assert one.reply.body == b": ping\n\n"
    await asyncio.sleep(KEEP_ALIVE)
    assert one.reply.body == b": ping\n\n" * 2
    one.response.reply(1, encoded(result(1)))
    await asyncio.sleep(KEEP_ALIVE * 3)
    assert one.reply.body.count(b"ping") == 2


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        (None, True),
        (b"application/json, text/event-stream", True),
        (b"*/*", True),
        (b"application/json", False),
    ],
)
@on_fake_time
async def test_a_client_that_takes_no_events_gets_none(accept: bytes | None, streams: bool) -> None:
    one = Post(accept=accept)
    one.response.send(NOTE)
    await asyncio.sleep(KEEP_ALIVE + 1)
    assert bool(one.client.sent) is streams
    one.response.reply(1, encoded(result(1)))
    wanted = b"text/event-stream" if streams else b"application/json"
    assert one.reply.header(b"Content-Type") == wanted


@on_fake_time
async def test_a_line_end_inside_a_message_does_not_end_the_event() -> None:
    one = Post()
    one.response.send(b'{"a":\r1}')
    assert one.reply.body == b'event: message\ndata: {"a":1}\n\n'


@on_fake_time
async def test_the_deadline_is_told_once_and_only_while_it_waits() -> None:
    late, early = Post(timeout=30), Post(timeout=30)
    early.response.reply(1, encoded(result(1)))
    await asyncio.sleep(100)
    assert late.owner.expired == [late.response]
    assert early.owner.expired == []


@on_fake_time
async def test_without_timeout_there_is_no_deadline() -> None:
    one = Post()
    await asyncio.sleep(100_000)
    assert one.owner.expired == []
    one.response.end()


@on_fake_time
async def test_a_failure_replies_to_everything_that_still_waits() -> None:
    one = Post(ids=[1, "two", 3])
    one.response.reply("two", encoded(result("two")))
    one.response.fail(502, -32000, "the server exited")
    assert one.reply.status == 502
    assert [(reply["id"], reply.get("error", {}).get("code")) for reply in one.reply.json] == [
        ("two", None),
        (1, -32000),
        (3, -32000),
    ]


@on_fake_time
async def test_a_failure_of_a_stream_is_an_event() -> None:
    one = Post()
    one.response.stream()
    one.response.fail(504, -32001, "too slow")
    assert one.reply.status == 200
    assert one.reply.events[0]["error"] == {"code": -32001, "message": "mcp-exporter: too slow"}
    assert one.reply.is_complete


@on_fake_time
async def test_a_client_that_leaves_is_told_once() -> None:
    one = Post(timeout=30)
    one.client.lose(None)
    await asyncio.sleep(100)
    assert one.owner.gone == [one.response]
    assert one.owner.expired == []
    one.response.send(NOTE)
    one.response.reply(1, encoded(result(1)))
    one.response.fail(502, -32000, "late")
    one.response.end()
    assert one.client.sent == b""


@on_fake_time
async def test_a_client_that_leaves_after_its_reply_is_not_missed() -> None:
    one = Post()
    one.response.reply(1, encoded(result(1)))
    one.client.lose(None)
    await settle()
    assert one.owner.gone == []


@on_fake_time
async def test_a_stream_without_replies_lasts_until_it_is_ended() -> None:
    one = Post(ids=())
    one.response.stream()
    one.response.send(NOTE)
    await asyncio.sleep(1000)
    assert one.response.is_open
    one.response.end()
    assert one.reply.is_complete
    one.response.end()
    one.response.send(NOTE)
    assert len(one.reply.events) == 1


@on_fake_time
async def test_a_response_that_is_ended_before_anything_came_is_still_http() -> None:
    one = Post()
    one.response.end()
    assert one.reply.is_complete
    assert one.reply.body == b""


@on_fake_time
async def test_a_client_that_reads_slowly_is_told_and_forgotten_when_it_leaves() -> None:
    one = Post()
    one.response.stream()
    one.client.connection.pause_writing()
    assert one.owner.paused == [True]
    one.client.connection.resume_writing()
    assert one.owner.paused == [True, False]
    one.client.connection.pause_writing()
    one.client.lose(None)
    await settle()
    assert one.owner.paused == [True, False, True, False]


@on_fake_time
async def test_a_slow_client_whose_response_is_complete_holds_no_other_back() -> None:
    one = Post()
    one.response.stream()
    one.client.connection.pause_writing()
    one.response.reply(1, encoded(result(1)))
    assert one.owner.paused == [True, False]
    one.client.connection.resume_writing()
    assert one.owner.paused == [True, False]


@on_fake_time
async def test_a_reply_that_is_not_due_any_more_does_not_hold_up_the_others() -> None:
    one = Post(ids=[1, 2])
    one.response.reply(2, encoded(result(2)))
    one.response.withdraw(1)
    assert one.reply.is_complete
    assert one.reply.events == [result(2)]

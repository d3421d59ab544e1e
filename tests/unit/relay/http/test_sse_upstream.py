"""Servers of the older HTTP transport: the address for messages leads to the exporter."""

from __future__ import annotations

import asyncio
import gzip
import random
import re
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.limits import Timeout
from exporter.config.model import Limits, Server
from exporter.relay.gateway import Gateway
from exporter.relay.http.sse_upstream import SseUpstream
from exporter.relay.oauth import OwnUrl
from tests.support.fakes import (
    Downstream,
    Network,
    Reply,
    Telemetry,
    encoded,
    error,
    notification,
    on_fake_time,
    post,
    request,
    result,
    settle,
)
from tests.support.kept_spans import KeptSpans, SpanAccount

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\nAccepted"
ENDPOINT = b"event: endpoint\ndata: /messages/?session_id=abc\n\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(message: object) -> bytes:
    return chunk(b"event: message\ndata: " + encoded(message) + b"\n\n")


class Client(Downstream):
    """One connection of a client."""

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies()
        return reply

    @property
    def address(self) -> bytes:
        """Where this stream says that messages go."""
        match = re.search(rb"event: endpoint\r?\ndata: http://localhost(.+?)\r?\n", self.reply.body)
        assert match is not None, self.reply.body
        return match[1]


class Setup(Network):
    """A client, the exporter, and an older HTTP server whose part the test plays."""

    def __init__(
        self,
        timeout: float = 300.0,
        url: str = "http://up:8000/sse?k=v",
        total: float | None = None,
    ) -> None:
        super().__init__()
        self.telemetry = Telemetry()
        server = Server("files", "sse", url=url, timeout=Timeout(timeout, total))
        self.upstream = SseUpstream(
            server, self.telemetry.observer, self.loop, Limits(observed_bytes=10_000), OwnUrl(None)
        )
        self.gateway = Gateway(self.telemetry.metrics)
        self.gateway.add("files", self.upstream)

    async def send(self, text: bytes) -> Client:
        client = Client(self.gateway)
        client.say(text)
        await settle()
        return client

    async def open(self, path: bytes = b"/files/mcp", first: bytes = ENDPOINT) -> Client:
        """A stream, with its first event."""
        client = await self.send(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.say(HEAD + chunk(first))
        return client

    async def post(self, stream: Client, body: object) -> Client:
        return await self.send(post(body, stream.address))

    async def call(self, stream: Client, body: object) -> Client:
        """A message that the server accepts."""
        client = await self.post(stream, body)
        self.say(ACCEPTED)
        await settle()
        return client

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.telemetry.outcomes())


@pytest.mark.parametrize("path", [b"/files/mcp", b"/files/sse"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@on_fake_time
async def test_the_first_event_leads_to_the_exporter(path: bytes, end: bytes) -> None:
    setup = Setup()
    stream = await setup.open(path, ENDPOINT.replace(b"\n", end))
    assert setup.connections[0].sent.startswith(b"GET /sse?k=v HTTP/1.1\r\nHost: up:8000\r\n")
    text = rb"event: endpoint@data: http://localhost/files/message/[0-9a-f]{32}@@"
    assert re.fullmatch(text.replace(b"@", re.escape(end)), stream.reply.body)


@on_fake_time
async def test_the_first_event_may_come_in_pieces_and_with_others() -> None:
    setup = Setup()
    stream = await setup.open(first=b"event: endp")
    assert stream.reply.body == b""
    setup.say(chunk(b"oint\ndata: /messages/?session_id=abc\n"))
    setup.say(chunk(b"\n: ping\n\n") + event(notification("x")))
    assert stream.reply.body.count(b"event: endpoint") == 1
    assert stream.reply.events == [notification("x")]
    assert b": ping\n\n" in stream.reply.body


@pytest.mark.parametrize(
    "first",
    [
        b"event: endpoint\ndata: http://evil.example/messages\n\n",
        b"event: endpoint\ndata: https://up:8000/messages\n\n",
        b"event: message\ndata: {}\n\n",
        b": comment\n\n",
        b"x" * 70_000,
    ],
)
@on_fake_time
async def test_any_other_first_event_is_left_alone(first: bytes) -> None:
    stream = await Setup().open(first=first)
    assert stream.reply.body == first


@on_fake_time
async def test_an_absolute_address_of_the_server_is_rewritten_too() -> None:
    setup = Setup()
    stream = await setup.open(first=b"event: endpoint\ndata: http://up:8000/m?s=1\n\n")
    await setup.post(stream, request(1))
    assert setup.connections[-1].sent.startswith(b"POST /m?s=1 HTTP/1.1\r\n")


@on_fake_time
async def test_an_address_that_comes_later_is_rewritten_and_replaces_the_one_before() -> None:
    setup = Setup()
    stream = await setup.open(first=b": connected\n\nretry: 5\n\n" + ENDPOINT)
    address = stream.address
    setup.say(event(notification("x")) + chunk(ENDPOINT.replace(b"abc", b"def")), 0)
    assert stream.reply.body.count(b"data: http://localhost" + address) == 2
    await setup.post(stream, request(1))
    assert setup.connections[-1].sent.startswith(b"POST /messages/?session_id=def ")


@pytest.mark.parametrize("url", ["http://u:p@up:8000/sse", "http://UP:8000/sse"])
@on_fake_time
async def test_an_absolute_address_is_the_servers_whoever_logs_in_there(url: str) -> None:
    setup = Setup(url=url)
    stream = await setup.open(first=b"event: endpoint\ndata: http://up:8000/m\n\n")
    assert stream.address


@on_fake_time
async def test_a_stream_that_is_compressed_unasked_is_inflated_as_it_comes() -> None:
    setup = Setup()
    stream = await setup.send(
        b"GET /files/sse HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    assert b"\r\nAccept-Encoding: identity\r\n" in setup.connections[0].sent
    packer = zlib.compressobj(wbits=31)

    def packed(data: bytes) -> bytes:
        return chunk(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))

    setup.say(HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + packed(ENDPOINT))
    assert stream.address
    assert stream.reply.header(b"Content-Encoding") is None
    setup.say(packed(b"data: " + encoded(notification("x")) + b"\n\n"))
    assert stream.reply.events == [notification("x")]


NOISE = random.Random(1).randbytes(100_000)
"""Cannot be compressed: beside it, much else may be."""


@pytest.mark.parametrize(
    "packed",
    [b"no gzip", gzip.compress(b"\n" * 5_000_000), gzip.compress(NOISE + b"\n" * 9_000_000)],
)
@on_fake_time
async def test_a_stream_whose_compression_is_damaged_or_a_bomb_is_cut(packed: bytes) -> None:
    setup = Setup()
    stream = await setup.send(b"GET /files/sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
    setup.say(HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + chunk(packed))
    await settle()
    assert not stream.reply.is_complete
    assert setup.connections[0].is_aborted
    assert not setup.upstream.is_busy


@on_fake_time
async def test_a_request_is_accepted_and_answered_on_the_stream() -> None:
    setup = Setup()
    stream = await setup.open()
    client = await setup.post(stream, request(1, "tools/call", name="x"))
    sent = bytes(setup.connections[1].sent)
    assert sent.startswith(b"POST /messages/?session_id=abc HTTP/1.1\r\nHost: up:8000\r\n")
    setup.say(ACCEPTED, 1)
    assert (client.reply.status, client.reply.body) == (202, b"Accepted")
    assert setup.telemetry.in_flight == 1
    setup.say(event(result(1, isError=True)), 0)
    assert stream.reply.events == [result(1, isError=True)]
    assert setup.outcomes == {"tool_error": 1}
    assert not setup.telemetry.total("mcp_exporter_unparsed_messages_total")
    assert setup.telemetry.events.losses == []


@on_fake_time
async def test_streams_do_not_meet() -> None:
    setup = Setup()
    first = await setup.open()
    second = await setup.open(first=ENDPOINT.replace(b"abc", b"def"))
    assert first.address != second.address
    await setup.post(second, request(1))
    assert setup.connections[-1].sent.startswith(b"POST /messages/?session_id=def ")
    setup.say(event(result(1)), 0)
    assert setup.telemetry.in_flight == 1, "the reply came on the other stream"


@on_fake_time
async def test_a_session_lives_as_long_as_its_stream() -> None:
    setup = Setup()
    stream = await setup.open()
    assert setup.telemetry.value("mcp_sessions") == 0
    await setup.call(stream, request(0, "initialize", clientInfo={"name": "inspector"}))
    await setup.call(stream, request(1))
    assert setup.telemetry.value("mcp_sessions") == 1
    labels = {"client": "inspector", "protocol_version": "_other"}
    assert setup.telemetry.value("mcp_sessions_started_total", **labels) == 1
    address = stream.address
    stream.lose(None)
    await settle()
    assert setup.telemetry.value("mcp_sessions") == 0
    assert setup.outcomes == {"client_gone": 2}
    assert setup.telemetry.in_flight == 0
    late = await setup.send(post(request(2), address))
    assert late.reply.status == 404


@pytest.mark.parametrize("how", ["reset", "end"])
@on_fake_time
async def test_a_stream_that_the_server_ends_ends_what_waits(how: str) -> None:
    setup = Setup()
    stream = await setup.open()
    await setup.call(stream, request(1))
    if how == "reset":
        setup.connections[0].lose(ConnectionResetError())
    else:
        setup.say(b"0\r\n\r\n", 0)
    await settle()
    assert setup.outcomes == {"upstream_error": 1}
    assert setup.telemetry.in_flight == 0
    assert setup.telemetry.value("mcp_sessions") == 0


@on_fake_time
async def test_a_reply_that_does_not_come_is_overdue() -> None:
    setup = Setup(timeout=30)
    stream = await setup.open()
    await setup.call(stream, request(1))
    await asyncio.sleep(40)
    assert setup.outcomes == {"timeout": 1}
    assert not stream.reply.is_complete
    await setup.upstream.close()


@pytest.mark.parametrize(("total", "seconds"), [(100.0, 100), (0.0, 130)])
@on_fake_time
async def test_progress_keeps_a_request_alive_up_to_the_total(total: float, seconds: int) -> None:
    setup = Setup(timeout=30, total=total)
    stream = await setup.open()
    await setup.call(stream, request(1, _meta={"progressToken": "p"}))
    await setup.call(stream, request(2))
    for _ in range(5):
        await asyncio.sleep(20)
        setup.say(event(notification("notifications/progress", progressToken="p")), 0)
    await asyncio.sleep(seconds - 100 + 1)
    assert setup.outcomes == {"timeout": 2}
    spent = setup.telemetry.total("mcp_request_duration_seconds_sum")
    assert spent == seconds + 30
    assert len(setup.upstream.awaited) == 0
    await setup.upstream.close()


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", "unauthorized"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", "upstream_error"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "upstream_error"),
    ],
)
@on_fake_time
async def test_a_message_that_is_refused_waits_for_nothing(reply: bytes, outcome: str) -> None:
    setup = Setup()
    stream = await setup.open()
    await setup.post(stream, request(1))
    setup.say(reply)
    assert setup.outcomes == {outcome: 1}
    assert setup.telemetry.in_flight == 0


@on_fake_time
async def test_a_message_that_cannot_be_delivered_is_a_502() -> None:
    setup = Setup()
    stream = await setup.open()
    setup.refusal = ConnectionRefusedError(111, "Connection refused")
    client = await setup.post(stream, request(1))
    assert client.reply.status == 502
    assert setup.outcomes == {"upstream_error": 1}


@on_fake_time
async def test_a_request_of_the_server_is_answered_by_a_message() -> None:
    setup = Setup()
    stream = await setup.open()
    setup.say(event(request("r", "roots/list")), 0)
    await setup.call(stream, result("r", roots=[]))
    assert setup.telemetry.outcomes("mcp_server_requests_total") == {"ok": 1}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        (b"POST", b"/files/mcp"),
        (b"POST", b"/files/sse"),
        (b"POST", b"/files/message/" + b"0" * 32),
        (b"DELETE", b"/files/mcp"),
    ],
)
@on_fake_time
async def test_what_belongs_to_no_stream_is_refused(method: bytes, path: bytes) -> None:
    setup = Setup()
    client = await setup.send(post(request(1), path).replace(b"POST", method))
    assert client.reply.status in (404, 405)
    assert setup.connections == []
    assert setup.outcomes == {"rejected": 1}


@on_fake_time
async def test_the_end_of_the_exporter_ends_every_stream() -> None:
    setup = Setup()
    stream = await setup.open()
    await setup.call(stream, request(1))
    await setup.upstream.close()
    await settle()
    assert stream.is_closing() or stream.reply.is_complete
    assert setup.telemetry.in_flight == 0
    assert sum(setup.outcomes.values()) == 1
    assert setup.telemetry.value("mcp_sessions") == 0
    assert all(connection.is_closing() for connection in setup.connections)


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("propagates", [True, False])
@on_fake_time
async def test_with_propagate_sixteen_digits_differ(propagates: bool) -> None:
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics, propagate=propagates)
    stream = await setup.open()
    sent = encoded(request(1, "tools/list", x=[1.0], _meta={"traceparent": TRACE}))
    await setup.call(stream, sent)
    up = setup.connections[-1].take()
    setup.say(event(result(1)), connection=0)
    assert setup.outcomes == {"ok": 1}
    parent = kept.told if propagates else TRACE[36:52]
    assert up.endswith(b"\r\n\r\n" + sent.replace(TRACE[36:52].encode(), parent.encode()))
    assert len({each.session for each in kept.records} - {None}) == 1
    assert {each.request_id for each in kept.records} == {"1"}


@pytest.mark.parametrize("propagates", [True, False])
@on_fake_time
async def test_with_propagate_sixteen_digits_of_the_header_differ(propagates: bool) -> None:
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics, propagate=propagates)
    stream = await setup.open()
    await setup.send(
        post(request(1, "tools/list"), stream.address, (b"Traceparent", TRACE.encode()))
    )
    up = setup.connections[-1].take()
    setup.say(event(result(1)), connection=0)
    served = kept.records[0]
    assert (served.trace_id, served.parent_id) == (TRACE[3:35], TRACE[36:52])
    parent = kept.told if propagates else TRACE[36:52]
    told = TRACE.replace(TRACE[36:52], parent).encode()
    assert b"\r\nTraceparent: %b\r\n" % told in up


@on_fake_time
async def test_a_span_says_that_the_stream_was_lost() -> None:
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics)
    stream = await setup.open()
    await setup.call(stream, request(1, "tools/list"))
    setup.connections[0].lose(ConnectionResetError(104, "reset"))
    await settle()
    (record,) = kept.records
    assert (record.series.outcome, record.series.fault) == ("upstream_error", "connect_error")


@on_fake_time
async def test_it_is_known_which_streams_live() -> None:
    setup = Setup()
    streams = setup.upstream.streams
    stream = await setup.open()
    assert streams.are_open
    opened = setup.loop.time()
    await asyncio.sleep(10)
    assert not streams.heard_since(opened + 5)
    setup.say(chunk(b": ping\n\n"), 0)
    assert streams.heard_since(opened + 5)
    stream.lose(None)
    await settle()
    assert not streams.are_open


@on_fake_time
async def test_a_stream_that_is_refused_does_not_live() -> None:
    setup = Setup()
    await setup.send(b"GET /files/sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
    setup.say(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
    await settle()
    assert not setup.upstream.streams.are_open


STEPS = st.one_of(
    st.tuples(st.just("ask"), st.integers(1, 3), st.sampled_from(["tools/call", "ping", "x"])),
    st.tuples(st.just("reply"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(1, 3), st.none()),
    st.tuples(st.just("lose"), st.sampled_from([0, -1]), st.none()),
    st.tuples(st.just("leave"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 31.0]), st.none()),
    st.tuples(st.just("switch"), st.booleans(), st.none()),
)


async def play(setup: Setup, spans: SpanAccount, steps: list[tuple[str, Any, Any]]) -> None:
    stream, first = await setup.open(), len(setup.connections) - 1
    for step, what, more in steps:
        connection = setup.connections[first]
        if step == "switch":
            spans.switch(what)
        elif step == "wait":
            await asyncio.sleep(what)
        elif connection.is_closing():
            stream, first = await setup.open(), len(setup.connections) - 1
        elif step == "ask":
            await setup.call(stream, request(what, more, _meta=spans.meta if what == 1 else {}))
        elif step == "cancel":
            await setup.call(stream, notification("notifications/cancelled", requestId=what))
        elif step == "reply":
            setup.say(event(error(what) if more else result(what)), first)
        elif step == "lose":
            setup.connections[what].lose(ConnectionResetError(104, "reset"))
        else:
            stream.lose(None)
        await settle()
        spans.check()


@given(st.lists(STEPS, max_size=25))
def test_whatever_happens_each_request_that_is_counted_leaves_one_span(
    steps: list[tuple[str, Any, Any]],
) -> None:
    @on_fake_time
    async def run() -> None:
        setup = Setup(timeout=30.0)
        spans = SpanAccount(setup.telemetry.metrics, propagate=True)
        await play(setup, spans, steps)
        await setup.upstream.close()
        await settle()
        assert setup.telemetry.in_flight == 0
        spans.check()

    run()

"""One request to an HTTP server and its reply: bytes both ways, one outcome whatever happens."""

from __future__ import annotations

import asyncio
import gc
import gzip
import weakref
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.config.limits import Timeout
from exporter.config.model import Limits, Server
from exporter.protocol.jsonrpc import VERSION_KEY
from exporter.protocol.spec import UNTIMED
from exporter.relay.gateway import Gateway
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl
from exporter.telemetry.spans.session_digits import session_digits
from tests.support.fakes import (
    Downstream,
    FakeTransport,
    Network,
    Reply,
    Telemetry,
    VirtualLoop,
    encoded,
    error,
    fake_time,
    notification,
    on_fake_time,
    parse_replies,
    post,
    request,
    result,
    settle,
    virtual_loop,
    waiting,
)
from tests.support.kept_spans import KeptSpans, SpanAccount

SESSION = (b"Mcp-Session-Id", b"s1")
LEGACY = (b"MCP-Protocol-Version", b"2025-11-25")
MODERN = (b"MCP-Protocol-Version", b"2026-07-28")
STREAM = b"Content-Type: text/event-stream"


def event(message: object, event_id: str = "") -> bytes:
    head = f"id: {event_id}\n".encode() if event_id else b""
    return head + b"data: " + encoded(message) + b"\n\n"


def http(
    body: bytes | object = b"", *headers: bytes, status: bytes = b"200 OK", length: bool = True
) -> bytes:
    """A reply as a server sends it; without length it is the begin of a chunked one."""
    data = body if isinstance(body, bytes) else encoded(body)
    framing = b"Content-Length: %d" % len(data) if length else b"Transfer-Encoding: chunked"
    text = b"\r\n".join([b"HTTP/1.1 " + status, *headers, framing, b"", b""])
    return text + (data if length else chunk(data))


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


END = b"0\r\n\r\n"


class Client(Downstream):
    """One connection of a client."""

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies()
        return reply

    @property
    def events(self) -> list[Any]:
        return self.reply.events


class Setup(Network):
    """A client, the exporter, and an HTTP server whose part the test plays."""

    def __init__(
        self,
        timeout: float = 300.0,
        total: float | None = None,
        observed_bytes: int = 10_000,
        **own: str,
    ) -> None:
        super().__init__()
        self.telemetry = Telemetry()
        limit = Timeout(timeout, total)
        server = Server("files", "http", url="http://up:8000/mcp", headers=own, timeout=limit)
        self.upstream = HttpUpstream(
            server,
            self.telemetry.observer,
            self.loop,
            Limits(observed_bytes=observed_bytes),
            OwnUrl(None),
        )
        self.gateway = Gateway(self.telemetry.metrics)
        self.gateway.add("files", self.upstream)

    async def send(self, text: bytes) -> Client:
        client = Client(self.gateway)
        client.say(text)
        await settle()
        return client

    async def post(self, body: object, *headers: tuple[bytes, bytes]) -> Client:
        return await self.send(post(body, b"/files/mcp", *headers))

    async def get(self, *headers: tuple[bytes, bytes], method: bytes = b"GET") -> Client:
        lines = [method + b" /files/mcp HTTP/1.1", b"Host: localhost"]
        lines += [b"%b: %b" % field for field in headers]
        return await self.send(b"\r\n".join([*lines, b"", b""]))

    async def call(self, reply: bytes, *headers: tuple[bytes, bytes], tool: str = "x") -> Client:
        """A tool call with this reply of the server."""
        client = await self.post(request(1, "tools/call", name=tool), *headers)
        self.say(reply)
        await settle()
        return client

    async def open(self) -> None:
        """A session begins."""
        client = await self.post(request(0, "initialize", clientInfo={"name": "inspector"}))
        self.say(http(result(0), b"Mcp-Session-Id: s1"))
        assert client.reply.header(b"Mcp-Session-Id") == b"s1"

    @property
    def outcomes(self) -> dict[str, int]:
        assert self.telemetry.in_flight == 0
        assert not self.telemetry.total("mcp_exporter_internal_errors_total")
        return dict(self.telemetry.outcomes())

    def unparsed(self, reason: str) -> float | None:
        return self.telemetry.value("mcp_exporter_unparsed_messages_total", reason=reason)


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Nothing is freed but what nobody refers to any more."""
    gc.disable()
    yield
    gc.enable()


# Bytes


@on_fake_time
async def test_request_and_reply_pass_byte_for_byte() -> None:
    setup = Setup()
    body = b'{ "jsonrpc":"2.0", "id":1.0 ,"method":"tools/call","x":[1e2],"params":{"a":"\\ud83d"}}'
    client = await setup.post(body)
    assert setup.connections[0].sent.endswith(b"\r\n\r\n" + body)
    reply = b'{"id":1.0,\n "result":{"n":1.00,"t":"\\u00e9"} ,"jsonrpc":"2.0"}'
    setup.say(http(reply, b"X-Odd: yes", status=b"200 Fine"))
    assert client.reply.body == reply
    assert client.reply.header(b"X-Odd") == b"yes"
    assert client.sent.startswith(b"HTTP/1.1 200 Fine\r\n")
    assert setup.outcomes == {"ok": 1}


@on_fake_time
async def test_events_are_passed_on_one_by_one_as_they_come() -> None:
    setup = Setup()
    client = await setup.post(request(1, "tools/call", name="x"))
    pieces = [
        b"retry: 500\nid: 1\ndata: \n\n",
        b": comment\r\n\r\n",
        b"event: message\r\ndata: " + encoded(notification("notifications/progress")) + b"\r\n\r\n",
        b"id: 2\rdata: " + encoded(result(1)) + b"\r\r",
    ]
    setup.say(http(b"", STREAM, length=False))
    for number, piece in enumerate(pieces):
        setup.say(chunk(piece))
        assert client.reply.body == b"".join(pieces[: number + 1])
        assert not client.reply.is_complete
    setup.say(END)
    assert client.reply.is_complete
    assert setup.outcomes == {"ok": 1}
    count = "mcp_notifications_total"
    labels = {"method": "notifications/progress", "direction": "to_client"}
    assert setup.telemetry.value(count, **labels) == 1


@on_fake_time
async def test_an_event_cut_into_pieces_is_passed_on_in_pieces_and_read_whole() -> None:
    setup = Setup()
    client = await setup.post(request(1))
    setup.say(http(b"", STREAM, length=False))
    for byte in event(result(1)):
        setup.say(chunk(bytes([byte])))
    assert client.reply.body == event(result(1))
    setup.say(END)
    assert setup.outcomes == {"ok": 1}


PACKERS: list[tuple[bytes, Callable[[bytes], bytes]]] = [
    (b"gzip", gzip.compress),
    (b"GZIP", gzip.compress),
    (b"deflate", zlib.compress),
]


@pytest.mark.parametrize(("coding", "pack"), PACKERS)
@on_fake_time
async def test_a_compressed_reply_stays_compressed_and_is_understood(
    coding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    setup = Setup()
    packed = pack(encoded(result(1, isError=True)))
    client = await setup.call(http(packed, b"Content-Encoding: " + coding))
    assert client.reply.body == packed
    assert client.reply.header(b"Content-Encoding") == coding
    assert setup.outcomes == {"tool_error": 1}


@pytest.mark.parametrize(
    ("coding", "pack"),
    [(b"gzip", gzip.compress), (b"x-gzip", gzip.compress), (b"Deflate", zlib.compress)],
)
@on_fake_time
async def test_a_compressed_request_passes_as_it_came_and_is_read(
    coding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    setup = Setup()
    packed = pack(encoded(request(1, "tools/call", name="x")))
    client = await setup.post(packed, (b"Content-Encoding", coding))
    assert setup.connections[0].sent.endswith(packed)
    setup.say(http(result(1, isError=True)))
    assert client.reply.json == result(1, isError=True)
    assert setup.outcomes == {"tool_error": 1}
    assert setup.unparsed("encoded") == 0


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (http(result(1)), "ok"),
        (http(result("a", isError=True)), "tool_error"),
        (http(event(error(5)), STREAM), "protocol_error"),
        (http(status=b"202 Accepted"), "ok"),
        (http(status=b"500 Oops"), "upstream_error"),
        (http(error(None), status=b"400 Bad Request"), "protocol_error"),
    ],
)
@on_fake_time
async def test_a_request_that_cannot_be_read_has_one_outcome_too(
    reply: bytes, outcome: str
) -> None:
    setup = Setup()
    await setup.post(b"packed", (b"Content-Encoding", b"br"))
    assert setup.telemetry.in_flight == 1
    setup.say(reply)
    await settle()
    assert setup.outcomes == {outcome: 1}
    assert setup.unparsed("encoded") == 1
    assert setup.unparsed("unmatched_reply") == 0


@on_fake_time
async def test_a_chunked_request_goes_up_with_its_length() -> None:
    setup = Setup()
    body = encoded(request(1))
    head = b"POST /files/mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    await setup.send(head + chunk(body[:5]) + chunk(body[5:]) + END)
    sent = bytes(setup.connections[0].sent)
    assert b"Content-Length: %d\r\n" % len(body) in sent
    assert b"chunked" not in sent
    assert sent.endswith(b"\r\n\r\n" + body)


@on_fake_time
async def test_a_body_without_length_ends_with_the_servers_connection() -> None:
    setup = Setup()
    client = await setup.call(b"HTTP/1.1 200 OK\r\n\r\n" + encoded(result(1)))
    assert not client.reply.is_complete
    setup.connections[0].end()
    await settle()
    assert client.reply.json == result(1)
    assert client.reply.is_complete
    assert setup.outcomes == {"ok": 1}


@on_fake_time
async def test_a_larger_reply_than_is_kept_passes_whole_and_is_counted() -> None:
    setup = Setup(observed_bytes=1000)
    large = result(1, text="x" * 5000, isError=True)
    client = await setup.call(http(large))
    assert client.reply.json == large
    assert setup.unparsed("too_large") == 1
    assert setup.outcomes == {"ok": 1}
    assert setup.telemetry.events.losses == []


@on_fake_time
async def test_a_body_that_is_on_its_way_is_held_once() -> None:
    setup = Setup()
    client = await setup.post(request(1, "tools/call", text="x" * 5000))
    assert b"x" * 5000 in setup.connections[0].sent
    (relay,) = setup.upstream.relays
    assert relay._request.body == b""  # the server's connection has it
    setup.say(http(result(1)))
    assert client.reply.json == result(1)


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize("end", ["whole", "lost", "overdue", "client gone"])
@pytest.mark.parametrize("kind", [b"X-Kind: JSON", STREAM, b"Content-Encoding: gzip"])
@on_fake_time
async def test_a_reply_in_pieces_is_free_as_soon_as_it_has_ended(kind: bytes, end: str) -> None:
    setup = Setup(timeout=1.0)
    client = await setup.call(http(b" " * 5000, kind, length=False))
    relays = [weakref.ref(relay) for relay in setup.upstream.relays]
    assert len(relays) == 1
    if end == "whole":
        setup.say(END)
    elif end == "lost":
        setup.connections[0].lose(None)
    elif end == "overdue":
        await asyncio.sleep(2)
    else:
        client.close()
    await settle()
    assert [relay() for relay in relays] == [None]


@on_fake_time
async def test_a_larger_event_than_is_kept_passes_whole_and_is_counted() -> None:
    setup = Setup(observed_bytes=1000)
    large = event(notification("notifications/message", text="x" * 5000))
    client = await setup.call(http(large + event(result(1)), STREAM, length=False) + END)
    assert client.reply.body == large + event(result(1))
    assert setup.unparsed("too_large") == 1
    assert setup.outcomes == {"ok": 1}


@on_fake_time
async def test_bytes_are_counted_in_both_directions() -> None:
    setup = Setup()
    body = encoded(request(1))
    await setup.post(body)
    setup.say(http(result(1)))
    count = "mcp_message_bytes_total"
    assert setup.telemetry.value(count, direction="to_server") == len(body)
    assert setup.telemetry.value(count, direction="to_client") == len(encoded(result(1)))


@on_fake_time
async def test_the_pace_of_the_client_is_that_of_the_server() -> None:
    setup = Setup()
    client = await setup.call(http(b"x", length=False))
    client.connection.pause_writing()
    assert setup.connections[0].is_paused
    client.connection.resume_writing()
    assert not setup.connections[0].is_paused


@on_fake_time
async def test_the_time_inside_the_exporter_is_observed_once_a_request() -> None:
    setup = Setup()
    await setup.post([request(1), request(2)])
    setup.say(http([result(1), result(2)]))
    await setup.post(notification("notifications/initialized"))
    setup.say(http(status=b"202 Accepted"))
    overhead = "mcp_exporter_relay_overhead_seconds_count"
    assert setup.telemetry.own(overhead, transport="http") == 1


# Outcomes


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (http(result(1)), "ok"),
        (http(result(1, isError=True)), "tool_error"),
        (http(result(1, resultType="input_required")), "input_required"),
        (http(error(1)), "protocol_error"),
        (http(error(None, -32600), status=b"400 Bad Request"), "protocol_error"),
        (http(error(1, -32601), status=b"404 Not Found"), "protocol_error"),
        (http(error(1), status=b"500 Oops"), "protocol_error"),
        (http(event(error(1)), STREAM, status=b"400 Bad Request"), "protocol_error"),
        (http(b"<html>", status=b"404 Not Found"), "upstream_error"),
        (http(b"no", status=b"503 Service Unavailable"), "upstream_error"),
        (http(status=b"500 Oops"), "upstream_error"),
        (http(status=b"429 Too Many Requests"), "upstream_error"),
        (http(b"no json"), "upstream_error"),
        (http(result(2)), "upstream_error"),
        (http(status=b"202 Accepted"), "upstream_error"),
        (http(b"", STREAM, length=False) + END, "upstream_error"),
        (http(event(result("1")), STREAM), "ok"),
        (http(error("1")), "protocol_error"),
        (http([result(1, isError=True)]), "tool_error"),
        (http(b"\xef\xbb\xbf" + encoded(error(1))), "protocol_error"),
        (http(error(None)), "protocol_error"),
        (http({"error": {"code": 503, "message": "UNAVAILABLE"}}), "upstream_error"),
        (http({"error": "no"}, status=b"503 Service Unavailable"), "upstream_error"),
        (http({"error": {"code": 5}}, status=b"400 Bad Request"), "upstream_error"),
        (http({"message": "no"}), "upstream_error"),
        (http([1, "two"]), "upstream_error"),
        (http(b"not gzip", b"Content-Encoding: gzip"), "upstream_error"),
        (http(b"packed", b"Content-Encoding: br"), "ok"),
        (http(b"{}", status=b"401 Unauthorized"), "unauthorized"),
        (http(status=b"401 Unauthorized"), "unauthorized"),
        (http(error(1), status=b"403 Forbidden"), "unauthorized"),
        (http(b"", STREAM, status=b"403 Forbidden", length=False) + END, "unauthorized"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", "upstream_error"),
    ],
)
@on_fake_time
async def test_a_reply_decides_the_outcome(reply: bytes, outcome: str) -> None:
    setup = Setup()
    client = await setup.call(reply)
    assert client.reply.is_complete
    (sent,) = parse_replies(reply)
    assert (client.reply.status, client.reply.body) == (sent.status, sent.body)
    assert setup.outcomes == {outcome: 1}
    assert setup.telemetry.total("mcp_tool_calls_total") == 1


@on_fake_time
async def test_a_redirect_is_passed_on_and_not_followed() -> None:
    setup = Setup()
    client = await setup.call(http(b"", b"Location: http://elsewhere/", status=b"307 Moved"))
    assert client.reply.header(b"Location") == b"http://elsewhere/"
    assert len(setup.connections) == 1


@on_fake_time
async def test_an_error_code_is_counted_whatever_the_http_status() -> None:
    setup = Setup()
    await setup.call(http(error(None, -32602), status=b"400 Bad Request"))
    errors = "mcp_protocol_errors_total"
    assert setup.telemetry.value(errors, method="tools/call", code="-32602") == 1


@on_fake_time
async def test_a_refusal_answers_every_request_of_a_batch() -> None:
    setup = Setup()
    await setup.post([request(1), notification("x"), request(2)])
    setup.say(http(error(None), status=b"400 Bad Request"))
    assert setup.outcomes == {"protocol_error": 2}


@on_fake_time
async def test_a_server_that_cannot_be_reached_is_a_502() -> None:
    setup = Setup()
    setup.refusal = ConnectionRefusedError(111, "Connection refused")
    client = await setup.post(request("seven"))
    assert client.reply.status == 502
    assert client.reply.json["id"] == "seven"
    assert client.reply.json["error"]["code"] == -32000
    assert "'files' cannot be reached" in client.reply.json["error"]["message"]
    assert setup.outcomes == {"upstream_error": 1}
    assert len(setup.telemetry.events.losses) == 1


@on_fake_time
async def test_a_batch_that_cannot_be_delivered_is_answered_whole() -> None:
    setup = Setup()
    setup.refusal = ConnectionRefusedError(111, "Connection refused")
    client = await setup.post([request(1), request("1"), notification("x")])
    assert client.reply.status == 502
    assert [reply["id"] for reply in client.reply.json] == [1, "1"]
    assert setup.outcomes == {"upstream_error": 2}


@on_fake_time
async def test_a_notification_that_cannot_be_delivered_is_answered_without_id() -> None:
    setup = Setup()
    setup.refusal = ConnectionRefusedError(111, "Connection refused")
    client = await setup.post(notification("notifications/initialized"))
    assert client.reply.status == 502
    assert client.reply.json["id"] is None
    assert setup.outcomes == {}


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200 OK\r\nContent-", b"garbage\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"],
)
@on_fake_time
async def test_a_server_that_is_lost_before_its_reply_is_a_502(head: bytes) -> None:
    setup = Setup()
    client = await setup.post(request(1))
    if head:
        setup.say(head)
    setup.connections[0].lose(ConnectionResetError())
    await settle()
    assert client.reply.status == 502
    assert client.reply.is_complete
    assert setup.outcomes == {"upstream_error": 1}


@on_fake_time
async def test_a_reply_that_is_cut_off_is_cut_off_for_the_client_too() -> None:
    setup = Setup()
    client = await setup.call(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b'{"id":1')
    setup.connections[0].end()
    await settle()
    assert not client.reply.is_complete
    assert client.is_aborted
    assert setup.outcomes == {"upstream_error": 1}


@pytest.mark.parametrize(
    "partial", [b"", b": ping\n\n", b'data: {"id":1,', b"data: 1\n", b"data: 1"]
)
@on_fake_time
async def test_a_stream_that_is_cut_off_ends_with_an_error_for_what_waits(partial: bytes) -> None:
    setup = Setup()
    client = await setup.call(http(partial, STREAM, length=False))
    setup.connections[0].lose(ConnectionResetError())
    await settle()
    assert client.reply.is_complete
    assert client.reply.body.startswith(partial + b"\n\nevent: message\ndata: {")
    last = client.reply.body.rpartition(b"data: ")[2]
    assert b'"id": 1' in last
    assert b"-32000" in last
    assert setup.outcomes == {"upstream_error": 1}


@on_fake_time
async def test_a_stream_that_is_cut_off_answers_only_what_still_waits() -> None:
    setup = Setup()
    client = await setup.post([request(1), request(2), request(3)])
    setup.say(http(event(result(2)), STREAM, length=False))
    setup.connections[0].lose(None)
    await settle()
    assert [each["id"] for each in client.events] == [2, 1, 3]
    assert setup.outcomes == {"ok": 1, "upstream_error": 2}


@on_fake_time
async def test_a_stream_that_is_cut_off_after_its_reply_answers_nothing_twice() -> None:
    setup = Setup()
    client = await setup.call(http(event(result(1)), STREAM, length=False))
    setup.connections[0].lose(ConnectionResetError())
    await settle()
    assert client.events == [result(1)]
    assert setup.outcomes == {"ok": 1}
    assert setup.telemetry.events.losses == []


@on_fake_time
async def test_nothing_is_added_to_a_compressed_stream_that_is_cut_off() -> None:
    setup = Setup()
    packed = zlib.compressobj(wbits=31)
    text = packed.compress(b": ping\n\n") + packed.flush(zlib.Z_SYNC_FLUSH)
    client = await setup.call(http(text, STREAM, b"Content-Encoding: gzip", length=False))
    setup.connections[0].lose(None)
    await settle()
    assert client.reply.body == text
    assert client.is_aborted
    assert setup.outcomes == {"upstream_error": 1}


@on_fake_time
async def test_an_overdue_request_is_a_504() -> None:
    setup = Setup(timeout=30)
    client = await setup.post(request(1))
    await asyncio.sleep(31)
    assert client.reply.status == 504
    assert client.reply.json["id"] == 1
    assert client.reply.json["error"]["code"] == -32001
    assert "did not reply within 30 s" in client.reply.json["error"]["message"]
    assert setup.connections[0].is_aborted
    assert setup.outcomes == {"timeout": 1}


@on_fake_time
async def test_what_the_deadline_ends_took_no_longer_however_late_the_timer_is() -> None:
    setup = Setup(timeout=30)
    await setup.post(request(1))
    await settle()
    virtual_loop().clock.advance(30.4)
    await settle()
    assert setup.outcomes == {"timeout": 1}
    labels = {"method": "ping", "outcome": "timeout"}
    assert setup.telemetry.value("mcp_request_duration_seconds_bucket", **labels, le="30.0") == 1


@on_fake_time
async def test_an_overdue_stream_ends_with_an_error() -> None:
    setup = Setup(timeout=30)
    client = await setup.call(http(event(notification("x")), STREAM, length=False))
    await asyncio.sleep(31)
    assert client.events[-1]["id"] == 1
    assert client.events[-1]["error"]["code"] == -32001
    assert client.reply.is_complete
    assert setup.outcomes == {"timeout": 1}


@on_fake_time
async def test_a_server_that_cannot_be_connected_to_in_time_is_overdue() -> None:
    setup = Setup(timeout=3)
    setup.delay = 100
    client = await setup.post(request(1))
    await asyncio.sleep(4)
    assert client.reply.status == 504
    assert setup.outcomes == {"timeout": 1}
    await asyncio.sleep(100)
    assert setup.connections == []


@on_fake_time
async def test_without_timeout_a_request_waits() -> None:
    setup = Setup(timeout=0)
    client = await setup.post(request(1))
    await asyncio.sleep(50_000)
    setup.say(http(result(1)))
    assert client.reply.json == result(1)
    await setup.upstream.close()


@pytest.mark.parametrize("status", [b"301 Moved", b"307 Temporary Redirect", b"308 Moved"])
@on_fake_time
async def test_a_redirect_passes_as_it_is_and_says_what_to_do(status: bytes) -> None:
    setup = Setup()
    client = await setup.call(http(b"", b"Location: http://up:8000/mcp/", status=status))
    assert client.reply.status == int(status[:3])
    assert client.reply.header(b"Location") == b"http://up:8000/mcp/"
    assert setup.outcomes == {"upstream_error": 1}
    assert setup.telemetry.events.losses == [
        "redirects to http://up:8000/mcp/; write that as the url"
    ]


DURATION = "mcp_request_duration_seconds_sum"


def progress(token: object) -> bytes:
    return chunk(event(notification("notifications/progress", progressToken=token)))


@pytest.mark.parametrize(("total", "seconds"), [(100.0, 100), (0.0, 130)])
@on_fake_time
async def test_progress_keeps_a_request_alive_up_to_the_total(total: float, seconds: int) -> None:
    setup = Setup(timeout=30, total=total)
    client = await setup.post(request(1, _meta={"progressToken": "p"}))
    setup.say(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for _ in range(5):
        await asyncio.sleep(20)
        setup.say(progress("p"))
    await asyncio.sleep(seconds - 100 + 1)
    assert setup.outcomes == {"timeout": 1}
    assert setup.telemetry.value(DURATION, method="ping", outcome="timeout") == seconds
    assert "reported progress for 30 s" in client.reply.events[-1]["error"]["message"]
    await setup.upstream.close()


@pytest.mark.parametrize(("total", "token"), [(None, "p"), (100.0, "other"), (100.0, 5)])
@on_fake_time
async def test_other_progress_does_not(total: float | None, token: object) -> None:
    setup = Setup(timeout=30, total=total)
    await setup.post(request(1, _meta={"progressToken": "p"}))
    setup.say(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    await asyncio.sleep(20)
    setup.say(progress(token))
    await asyncio.sleep(11)
    assert setup.outcomes == {"timeout": 1}
    await setup.upstream.close()


@on_fake_time
async def test_a_subscription_and_a_get_stream_have_no_deadline() -> None:
    setup = Setup(timeout=30)
    clients = [await setup.post(request(1, "subscriptions/listen"), MODERN), await setup.get()]
    await asyncio.sleep(1000)
    assert all(client.sent == b"" for client in clients)
    await setup.upstream.close()


@pytest.mark.parametrize(
    ("headers", "params"),
    [([MODERN], {}), ([], {"_meta": {VERSION_KEY: "2026-07-28"}})],
    ids=["by its header", "by its envelope"],
)
@on_fake_time
async def test_a_modern_client_that_closes_its_stream_cancels(
    headers: list[tuple[bytes, bytes]], params: dict[str, Any]
) -> None:
    setup = Setup()
    client = await setup.post(request(1, **params), *headers)
    client.lose(None)
    await settle()
    assert setup.connections[0].is_aborted
    assert setup.outcomes == {"cancelled": 1}


@pytest.mark.parametrize("headers", [[], [LEGACY]])
@on_fake_time
async def test_an_older_client_that_leaves_is_gone(headers: list[tuple[bytes, bytes]]) -> None:
    setup = Setup()
    client = await setup.post(request(1), *headers)
    client.lose(None)
    await settle()
    assert setup.connections[0].is_aborted
    assert setup.outcomes == {"client_gone": 1}


@on_fake_time
async def test_a_request_is_cancelled_by_its_notification() -> None:
    setup = Setup()
    await setup.open()
    await setup.post(request(1), SESSION)
    await setup.post(notification("notifications/cancelled", requestId=1), SESSION)
    setup.say(http(status=b"202 Accepted"))
    assert setup.outcomes == {"ok": 1, "cancelled": 1}
    setup.say(http(b"", STREAM, length=False) + END, 0)
    assert setup.outcomes == {"ok": 1, "cancelled": 1}


# Sessions


@on_fake_time
async def test_a_session_lives_from_initialize_to_delete() -> None:
    setup = Setup()
    await setup.open()
    assert setup.telemetry.value("mcp_sessions") == 1
    labels = {"client": "inspector", "protocol_version": "_other"}
    assert setup.telemetry.value("mcp_sessions_started_total", **labels) == 1
    client = await setup.get(SESSION, method=b"DELETE")
    setup.say(http(status=b"204 No Content", length=True).replace(b"Content-Length: 0\r\n", b""))
    assert client.reply.status == 204
    assert setup.telemetry.value("mcp_sessions") == 0


@pytest.mark.parametrize("status", [b"405 Method Not Allowed", b"500 Oops"])
@on_fake_time
async def test_a_delete_that_is_refused_ends_nothing(status: bytes) -> None:
    setup = Setup()
    await setup.open()
    await setup.get(SESSION, method=b"DELETE")
    setup.say(http(status=status))
    assert setup.telemetry.value("mcp_sessions") == 1


@on_fake_time
async def test_a_404_ends_its_session() -> None:
    setup = Setup()
    await setup.open()
    await setup.post(request(1), SESSION)
    setup.say(http(error(1, -32600), status=b"404 Not Found"))
    assert setup.telemetry.value("mcp_sessions") == 0
    assert setup.outcomes == {"ok": 1, "protocol_error": 1}


@on_fake_time
async def test_a_404_without_a_session_ends_none() -> None:
    setup = Setup()
    await setup.open()
    await setup.post(request(1), MODERN)
    setup.say(http(error(1, -32601), status=b"404 Not Found"))
    assert setup.telemetry.value("mcp_sessions") == 1


@on_fake_time
async def test_a_refused_initialize_opens_no_session() -> None:
    setup = Setup()
    await setup.post(request(0, "initialize"))
    setup.say(http(error(0), b"Mcp-Session-Id: s1", status=b"400 Bad Request"))
    assert setup.telemetry.value("mcp_sessions") == 0


@on_fake_time
async def test_a_session_that_is_older_than_the_exporter_turns_up() -> None:
    setup = Setup()
    await setup.post(request(1), SESSION)
    assert setup.telemetry.value("mcp_sessions") == 0
    setup.say(http(result(1)))
    assert setup.telemetry.value("mcp_sessions") == 1


@on_fake_time
async def test_a_request_of_the_server_is_answered_by_a_post_of_the_session() -> None:
    setup = Setup()
    await setup.open()
    await setup.post(request(1, "tools/call", name="x"), SESSION)
    setup.say(http(event(request(1, "sampling/createMessage")), STREAM, length=False))
    await setup.post(result(1, role="assistant"), SESSION)
    setup.say(http(status=b"202 Accepted"))
    assert setup.telemetry.outcomes("mcp_server_requests_total") == {"ok": 1}
    setup.say(chunk(event(result(1))) + END, 0)
    assert setup.outcomes == {"ok": 2}
    assert not setup.unparsed("unmatched_reply")


@on_fake_time
async def test_a_resumable_reply_may_come_on_another_stream() -> None:
    setup = Setup()
    await setup.open()
    await setup.post(request(1, "tools/call", name="x"), SESSION)
    setup.say(http(b"id: 1\ndata: \n\n", STREAM, length=False) + END)
    assert setup.telemetry.in_flight == 1
    client = await setup.get(SESSION, (b"Last-Event-ID", b"1"))
    assert b"Last-Event-ID: 1\r\n" in setup.connections[-1].sent
    setup.say(http(event(result(1), "2"), STREAM, length=False))
    assert client.events == [result(1)]
    assert setup.outcomes == {"ok": 2}


@pytest.mark.parametrize("how", ["client leaves", "server is lost", "stream ends"])
@on_fake_time
async def test_a_resumable_reply_that_never_comes_is_overdue(how: str) -> None:
    setup = Setup(timeout=30)
    await setup.open()
    client = await setup.post(request(1), SESSION)
    setup.say(http(b"id: 1\ndata: \n\n", STREAM, length=False))
    if how == "client leaves":
        client.lose(None)
    elif how == "server is lost":
        setup.connections[-1].lose(ConnectionResetError())
    else:
        setup.say(END)
    await settle()
    assert setup.telemetry.in_flight == 1
    assert b"error" not in client.reply.body
    await asyncio.sleep(40)
    assert setup.outcomes == {"ok": 1, "timeout": 1}


@on_fake_time
async def test_events_with_ids_promise_nothing_without_a_session() -> None:
    setup = Setup()
    await setup.call(http(b"id: 1\ndata: \n\n", STREAM, length=False) + END)
    assert setup.outcomes == {"upstream_error": 1}


@on_fake_time
async def test_two_requests_of_an_unknown_session_leave_nothing_waiting() -> None:
    setup = Setup(timeout=30)
    for number in (1, 2):
        await setup.post(request(number), SESSION)
    for number in (0, 1):
        setup.say(http(b"id: 1\ndata: \n\n", STREAM, length=False) + END, number)
    await asyncio.sleep(40)
    assert sum(setup.outcomes.values()) == 2
    assert setup.telemetry.value("mcp_sessions") == 1


@pytest.mark.parametrize("how", ["DELETE", "404"])
@on_fake_time
async def test_what_has_a_stream_may_be_replied_to_after_the_end_of_its_session(how: str) -> None:
    setup = Setup()
    await setup.open()
    client = await setup.post(request(1), SESSION)
    setup.say(http(b"id: 1\ndata: \n\n", STREAM, length=False))
    counts = await _end_session(setup, how)
    assert setup.telemetry.outcomes() == counts
    setup.say(chunk(event(result(1))) + END, 0)
    assert client.events == [result(1)]
    assert setup.outcomes == {**counts, "ok": 2}


@pytest.mark.parametrize("end", ["stream ends", "server is lost", "client leaves"])
@pytest.mark.parametrize("how", ["DELETE", "404"])
@on_fake_time
async def test_what_is_not_replied_to_after_the_end_of_its_session_blames_nobody(
    how: str, end: str
) -> None:
    setup = Setup()
    await setup.open()
    client = await setup.post(request(1), SESSION)
    setup.say(http(b"id: 1\ndata: \n\n", STREAM, length=False))
    counts = await _end_session(setup, how)
    if end == "client leaves":
        client.lose(None)
    elif end == "server is lost":
        setup.connections[0].lose(ConnectionResetError())
    else:
        setup.say(END, 0)
    await settle()
    assert setup.outcomes == {**counts, "client_gone": 1}
    assert setup.telemetry.events.losses == []


@on_fake_time
async def test_each_404_of_a_session_that_is_lost_counts_as_the_first_one() -> None:
    setup = Setup()
    await setup.open()
    for number in (1, 2):
        await setup.post(request(number), SESSION)
    for number in (0, 1):
        setup.say(http(status=b"404 Not Found"), number)
    assert setup.outcomes == {"ok": 1, "upstream_error": 2}


@on_fake_time
async def test_what_has_no_stream_ends_with_the_last_one_of_its_session() -> None:
    setup = Setup()
    await setup.open()
    for number in (1, 2):
        await setup.post(request(number), SESSION)
        setup.say(http(b"id: 1\ndata: \n\n", STREAM, length=False))
    setup.say(END)
    counts = await _end_session(setup, "DELETE")
    assert setup.telemetry.in_flight == 2, "the other stream may bring both replies"
    setup.say(chunk(event(result(1))) + END, 0)
    assert setup.outcomes == {**counts, "ok": 2, "client_gone": 1}


@on_fake_time
async def test_a_standing_stream_keeps_nothing_of_a_session_that_is_over() -> None:
    setup = Setup()
    await setup.open()
    await setup.post(request(1), SESSION)
    setup.say(http(b"id: 1\ndata: \n\n", STREAM, length=False) + END)
    await setup.get(SESSION)
    setup.say(http(b"id: 2\ndata: \n\n", STREAM, length=False))
    counts = await _end_session(setup, "DELETE")
    assert setup.outcomes == {**counts, "client_gone": 1}


async def _end_session(setup: Setup, how: str) -> dict[str, int]:
    """How requests ended until then."""
    if how == "DELETE":
        await setup.get(SESSION, method=b"DELETE")
        setup.say(http(status=b"200 OK"))
        return {"ok": 1}
    await setup.post(request(7), SESSION)
    setup.say(http(error(7, -32001), status=b"404 Not Found"))
    return {"ok": 1, "protocol_error": 1}


@on_fake_time
async def test_an_idle_session_is_over_but_never_while_a_stream_is_open() -> None:
    setup = Setup()
    await setup.open()
    client = await setup.get(SESSION)
    setup.say(http(b"", STREAM, length=False))
    await asyncio.sleep(4000)
    assert setup.telemetry.value("mcp_sessions") == 1
    client.lose(None)
    await asyncio.sleep(1810)
    assert setup.telemetry.value("mcp_sessions") == 0
    await setup.upstream.close()


# Health


@pytest.mark.parametrize(
    ("reply", "alive", "lost"),
    [
        (http(result(1)), 1, 0),
        (http(error(1)), 1, 0),
        (http(error(1), status=b"500 Oops"), 1, 0),
        (http(status=b"401 Unauthorized"), 1, 0),
        (http(status=b"404 Not Found"), 0, 0),
        (http(status=b"503 Service Unavailable"), 0, 1),
        (http(b"no json"), 0, 1),
    ],
)
@on_fake_time
async def test_a_reply_says_something_of_the_health(reply: bytes, alive: int, lost: int) -> None:
    setup = Setup()
    await setup.call(reply)
    assert (setup.telemetry.events.signs_of_life, len(setup.telemetry.events.losses)) == (
        alive,
        lost,
    )


@on_fake_time
async def test_a_client_that_leaves_says_nothing_of_the_health() -> None:
    setup = Setup()
    (await setup.post(request(1))).lose(None)
    await settle()
    assert setup.telemetry.events.losses == []


class Chaos(RuleBasedStateMachine):
    """Every request ends once and is answered, whatever clients, server and time do."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = fake_time()
        self.runner = self.stage.__enter__()
        self.clients: list[Client] = []
        self.replying: dict[int, bool] = {}
        self.sent = 0
        self.runner.run(self._open())

    @rule(
        ids=st.lists(st.sampled_from([1, 2, "1", None]), min_size=1, max_size=3),
        headers=st.sampled_from([[], [SESSION], [SESSION, LEGACY], [MODERN]]),
        method=st.sampled_from(["tools/call", "subscriptions/listen", "initialize"]),
    )
    def post_requests(
        self, ids: list[object], headers: list[tuple[bytes, bytes]], method: str
    ) -> None:
        batch = [request(each, method, _meta=self.spans.meta) for each in ids]
        self.sent += len(ids)
        self._send(post(batch[0] if len(batch) == 1 else batch, b"/files/mcp", *headers))

    @rule(request_id=st.sampled_from([1, 2, "1", None]))
    def cancel(self, request_id: object) -> None:
        notice = notification("notifications/cancelled", requestId=request_id)
        self._send(post(notice, b"/files/mcp", SESSION))

    @rule(method=st.sampled_from([b"GET", b"DELETE"]))
    def get_or_delete(self, method: bytes) -> None:
        self._send(
            method + b" /files/mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: s1\r\n\r\n"
        )

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        self._run(lambda: client.lose(None))

    @precondition(lambda self: self._open_connections())
    @rule(data=st.data(), fails=st.booleans(), status=st.sampled_from(
        [b"200 OK", b"202 Accepted", b"400 Bad Request", b"401 Unauthorized", b"404 Not Found"]
    ), session=st.booleans(), request_id=st.sampled_from([1, 2, "1", None]))  # fmt: skip
    def server_replies(
        self, data: st.DataObject, fails: bool, status: bytes, session: bool, request_id: object
    ) -> None:
        message = error(request_id) if fails else result(request_id)
        number = data.draw(st.sampled_from(self._open_connections()))
        if self.replying.pop(number, False):
            self._say(number, chunk(event(message)) + END)
            return
        headers = [b"Mcp-Session-Id: s1"] if session else []
        self._say(number, http(message, *headers, status=status))

    @precondition(lambda self: self._open_connections())
    @rule(data=st.data(), event_id=st.sampled_from(["", "7"]), message=st.sampled_from([
        request(1, "roots/list"), result(1), error("1"), notification("x"), [result(1), result(2)]
    ]))  # fmt: skip
    def server_streams(self, data: st.DataObject, event_id: str, message: object) -> None:
        number = data.draw(st.sampled_from(self._open_connections()))
        text = chunk(event(message, event_id))
        if not self.replying.get(number):
            self.replying[number] = True
            text = http(b"", STREAM, length=False) + text
        self._say(number, text)

    @precondition(lambda self: self._open_connections())
    @rule(data=st.data())
    def server_is_lost(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self._open_connections()))
        self._run(lambda: self.setup.connections[number].lose(ConnectionResetError()))

    @rule(refusal=st.sampled_from([None, ConnectionRefusedError(111, "refused")]))
    def server_goes_or_comes(self, refusal: OSError | None) -> None:
        self.setup.refusal = refusal

    @rule(is_on=st.booleans())
    def spans_are_switched(self, is_on: bool) -> None:
        self.spans.switch(is_on)

    @rule(seconds=st.sampled_from([1.0, 31.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @invariant()
    def every_request_is_in_flight_or_counted(self) -> None:
        telemetry = self.setup.telemetry
        ended = telemetry.outcomes().total()
        assert ended + int(telemetry.in_flight or 0) + self._listening() == self.sent
        assert not telemetry.total("mcp_exporter_internal_errors_total")
        self.spans.check()

    def teardown(self) -> None:
        self.runner.run(self.setup.upstream.close())
        self._run(lambda: None)
        assert self.setup.telemetry.in_flight == 0
        assert self.setup.telemetry.value("mcp_sessions") == 0
        assert self.setup.telemetry.outcomes().total() == self.sent
        assert not self.setup.upstream.is_busy
        assert all(connection.is_closing() for connection in self.setup.connections)
        for client in self.clients:
            assert client.is_closing() or client.reply.is_complete
        self.spans.check()
        loop = self.runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        assert not loop.faults, loop.faults
        self.stage.__exit__(None, None, None)

    async def _open(self) -> None:
        self.setup = Setup(timeout=30)
        self.spans = SpanAccount(self.setup.telemetry.metrics, propagate=True)

    def _listening(self) -> int:
        upstream = self.setup.upstream
        exchanges = {each._exchange for each in upstream.relays}
        exchanges |= {each.exchange for each in upstream.sessions._live.values()}
        return sum(pending.method in UNTIMED for each in exchanges for pending in waiting(each))

    def _open_connections(self) -> list[int]:
        connections: list[FakeTransport] = self.setup.connections
        return [number for number, each in enumerate(connections) if not each.is_closing()]

    def _say(self, number: int, text: bytes) -> None:
        connection = self.setup.connections[number]
        self._run(lambda: connection.protocol.data_received(text))
        if connection.is_closing():
            self.replying.pop(number, None)

    def _send(self, text: bytes) -> None:
        async def soon() -> None:
            self.clients.append(await self.setup.send(text))

        self.runner.run(soon())

    def _run(self, act: Callable[[], object]) -> None:
        async def soon() -> None:
            act()
            await settle()

        self.runner.run(soon())


TestChaos = Chaos.TestCase
TestChaos.settings = settings(max_examples=25, stateful_step_count=30)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (http(b"no", status=b"503 Service Unavailable"), "503"),
        (http(status=b"404 Not Found"), "404"),
        (http(result(2)), None),
        (b"", "connect_error"),
        (b"nonsense\r\n\r\n", "protocol_error"),
    ],
)
@on_fake_time
async def test_a_span_says_what_failed_upstream(reply: bytes, fault: str | None) -> None:
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics)
    await setup.post(request(1, "tools/list"))
    if reply:
        setup.say(reply)
    else:
        setup.connections[-1].lose(ConnectionResetError(104, "reset"))
    await settle()
    (record,) = kept.records
    assert (record.series.outcome, record.series.fault) == ("upstream_error", fault)


@on_fake_time
async def test_spans_of_one_session_have_its_digits() -> None:
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics)
    await setup.open()
    for number in (1, 2):
        await setup.post(request(number, "tools/list"), (b"Mcp-Session-Id", b"s1"))
        setup.say(http(result(number)))
        await settle()
    # That of initialize too: its reply says the id.
    assert [each.session for each in kept.records] == [session_digits(b"s1")] * 3

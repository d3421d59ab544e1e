"""The listening side of HTTP/1.1: what clients may do, and what becomes of those who overdo it."""

from __future__ import annotations

import asyncio
import tracemalloc
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.transport.http.connection import Connection
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.request import Request
from exporter.transport.http.server import HttpServer
from tests.support.fakes import (
    Downstream,
    FakeTransport,
    FullTurn,
    Scribe,
    on_fake_time,
    parse_replies,
    settle,
    virtual_loop,
)

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
SMALL = ListenerLimits(head_bytes=200, body_bytes=50, read_timeout=5, idle_timeout=20)


def answer(request: Request, text: bytes = b"ok") -> None:
    request.respond(200, text, b"text/plain")


class Echo(Scribe):
    """Answers every request at once with what it was."""

    def handle(self, request: Request) -> None:
        super().handle(request)
        answer(request, request.method + b" " + request.target + b" " + request.body)


def bodies(client: Downstream) -> list[bytes]:
    return [reply.body for reply in client.replies()]


# Requests


@on_fake_time
async def test_a_request_is_handed_over_whole() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(b"POST /files/mcp?a=1&b HTTP/1.1\r\nHost: x\r\nX-Odd:  two words \t\r\n")
    client.say(b"Content-Length: 5\r\n\r\n12")
    assert app.requests == []
    client.say(b"345")
    (request,) = app.requests
    assert (request.method, request.target) == (b"POST", b"/files/mcp?a=1&b")
    assert (request.path, request.query) == (b"/files/mcp", b"a=1&b")
    assert request.body == b"12345"
    assert request.headers[1] == (b"X-Odd", b"two words")
    assert request.header(b"x-odd") == b"two words"
    assert request.header(b"x-none") is None
    assert request.received == virtual_loop().time()


@on_fake_time
async def test_the_first_of_several_headers_with_one_name_is_found() -> None:
    app = Scribe()
    Downstream(app).say(b"GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\na: 2\r\n\r\n")
    assert app.requests[0].header(b"a") == b"1"
    assert [value for name, value in app.requests[0].headers if name.lower() == b"a"] == [
        b"1",
        b"2",
    ]


@given(st.lists(st.integers(1, 400), max_size=12))
def test_it_does_not_matter_how_requests_are_cut(cuts: list[int]) -> None:
    stream = (
        b"POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345"
        b"GET /two HTTP/1.1\r\nHost: x\r\n\r\n"
        b"POST /three HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
        b"POST /four HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABk\r\nContent-Length: 3\r\n\r\nxyz"
        b"DELETE /five HTTP/1.1\r\nHost: x\r\n\r\n"
    )

    @on_fake_time
    async def talk() -> None:
        client = Downstream(Echo())
        places = [0, *sorted(cuts), len(stream)]
        for start, end in pairwise(places):
            if stream[start:end]:
                client.say(stream[start:end])
                if start % 2:
                    await settle()
        await settle()
        assert bodies(client) == [
            *(b"POST /one 12345", b"GET /two ", b"POST /three abcdefg"),
            *(b"POST /four xyz", b"DELETE /five "),
        ]
        assert not client.is_closing()

    talk()


@on_fake_time
async def test_pipelined_requests_are_served_in_order_one_at_a_time() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET.replace(b"/a", b"/1") + GET.replace(b"/a", b"/2"))
    client.say(GET.replace(b"/a", b"/3"))
    for number in range(1, 4):
        assert [request.target for request in app.requests][-1] == b"/%d" % number
        assert len(app.requests) == number
        answer(app.requests[-1], b"%d" % number)
        await settle()
    assert bodies(client) == [b"1", b"2", b"3"]


@on_fake_time
async def test_what_arrives_between_two_pipelined_requests_keeps_its_place() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    client.say(b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n12")
    answer(app.requests[0])
    client.say(b"34")  # in the same turn of the loop, before the backlog was read
    await settle()
    assert [request.body for request in app.requests] == [b"", b"1234"]


@on_fake_time
async def test_a_long_pipeline_does_not_grow_the_stack() -> None:
    app = Echo()
    client = Downstream(app)
    client.say(GET * 2000)
    while len(app.requests) < 2000:
        await settle()
        assert not client.is_closing()
    assert len(client.replies()) == 2000


@on_fake_time
async def test_a_client_that_sends_more_ahead_than_is_kept_is_cut_and_not_forgotten() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    client.say(POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 60_000)
    assert not client.is_aborted
    assert not client.is_paused, "an end that is not read is not noticed"
    client.say(b"x" * 40_000)
    assert client.is_aborted
    await settle()
    assert (app.gone, app.cuts) == (1, ["pipeline_too_large"])


@on_fake_time
async def test_it_does_not_matter_whether_too_much_came_with_the_request() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET + POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000)
    assert len(app.requests) == 1
    assert client.is_aborted
    assert app.cuts == ["pipeline_too_large"]


@on_fake_time
async def test_a_large_body_may_follow_a_request_that_was_served() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET + POST + b"Content-Length: 300000\r\n\r\n" + b"x" * 40_000)
    answer(app.requests[0])
    await settle()
    client.say(b"x" * 260_000)
    await settle()
    assert len(app.requests[1].body) == 300_000


@on_fake_time
async def test_between_two_full_reads_others_have_their_turn() -> None:
    client = Downstream(Scribe())
    client.say(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 256_000)
    assert client.is_paused
    await settle()
    assert not client.is_paused


@on_fake_time
async def test_a_client_that_expects_to_be_asked_is_asked_for_its_body() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n")
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.say(b"ok")
    assert app.requests[0].body == b"ok"


@on_fake_time
async def test_a_client_that_sends_too_much_is_not_asked_for_it() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 51\r\nExpect: 100-continue\r\n\r\n")
    assert [reply.status for reply in client.replies()] == [413]


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("cut", [0, 1, 40, 150, 170, 171, 172])
@on_fake_time
async def test_an_offer_of_http2_is_declined_and_the_request_served(cut: int) -> None:
    app = Echo()
    client = Downstream(app)
    text = (
        b"POST /a HTTP/1.1\r\n"
        + OFFER
        + b"Host: localhost\r\nX: 1\r\nContent-Length: 4\r\n\r\n1234"
    )
    client.say(text[:cut]) if cut else None
    client.say(text[cut:])
    client.say(GET)
    await settle()
    assert bodies(client) == [b"POST /a 1234", b"GET /a "]
    assert app.requests[0].header(b"x") == b"1"
    assert app.requests[0].header(b"host") == b"localhost"


@on_fake_time
async def test_an_offer_of_http2_with_an_expectation_is_asked_once() -> None:
    app = Echo()
    client = Downstream(app)
    client.say(
        b"POST /a HTTP/1.1\r\nHost: x\r\n" + OFFER + b"Expect: 100-continue\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.say(b"2\r\nhi\r\n0\r\n\r\n")
    await settle()
    assert bodies(client) == [b"POST /a hi"]


@on_fake_time
async def test_a_websocket_is_declined_and_the_request_served() -> None:
    client = Downstream(Echo())
    client.say(b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert bodies(client) == [b"GET /a "]


@on_fake_time
async def test_a_tunnel_is_rejected() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01")
    assert app.refused == [(400, "bad_request")]
    assert app.requests == []


@on_fake_time
async def test_many_pipelined_offers_do_not_grow_the_stack() -> None:
    app = Echo()
    client = Downstream(app)
    client.say(b"GET /x HTTP/1.1\r\nHost:a\r\nConnection:upgrade\r\nUpgrade:h\r\n\r\n" * 1100)
    while len(app.requests) < 1100:
        await settle()
        assert not client.is_closing()
    assert bodies(client) == [b"GET /x "] * 1100


@on_fake_time
async def test_a_declined_offer_leaves_the_rest_of_the_head_as_it_was() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(
        b"GET /x HTTP/1.0\r\nHost: a\r\nX-Hop: 1\r\n"
        b"Connection: Upgrade, X-Hop, close\r\nUpgrade: websocket\r\n\r\n"
    )
    (request,) = app.requests
    assert request.header(b"connection") == b"X-Hop, close"
    assert request.header(b"upgrade") is None
    assert (request.response.minor, request.response.keep_alive) == (0, False)


@on_fake_time
async def test_a_client_is_asked_for_a_body_after_the_responses_before_it() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET + POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert client.sent == b""
    answer(app.requests[0])
    await settle()
    assert client.sent.startswith(b"HTTP/1.1 200")
    assert client.sent.endswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.say(b"ok")
    assert app.requests[1].body == b"ok"


# Refusals


@pytest.mark.parametrize(
    "text",
    [
        *(b"garbage\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\nno colon\n\n"),
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n1",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\nX\x00: 1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # whose host? (RFC 9112, section 3.2)
        b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\nhost: y\r\n\r\n",
        *(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host for host in (b"[::1", b"a:x", b"a/b")),
        b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nOrigin: http://y\r\n\r\n",
        b"GET ftp://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
@on_fake_time
async def test_what_is_not_http_is_rejected_and_hung_up_on(text: bytes) -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(text)
    await settle()
    assert app.refused == [(400, "bad_request")]
    assert app.requests == []
    assert client.replies()[-1].header(b"Connection") == b"close"
    assert client.has_eof


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET / HTTP/0.9\r\nHost: x\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 505),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    ],
)
@on_fake_time
async def test_what_is_not_spoken_here_is_said_to_be_so(text: bytes, status: int) -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(text)
    assert app.refused == [(status, "bad_request")]
    assert app.requests == []


@on_fake_time
async def test_trailers_are_not_headers() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n")
    client.say(b"Mcp-Session-Id: x\r\nOrigin: http://evil.example\r\n\r\n" + GET)
    (request,) = app.requests
    assert request.body == b"hi"
    assert [name for name, _ in request.headers] == [b"Host", b"Transfer-Encoding"]


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        (b"http://a.example:80/x/mcp?y=1", b"/x/mcp?y=1", b"a.example:80"),
        (b"HTTPS://a.example", b"/", b"a.example"),
        (b"http://a.example?y", b"/?y", b"a.example"),
    ],
)
@on_fake_time
async def test_a_target_may_name_the_host_itself(target: bytes, path: bytes, host: bytes) -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(b"GET %b HTTP/1.1\r\nHost: other.example\r\n\r\n" % target)
    (request,) = app.requests
    assert (request.target, request.header(b"host")) == (path, host)


@on_fake_time
async def test_a_body_in_very_many_very_small_chunks_is_rejected() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    client.say(b"2\r\nab\r\n" * 5000)
    assert app.refused == [(400, "bad_request")]
    assert not client.connection._parser._body


@on_fake_time
async def test_a_body_that_is_not_whole_yet_costs_its_size() -> None:
    client = Downstream(Scribe())
    client.say(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"80\r\n" + b"x" * 128 + b"\r\n"
    tracemalloc.start()
    for _ in range(100):
        client.say(chunk * 100)
    cost, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(client.connection._parser._body) == 1_280_000
    assert cost < 1.5 * 1_280_000


@on_fake_time
async def test_a_client_that_leaves_takes_what_it_sent_along() -> None:
    client = Downstream(Scribe())
    client.say(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 900_000)
    parser = client.connection._parser
    assert len(parser._body) == 900_000
    client.lose(None)
    await settle()
    assert (len(parser._body), parser.arriving) == (0, None)


@on_fake_time
async def test_headers_are_counted() -> None:
    app = Scribe()
    Downstream(app).say(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 99 + b"\r\n")
    assert len(app.requests) == 1
    Downstream(app).say(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:\r\n" * 100 + b"\r\n")
    assert app.refused == [(431, "head_too_large")]


@pytest.mark.parametrize(
    "head", [b"Content-Length: 51\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n33\r\n"]
)
@on_fake_time
async def test_a_body_over_the_limit_is_rejected_while_it_still_comes(head: bytes) -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(b"POST /files/mcp HTTP/1.1\r\nHost: x\r\n" + head)
    client.say(b"x" * 51)
    assert app.refused == [(413, "body_too_large")]
    for _ in range(10):
        client.say(b"x" * 10_000)
    (reply,) = client.replies()
    assert (reply.status, reply.is_complete) == (413, True)
    assert client.has_eof
    assert not client.is_closing(), "closed with bytes unread, the rejection would be lost"


@on_fake_time
async def test_a_client_that_was_rejected_and_goes_on_is_cut_off_in_the_end() -> None:
    client = Downstream(Scribe(), SMALL)
    client.listener._sweep()
    client.say(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 51\r\n\r\n")
    await asyncio.sleep(1)
    assert not client.is_closing()
    await asyncio.sleep(3)
    assert client.is_aborted
    await client.listener.close(0)


@on_fake_time
async def test_a_body_of_just_the_limit_is_served() -> None:
    app = Scribe()
    Downstream(app, SMALL).say(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n" + b"x" * 50
    )
    assert len(app.requests) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 300 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 300,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: 1\r\n" * 200,
    ],
)
@pytest.mark.parametrize("step", [1, 50, 10_000])
@on_fake_time
async def test_a_head_over_the_limit_is_rejected(head: bytes, step: int) -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    for start in range(0, len(head), step):
        client.say(head[start : start + step])
    client.say(b"\r\n\r\n")
    assert app.refused == [(431, "head_too_large")]


@on_fake_time
async def test_an_earlier_request_is_answered_before_a_later_one_is_rejected() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(GET + b"garbage\r\n\r\n")
    assert app.refused == []
    answer(app.requests[0])
    await settle()
    assert [reply.status for reply in client.replies()] == [200, 400]


@on_fake_time
async def test_what_follows_the_last_request_of_a_connection_is_ignored() -> None:
    app = Echo()
    client = Downstream(app)
    client.say(
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + b"garbage\r\n\r\n" + GET
    )
    await settle()
    assert bodies(client) == [b"GET /a "]
    assert app.refused == []
    assert client.is_closing()


# Times


async def wait(client: Downstream, seconds: float) -> None:
    """Let time pass while the listener looks after its connections."""
    client.listener._sweep()
    await asyncio.sleep(seconds)
    sweeper = client.listener._sweeper
    assert sweeper is not None
    sweeper.cancel()


@pytest.mark.parametrize(
    "text", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12"]
)
@on_fake_time
async def test_a_request_that_does_not_arrive_in_time_is_rejected(text: bytes) -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(text)
    await wait(client, 4.5)
    assert app.refused == []
    await wait(client, 2)
    assert app.refused == [(408, "read_timeout")]
    await wait(client, 4)
    assert client.is_closing()


@on_fake_time
async def test_a_trickle_of_bytes_does_not_extend_the_time() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    for byte in b"GET / HTTP/1.1\r\nA":
        client.say(bytes([byte]))
        await wait(client, 1)
        if app.refused:
            break
    assert app.refused == [(408, "read_timeout")]


@on_fake_time
async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    await wait(client, 7)
    assert client.is_closing()
    assert client.sent == b""
    assert app.refused == []


@on_fake_time
async def test_an_idle_connection_is_kept_and_then_closed() -> None:
    client = Downstream(Echo(), SMALL)
    client.say(GET)
    await wait(client, 19)
    assert not client.is_closing()
    await wait(client, 3)
    assert client.is_closing()


@on_fake_time
async def test_a_request_that_is_served_has_no_deadline() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(GET)
    await wait(client, 10_000)
    assert not client.is_closing()
    answer(app.requests[0])
    assert bodies(client) == [b"ok"]


@on_fake_time
async def test_a_client_that_does_not_read_is_cut_off() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(GET)
    app.requests[0].response.start(200, [])
    client.connection.pause_writing()
    await wait(client, SMALL.write_timeout - 1)
    assert not client.is_closing()
    await wait(client, 3)
    assert client.is_aborted
    await settle()
    assert app.gone == 1


@on_fake_time
async def test_nothing_further_is_served_while_a_client_does_not_read() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(GET * 3)
    client.connection.pause_writing()
    answer(app.requests[0])
    await settle()
    assert len(app.requests) == 1
    await wait(client, SMALL.write_timeout - 1)
    assert not client.is_closing()
    client.connection.resume_writing()
    await settle()
    assert len(app.requests) == 2
    client.connection.pause_writing()
    answer(app.requests[1])
    await wait(client, SMALL.write_timeout + 2)
    assert client.is_aborted
    assert app.cuts == ["write_timeout"]


@on_fake_time
async def test_a_client_that_reads_slowly_has_no_deadline_once_it_caught_up() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(GET)
    app.requests[0].response.start(200, [])
    client.connection.pause_writing()
    client.connection.resume_writing()
    await wait(client, 1000)
    assert not client.is_closing()


@on_fake_time
async def test_a_connection_that_catches_up_after_its_reply_is_idle() -> None:
    app = Scribe()
    client = Downstream(app, SMALL)
    client.say(GET)
    client.connection.pause_writing()
    answer(app.requests[0])
    client.connection.resume_writing()
    await wait(client, SMALL.idle_timeout + 2)
    assert client.is_closing()


class Pump(Scribe):
    """A server that sends as long as it may: 32 KiB at a time."""

    PIECE = 32 * 1024

    def __init__(self) -> None:
        super().__init__()
        self.accepted = 0
        self.is_paused = False

    def handle(self, request: Request) -> None:
        super().handle(request)
        self.is_paused = False
        request.response.start(200, [])

    def client_paused(self, paused: bool) -> None:
        self.is_paused = paused

    def push(self, *, is_last: bool) -> None:
        open_ = [each.response for each in self.requests if not each.response.closed]
        for response in open_:
            if not self.is_paused:
                response.write(b"x" * self.PIECE)
                response.flush()
                self.accepted += self.PIECE
            if is_last:
                response.end()


class Reading(Downstream):
    """A client that reads when it likes; its transport is full above 64 KiB, as asyncio's is."""

    FULL = 64 * 1024
    unread = 0
    is_full = False

    def write(self, data: Any) -> None:
        super().write(data)
        self.unread += len(data)
        if self.unread > self.FULL and not self.is_full:
            self.is_full = True
            self.connection.pause_writing()

    def read(self, size: int) -> None:
        self.unread = max(0, self.unread - size)
        if self.is_full and self.unread < self.FULL // 4:
            self.is_full = False
            self.connection.resume_writing()


STEPS = st.one_of(
    st.just("ask"),
    st.just("push"),
    st.just("last"),
    st.integers(1, 200_000),
)


@given(st.lists(STEPS, max_size=60))
def test_what_servers_sent_and_a_client_has_not_read_is_bounded(steps: list[str | int]) -> None:
    @on_fake_time
    async def run() -> None:
        app = Pump()
        client = Reading(app)
        for step in steps:
            if client.is_closing():
                break
            if isinstance(step, int):
                client.read(step)
            elif step == "ask":
                client.say(GET * 20)
            else:
                app.push(is_last=step == "last")
            await settle()
            assert client.unread <= client.FULL + app.PIECE + 1000

    run()


# Replies


@on_fake_time
async def test_a_reply_without_a_length_is_chunked_and_flushed_piece_by_piece() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    (request,) = app.requests
    request.response.start(200, [(b"Content-Type", b"text/event-stream")], b"Fine")
    request.response.flush()
    assert client.take() == (
        b"HTTP/1.1 200 Fine\r\nContent-Type: text/event-stream\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    request.response.write(b"data: 1\n\n")
    request.response.write(b"")
    request.response.flush()
    assert client.take() == b"9\r\ndata: 1\n\n\r\n"
    request.response.end()
    assert client.take() == b"0\r\n\r\n"
    assert not client.is_closing()


@on_fake_time
async def test_a_reply_with_a_length_goes_out_as_it_is() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    app.requests[0].response.start(200, [(b"content-length", b"2")])
    app.requests[0].response.write(b"ok")
    app.requests[0].response.end()
    assert client.take() == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize("status", [204, 304])
@on_fake_time
async def test_a_reply_that_has_no_body_has_no_length(status: int) -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    app.requests[0].response.start(status, [])
    app.requests[0].response.end()
    assert b"chunked" not in client.sent
    assert b"Content-Length" not in client.sent
    assert not client.is_closing()


@on_fake_time
async def test_an_unknown_status_has_some_reason() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    app.requests[0].respond(599, b"", b"")
    assert client.sent.startswith(b"HTTP/1.1 599 Unknown\r\n")


@on_fake_time
async def test_the_reply_to_head_has_headers_alone() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET.replace(b"GET", b"HEAD") * 2)
    answer(app.requests[0], b"body")
    await settle()
    app.requests[1].response.start(200, [])
    app.requests[1].response.write(b"body")
    app.requests[1].response.end()
    first, second, rest = bytes(client.sent).split(b"\r\n\r\n")
    assert b"Content-Length: 4" in first
    assert second.startswith(b"HTTP/1.1 200")
    assert rest == b""


def head(minor: int, connection: bytes) -> bytes:
    field = b"Connection: " + connection + b"\r\n" if connection else b""
    return b"GET /a HTTP/1.%d\r\nHost: x\r\n%b\r\n" % (minor, field)


@pytest.mark.parametrize(
    ("minor", "connection", "kept", "told"),
    [
        (1, b"", True, None),
        (1, b"keep-alive", True, None),
        (1, b"close", False, b"close"),
        (0, b"", False, b"close"),
        (0, b"keep-alive", True, b"keep-alive"),
    ],
)
@on_fake_time
async def test_a_connection_is_kept_where_both_sides_agree(
    minor: int, connection: bytes, kept: bool, told: bytes | None
) -> None:
    client = Downstream(Echo())
    client.say(head(minor, connection))
    await settle()
    assert client.replies()[0].header(b"connection") == told
    assert client.is_closing() is not kept


@pytest.mark.parametrize("connection", [b"", b"keep-alive"])
@on_fake_time
async def test_a_stream_to_an_old_client_ends_with_the_connection(connection: bytes) -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(head(0, connection))
    app.requests[0].response.start(200, [])
    app.requests[0].response.write(b"all")
    app.requests[0].response.end()
    await settle()
    text = bytes(client.sent)
    assert b"chunked" not in text
    assert b"Connection: close" in text
    assert text.endswith(b"\r\n\r\nall")
    assert client.is_closing()


@on_fake_time
async def test_a_reply_that_cannot_be_completed_cuts_the_connection() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    app.requests[0].response.start(200, [])
    app.requests[0].response.write(b"half")
    app.requests[0].response.abort()
    await settle()
    assert client.is_aborted
    assert app.gone == 0


# Ends


@on_fake_time
async def test_a_client_that_leaves_is_told_of_once() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET + GET)
    client.lose(ConnectionResetError())
    await settle()
    assert app.gone == 1
    (request,) = app.requests
    request.response.start(200, [])
    request.response.write(b"late")
    request.response.end()
    request.response.abort()
    assert client.sent == b""


@pytest.mark.parametrize("is_answered", [False, True])
@on_fake_time
async def test_where_many_leave_at_once_each_is_told_of_in_its_turn(is_answered: bool) -> None:
    app = Scribe()
    client = Downstream(app)
    client.listener.turn = turn = FullTurn(client.listener.loop)
    client.say(GET)
    client.lose(None)
    await settle()
    assert app.gone == 0
    if is_answered:
        answer(app.requests[0])
    turn.go()
    assert app.gone == (0 if is_answered else 1)


@on_fake_time
async def test_a_client_that_ends_its_side_while_it_waits_is_gone() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    client.end()
    await settle()
    assert app.gone == 1


@on_fake_time
async def test_a_client_that_ends_its_side_after_its_reply_is_not_gone() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    answer(app.requests[0])
    client.end()
    await settle()
    assert app.gone == 0
    assert client.is_closing()


@on_fake_time
async def test_back_pressure_reaches_what_serves_the_request() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    client.connection.pause_writing()
    client.connection.resume_writing()
    answer(app.requests[0])
    client.connection.pause_writing()
    assert app.paces == [True, False]


@on_fake_time
async def test_close_ends_idle_connections_and_waits_for_the_others() -> None:
    app = Scribe()
    client = Downstream(app)
    idle = Downstream(app)
    idle.connection._listener = client.listener
    client.listener.connections.add(idle.connection)
    client.say(GET)
    closing = asyncio.create_task(client.listener.close(30))
    await settle()
    assert idle.is_closing()
    assert not client.is_closing()
    assert not closing.done()
    answer(app.requests[0])
    await closing
    assert client.replies()[0].header(b"connection") == b"close"
    assert client.is_closing()
    assert not client.is_aborted


@on_fake_time
async def test_close_lets_a_half_read_request_arrive() -> None:
    app = Echo()
    client = Downstream(app)
    client.say(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1")
    closing = asyncio.create_task(client.listener.close(30))
    await settle()
    client.say(b"2")
    await closing
    assert bodies(client) == [b"POST /a 12"]


@on_fake_time
async def test_close_cuts_what_does_not_end_in_time() -> None:
    app = Scribe()
    client = Downstream(app)
    client.say(GET)
    start = virtual_loop().time()
    await client.listener.close(10)
    await settle()
    assert virtual_loop().time() - start == 10
    assert client.is_aborted
    assert app.gone == 1


# Connections


@on_fake_time
async def test_a_connection_too_many_is_told_so_and_then_closed() -> None:
    app = Scribe()
    listener = HttpServer(app, asyncio.get_running_loop(), ListenerLimits(connections=1))
    listener._sweep()
    first, second = (Connection(listener) for _ in range(2))
    transports = FakeTransport(first), FakeTransport(second)
    first.connection_made(transports[0])
    second.connection_made(transports[1])
    assert app.refused == [(503, "too_many_connections")]
    (reply,) = parse_replies(bytes(transports[1].sent))
    assert (reply.status, reply.header(b"connection")) == (503, b"close")
    assert transports[1].has_eof
    second.data_received(GET)
    assert app.requests == []
    await asyncio.sleep(4)
    assert transports[1].is_aborted
    first.data_received(GET)
    assert len(app.requests) == 1
    await settle()
    third = Connection(listener)
    third.connection_made(FakeTransport(third))
    assert app.refused == [(503, "too_many_connections"), (503, "too_many_connections")]
    await listener.close(0)


@on_fake_time
async def test_a_flood_of_connections_is_cut_without_a_word() -> None:
    app = Scribe()
    listener = HttpServer(app, asyncio.get_running_loop(), ListenerLimits(connections=1))
    accepted = Mock(fileno=lambda: 10)
    for _ in range(150):
        if listener._has_place(accepted):
            connection = Connection(listener)
            connection.connection_made(FakeTransport(connection))
    assert len(app.refused) == 100
    assert len(listener.connections) == 101
    await listener.close(0)


@on_fake_time
async def test_a_client_cut_because_it_does_not_read_is_counted() -> None:
    app = Scribe()
    client = Downstream(app, ListenerLimits(write_timeout=5))
    client.listener._sweep()
    client.say(GET)
    client.connection.pause_writing()
    await asyncio.sleep(7)
    assert client.is_aborted
    assert app.cuts == ["write_timeout"]
    await client.listener.close(0)


@on_fake_time
async def test_an_idle_client_is_closed_but_not_counted() -> None:
    app = Echo()
    client = Downstream(app, SMALL)
    client.listener._sweep()
    client.say(GET)
    await asyncio.sleep(30)
    assert client.is_closing()
    assert app.cuts == []
    await client.listener.close(0)


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: ",
        b"GET /",
        b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
    ids=["header", "target", "trailer"],
)
@on_fake_time
async def test_one_part_of_a_head_without_an_end_is_rejected(begin: bytes) -> None:
    client = Downstream(Scribe(), SMALL)
    client.say(begin)
    for _ in range(10):
        client.say(30 * b"y")
    (reply,) = client.replies()
    assert reply.status == 431

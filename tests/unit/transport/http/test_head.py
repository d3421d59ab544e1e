"""Heads that were seen before: what is remembered, and that it changes nothing but the time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.transport.http.head import (
    LONGEST,
    HeadCache,
    Headers,
    ReplyHead,
    RequestHead,
    WrittenHeaders,
    field_lines,
    head_of,
    traceparent_of,
    with_traceparent,
    without_traceparent,
)
from exporter.transport.http.request import Request
from tests.support.fakes import Downstream, Scribe, on_fake_time, settle

START = b"POST /a HTTP/1.1\r\n"
HEAD = START + b"Host: x\r\nContent-Length: 3\r\n\r\n"
NAMES = [b"host", b"content-length"]


def test_a_plain_head_is_remembered_without_what_follows() -> None:
    assert head_of(HEAD + b"abc\r\n\r\n", START, NAMES) == HEAD


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (HEAD[:-2], NAMES),
        (b"\r\n\r\n" + HEAD, NAMES),
        (b"\r\n" + HEAD, NAMES),
        (HEAD.replace(b"Host: x\r\n", b"Host: x\n"), NAMES),
        (HEAD.replace(b"Host: x", b"A: " + b"x" * LONGEST), NAMES),
        *((HEAD, [*NAMES, name]) for name in (b"expect", b"transfer-encoding", b"upgrade")),
    ],
)
def test_what_the_parser_might_read_otherwise_is_not_remembered(
    data: bytes, names: list[bytes]
) -> None:
    assert head_of(data, START, names) is None


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = TRACE.replace("4bf9", "0000")


def traced(value: str = TRACE, name: bytes = b"traceparent: ", more: bytes = b"") -> bytes:
    field = name + value.encode() + b"\r\n"
    return START + b"Host: x\r\n" + field + more + b"Content-Length: 3\r\n\r\n"


@pytest.mark.parametrize("name", [b"traceparent: ", b"Traceparent: "])
def test_heads_that_differ_in_their_trace_context_are_one(name: bytes) -> None:
    one, other = without_traceparent(traced(name=name)), without_traceparent(traced(OTHER, name))
    assert one is not None
    assert other is not None
    assert (one[1], other[1]) == (TRACE, OTHER)
    assert one[0] == other[0]
    assert TRACE.encode() not in one[0]


def test_no_other_head_is_taken_for_one_whose_trace_context_was_cut_out() -> None:
    cut = without_traceparent(traced())
    assert cut is not None
    assert cut[0].index(b"\r\n\r\n") + 4 < len(cut[0])  # the first end is not at the end
    other = without_traceparent(traced(name=b"Traceparent: "))
    assert other is not None
    assert cut[0] != other[0]


@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        traced(""),
        traced(TRACE.upper()),
        traced("ff" + TRACE[2:]),
        traced(TRACE + "-more"),
        traced("\0" * 55),
        traced(name=b"TRACEPARENT: "),
        traced(name=b"traceparent:"),
        traced(name=b"x-traceparent: "),
        traced()[: len(START) + 40],
    ],
)
def test_what_is_written_otherwise_stays(head: bytes) -> None:
    assert without_traceparent(head) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [([TRACE], TRACE), ([], None), (["\xff" * 55], None), ([TRACE, TRACE], None)],
)
def test_a_trace_context_is_read_of_exactly_one_header(
    values: list[str], expected: str | None
) -> None:
    fields = [(b"TraceParent", value.encode("latin-1")) for value in values]
    assert traceparent_of([(b"Host", b"x"), *fields]) == expected


def test_a_kept_head_gets_the_trace_context_of_its_request() -> None:
    headers: Headers = [(b"A", TRACE.encode()), (b"Traceparent", TRACE.encode())]
    names = {b"a": TRACE.encode(), b"traceparent": TRACE.encode(), b"content-length": b"3"}
    kept = RequestHead(b"", b"POST", b"/", headers, names)
    text = b"\r\n".join(b"%b: %b" % field for field in kept.headers)
    assert with_traceparent(text, OTHER) == f"A: {TRACE}\r\nTraceparent: {OTHER}".encode()
    assert with_traceparent(b"nothing there", OTHER) == b"nothing there"


@pytest.mark.parametrize("name", [b"traceparent: ", b"Traceparent: "])
def test_a_kept_head_knows_itself_whatever_its_trace_context(name: bytes) -> None:
    text, _ = without_traceparent(traced(name=name)) or (b"", "")
    names = {b"content-length": b"3", b"traceparent": TRACE.encode()}
    head = RequestHead(text, b"POST", b"/a", [], names)
    other = traced(OTHER, name)
    assert head.begins(other + b"abc")
    assert head.size == len(other)
    assert head.traceparent_of(other + b"abc") == OTHER
    assert head.traceparent_of(traced(TRACE.upper(), name)) is None
    assert not head.begins(traced(name=name, more=b"A: 1\r\n"))
    assert not head.begins(traced(TRACE[:-1], name))
    assert not head.begins(HEAD)


def test_a_kept_head_without_a_trace_context_is_all_its_bytes() -> None:
    head = RequestHead(HEAD, b"POST", b"/a", [], {b"content-length": b"3"})
    assert (head.begins(HEAD + b"abc"), head.size, head.is_traced) == (True, len(HEAD), False)
    assert not head.begins(HEAD[:-2])
    assert not head.begins(HEAD.replace(b"Host: x", b"Host: y"))


def test_headers_that_are_written_once_are_written_alike() -> None:
    fields: Headers = [(b"Mcp-Session-Id", b"s1"), (b"X", b"y")]
    assert field_lines(WrittenHeaders(fields)) == field_lines(fields)


def test_a_memory_is_bounded_and_begins_anew() -> None:
    memory: HeadCache[int] = HeadCache(3)
    for number in range(5):
        memory.keep(b"%d" % number, number)
    assert [memory.get(b"%d" % number) for number in range(5)] == [None, None, None, 3, 4]


def test_the_head_of_a_reply_is_read_once() -> None:
    fields: Headers = [
        (b"Content-Type", b"Text/Event-Stream; charset=utf-8"),
        (b"Connection", b"keep-alive, X-Private"),
        (b"X-Private", b"1"),
        (b"Content-Encoding", b" GZIP "),
        (b"Mcp-Session-Id", b"s1"),
        (b"WWW-Authenticate", b"Bearer"),
        (b"Transfer-Encoding", b"chunked"),
    ]
    head = ReplyHead(200, b"Fine", fields)
    assert (head.kind, head.encoding, head.session_id) == (b"text/event-stream", b"gzip", b"s1")
    assert (head.is_framed, head.is_sized, head.length, head.is_challenge) == (
        True,
        False,
        -1,
        True,
    )
    assert [name for name, _ in head.fields] == [
        b"Content-Type",
        b"Content-Encoding",
        b"Mcp-Session-Id",
        b"WWW-Authenticate",
    ]
    assert head.lines.startswith(b"HTTP/1.1 200 Fine\r\nContent-Type: Text/Event-Stream;")


@pytest.mark.parametrize(
    ("status", "fields", "framed", "sized", "length"),
    [
        (200, [], False, False, -1),
        (204, [], True, True, -1),
        (200, [(b"content-length", b"12")], True, True, 12),
    ],
)
def test_where_a_reply_ends_is_in_its_head(
    status: int, fields: Headers, framed: bool, sized: bool, length: int
) -> None:
    head = ReplyHead(status, b"", fields)
    assert (head.is_framed, head.is_sized, head.length) == (framed, sized, length)


def test_a_reply_keeps_its_length_whatever_its_connection_header_names() -> None:
    named = b"keep-alive, Content-Length, X-Hop"
    fields = [(b"Connection", named), (b"Content-Length", b"2"), (b"X-Hop", b"1")]
    assert ReplyHead(200, b"", fields).fields == [(b"Content-Length", b"2")]


# In the listener


class Parrot(Scribe):
    """Answers with everything that the request said."""

    def handle(self, request: Request) -> None:
        super().handle(request)
        said = [request.method, request.target, b"%d" % request.response.keep_alive, request.body]
        said += [name + b"=" + value for name, value in request.headers]
        said.append((request.traceparent or "").encode())
        if request.traceparent is not None:
            said = [with_traceparent(each, request.traceparent) for each in said]
        request.respond(200, b"|".join(said), b"text/plain")


REQUESTS = [
    *(traced(value, more=more) + b"abc" for value in (TRACE, OTHER) for more in (b"", b"A: 1\r\n")),
    traced(name=b"Traceparent: ") + b"abc",
    traced(more=f"Traceparent: {TRACE}\r\n".encode()) + b"abc",
    traced(TRACE.upper()) + b"abc",
    HEAD + b"abc",
    HEAD + b"xyz",
    START + b"Host: x\r\nContent-Length: 0\r\n\r\n",
    START + b"Host: x\r\nX: 1\r\nx: 2\r\nContent-Length: 1\r\n\r\n\r",
    START + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    START + b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab",
    b"\r\n" + HEAD + b"abc",
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n",
]


@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8),
    st.lists(st.integers(1, 900), max_size=6),
    st.booleans(),
)
def test_requests_are_served_as_if_nothing_were_remembered(
    requests: list[bytes], cuts: list[int], whole: bool
) -> None:
    stream = b"".join(requests)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = requests if whole else [stream[start:end] for start, end in pairwise(places)]

    @on_fake_time
    async def run() -> None:
        remembering, forgetful = Downstream(Parrot()), Downstream(Parrot())
        forgetful.connection._serve_known = lambda data: False  # type: ignore[method-assign] # noqa: ARG005
        for piece in pieces:
            remembering.say(piece)
            forgetful.say(piece)
        assert remembering.sent == forgetful.sent

    run()


@on_fake_time
async def test_a_head_that_is_known_goes_past_the_parser() -> None:
    app = Parrot()
    client = Downstream(app)
    for body in (b"abc", b"def", b"ghi"):
        client.say(HEAD + body)
    heads = [request.head for request in app.requests]
    assert isinstance(heads[0], RequestHead)
    assert heads == [heads[0]] * 3
    assert [request.body for request in app.requests] == [b"abc", b"def", b"ghi"]
    assert [reply.status for reply in client.replies()] == [200] * 3


@on_fake_time
async def test_heads_with_other_trace_contexts_are_one_head() -> None:
    app = Parrot()
    client = Downstream(app)
    for number in range(3):
        client.say(traced(TRACE[:-1] + str(number)) + b"abc")
    heads = [request.head for request in app.requests]
    assert isinstance(heads[0], RequestHead)
    assert heads == [heads[0]] * 3
    assert [(request.traceparent or "")[-1] for request in app.requests] == ["0", "1", "2"]


@on_fake_time
async def test_a_head_with_no_valid_trace_context_is_not_remembered() -> None:
    app = Parrot()
    client = Downstream(app)
    for _ in range(2):
        client.say(traced(TRACE.upper()) + b"abc")
    assert [request.head for request in app.requests] == [None, None]


@on_fake_time
async def test_a_known_head_does_not_overtake_what_was_pipelined() -> None:
    client = Downstream(Parrot())
    client.say(HEAD + b"one")
    client.say(HEAD + b"two" + START + b"Host: y\r\nContent-Length: 5\r\n\r\nthree")
    client.say(HEAD + b"six")
    await settle()
    bodies = [reply.body.split(b"|")[3] for reply in client.replies()]
    assert bodies == [b"one", b"two", b"three", b"six"]

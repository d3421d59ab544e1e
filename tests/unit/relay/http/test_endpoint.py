"""Only the address of an endpoint event is another one, wherever the event stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.relay.http.endpoint import LONGEST, EndpointRewriter
from tests.support.work import calls

ENDPOINT = b"event: endpoint\ndata: /messages?id=1\n\n"
OWN = b"event: endpoint\ndata: http://own/message\n\n"

BEFORE = {
    "nothing": b"",
    "comment": b": connected\n\n",
    "padding": b":" + b" " * 2048 + b"\n\n",
    "retry": b"retry: 3000\n\n",
    "blank lines": b"\n\n\n",
    "another event": b"event: ping\ndata: 1\n\n",
    "an event that speaks of it": b'data: {"x": "event: endpoint"}\n\n',
    "another endpoint": b"event: endpoint\ndata: /elsewhere\n\n",
    "an event of many lines": b"data: 1\n" * 1000 + b"\n",
}
STREAMS = st.lists(
    st.sampled_from([*BEFORE.values(), ENDPOINT, b"event: endpoint\n", b"data: x\n", b"x" * 50]),
    max_size=8,
).map(b"".join)


def own(address: bytes) -> bytes | None:
    return None if address == b"/elsewhere" else b"http://own/message"


def rewritten(stream: bytes, step: int = 1_000_000) -> bytes:
    rewriter = EndpointRewriter(own)
    pieces = [stream[start : start + step] for start in range(0, len(stream), step)]
    return b"".join(map(rewriter.feed, pieces)) + rewriter.rest()


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
@pytest.mark.parametrize("step", [1, 7, 1_000_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_endpoint_event_is_rewritten_wherever_it_stands(
    before: bytes, step: int, end: bytes
) -> None:
    stream, expected = before + ENDPOINT + before + ENDPOINT, before + OWN + before + OWN
    found = rewritten(stream.replace(b"\n", end), step)
    assert found == expected.replace(b"\n", end)


@given(STREAMS, st.integers(1, 100))
def test_pieces_make_no_difference(stream: bytes, step: int) -> None:
    assert rewritten(stream, step) == rewritten(stream)


@pytest.mark.parametrize("line", [b": ping\n", b"retry: 5\n", b"\n", b": a\r\n"])
def test_what_belongs_to_no_event_is_not_held_back(line: bytes) -> None:
    assert EndpointRewriter(own).feed(line) == line


def test_a_whole_event_is_not_held_back_and_half_of_one_is() -> None:
    rewriter = EndpointRewriter(own)
    assert rewriter.feed(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert rewriter.feed(b"\n") == b"data: 2\n\n"


def test_a_long_event_passes_unread_to_its_end() -> None:
    rewriter = EndpointRewriter(own)
    long = b"event: endpoint\ndata: " + b"x" * LONGEST
    assert rewriter.feed(long) == long
    tail = b"\nevent: endpoint\ndata: 1\n\n"
    assert rewriter.feed(tail + ENDPOINT) == tail + OWN


def test_bytes_that_come_one_by_one_are_looked_at_once() -> None:
    def work(size: int) -> int:
        rewriter = EndpointRewriter(own)
        return calls(lambda: [rewriter.feed(b"x") for _ in range(size)])

    assert work(8000) <= 4 * work(2000) + 10


@pytest.mark.parametrize("unit", [ENDPOINT, b"event: endpoint\n", b"\n", b"\r", b":\n", b"a\n\n"])
def test_what_comes_at_once_is_bounded_work(unit: bytes) -> None:
    def work(count: int) -> int:
        rewriter = EndpointRewriter(own)
        return calls(lambda: rewriter.feed(unit * count))

    assert work(20_000) <= work(1000) + 10


@pytest.mark.parametrize("step", [1, 2, 1_000_000])
@pytest.mark.parametrize("begin", [b"\xef\xbb\xbf", b"\xef\xbb\xbf: hello\n\n", b"\xef\xbb"])
def test_the_mark_of_the_encoding_belongs_to_no_event(begin: bytes, step: int) -> None:
    is_whole = begin.startswith(b"\xef\xbb\xbf")
    assert rewritten(begin + ENDPOINT, step) == begin + (OWN if is_whole else ENDPOINT)
    assert rewritten(begin, step) == begin

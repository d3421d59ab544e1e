"""Events come out whole and the same, however the bytes are cut on their way."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.protocol.sse import Event, EventReader
from tests.support.work import calls

LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
LINES = st.sampled_from(
    [
        *(b"data: one", b"data:two", b"data:  three", b"data", b"data:", b"data: a:b"),
        *(b"event: ping", b"event", b"id: 7", b"id", b"retry: 500", b": comment", b":"),
        *(b"", b"", b"", b"unknown: x", b"datax: no", b" data: no", b"data: \xc3\xa9\xf0"),
    ]
)
STREAMS = st.lists(st.tuples(LINES, LINE_ENDS), max_size=25).map(
    lambda lines: b"".join(line + end for line, end in lines)
)
CUTS = st.lists(st.integers(0, 300), max_size=25)


def read_in_chunks(stream: bytes, cuts: list[int], limit: int = 1000) -> tuple[list[Event], int]:
    reader = EventReader(limit)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    events = []
    for start, end in pairwise(places):
        events += reader.feed(stream[start:end])
    return events, reader.oversized


def read_at_once(stream: bytes) -> list[Event]:
    """The grammar of the standard, written down without regard for chunks."""
    events: list[Event] = []
    data: list[bytes] = []
    name, has_id = b"", False
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf"))
    for line in lines[:-1]:
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
        has_id = has_id or field == b"id"
        if not line:
            if data or has_id:
                events.append(Event(b"\n".join(data), name or b"message", has_id))
            data, name, has_id = [], b"", False
    return events


@given(st.sampled_from([b"", b"\xef\xbb\xbf"]), STREAMS, CUTS)
@example(b"", b"data: one\r\n\n", [10, 11])
def test_chunks_make_no_difference(mark: bytes, stream: bytes, cuts: list[int]) -> None:
    events, oversized = read_in_chunks(mark + stream, cuts)
    assert events == read_at_once(mark + stream)
    assert oversized == 0


@given(STREAMS, CUTS, st.integers(0, 30))
def test_chunks_make_no_difference_to_what_is_too_large(
    stream: bytes, cuts: list[int], limit: int
) -> None:
    assert read_in_chunks(stream, cuts, limit) == read_in_chunks(stream, [], limit)


@given(st.binary(), CUTS)
def test_no_bytes_make_the_reader_raise(stream: bytes, cuts: list[int]) -> None:
    assert read_in_chunks(stream, cuts)[0] == read_at_once(stream)


def test_data_lines_are_joined_and_other_fields_are_not_data() -> None:
    stream = b"event: note\nid: 1\nretry: 5\ndata: a\n: comment\ndata: b\ndata\n\n"
    assert EventReader(100).feed(stream) == [Event(b"a\nb\n", b"note", True)]


def test_an_event_without_name_is_a_message_and_names_do_not_last() -> None:
    events = EventReader(100).feed(b"event: note\ndata: 1\n\ndata: 2\n\n")
    assert [event.name for event in events] == [b"note", b"message"]


def test_an_id_alone_is_told() -> None:
    assert EventReader(100).feed(b"id: 5\ndata: \n\n") == [Event(b"", has_id=True)]
    assert EventReader(100).feed(b"id: 5\n\n") == [Event(b"", has_id=True)]


def test_comments_and_blank_lines_are_no_events() -> None:
    assert EventReader(100).feed(b": ping\n\n\n\nevent: odd\n\nretry: 3\n\n") == []


def test_an_event_that_is_not_completed_is_none() -> None:
    reader = EventReader(100)
    assert reader.feed(b"data: half\n") == []
    assert reader.feed(b"") == []
    assert reader.feed(b"\n") == [Event(b"half")]


@pytest.mark.parametrize("step", [1, 2, 7, 64, 10_000])
def test_an_oversized_event_is_skipped_whole_and_counted(step: int) -> None:
    large = b"data: " + b"x" * 50 + b"\n"
    stream = b"data: 1\n\n" + large * 3 + b"\ndata: 2\n\n" + b"data: y\n" * 30 + b"\ndata: 3\n\n"
    reader = EventReader(60)
    events = []
    for start in range(0, len(stream), step):
        events += reader.feed(stream[start : start + step])
    assert events == [Event(b"1"), Event(b"2"), Event(b"3")]
    assert reader.oversized == 2


def test_what_is_kept_of_an_oversized_event_is_bounded() -> None:
    reader = EventReader(1000)
    reader.feed(b"data: ")
    for _ in range(100):
        reader.feed(b"x" * 10_000)
    assert len(reader._rest) <= 1000
    assert reader.feed(b"\n\ndata: next\n\n") == [Event(b"next")]
    assert reader.oversized == 1


def test_lines_without_data_are_bounded_too() -> None:
    reader = EventReader(1000)
    reader.feed(b"data\n" * 5000)
    assert len(reader._rest) <= 1000
    assert reader.feed(b"\ndata: next\n\n") == [Event(b"next")]


def test_an_oversized_comment_does_no_harm_to_the_next_event() -> None:
    reader = EventReader(20)
    assert reader.feed(b": " + b"-" * 50 + b"\n\ndata: x\n\n") == [Event(b"x")]


def test_the_event_after_an_oversized_one_may_come_in_the_same_chunk() -> None:
    reader = EventReader(20)
    assert reader.feed(b"data: " + b"x" * 50 + b"\n\ndata: o") == []
    assert reader.feed(b"k\n\n") == [Event(b"ok")]


@pytest.mark.parametrize(
    "unit",
    [b"\n", b"\r\n", b"\r", b":\n", b"data:1\n", b"x", b"x\r", b"data: x", b"a\n\n", b"id\n\n"],
)
def test_what_comes_at_once_is_bounded_work(unit: bytes) -> None:
    def work(size: int) -> int:
        reader, chunk = EventReader(1 << 30), unit * (size // len(unit))
        return calls(lambda: reader.feed(chunk, 100))

    assert work(400_000) <= work(100_000) + 10


@pytest.mark.parametrize("line", [b"data:1\n", b"id\r", b"x\n", b"data: {}\r\n", b":\n"])
def test_an_event_of_too_many_lines_is_skipped_whole_and_counted(line: bytes) -> None:
    def read() -> None:
        events = reader.feed(line * 100_000 + b"\n\ndata: next\n\n")
        assert events == [Event(b"next")]

    reader = EventReader(1 << 30)
    assert calls(read) < 100
    assert reader.oversized == 1


def test_an_event_of_many_lines_is_read() -> None:
    text = [b"%d" % number for number in range(9_000)]
    for end in (b"\n", b"\r\n"):
        stream = b"".join(b"data: " + line + end for line in text) + end
        assert EventReader(1 << 30).feed(stream) == [Event(b"\n".join(text))]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_events_beyond_the_limit_are_skipped_together(end: bytes) -> None:
    reader = EventReader(1000)
    events = reader.feed((b"event: x" + end[: len(end) // 2] + b"data: 1" + end) * 10 + b"data", 4)
    assert len(events) == 4
    assert (reader.oversized, reader.pieces) == (1, 4)
    assert reader.feed(b": 2" + end) == [Event(b"2")]


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_plain_events_beyond_the_limit_are_skipped_together(limit: int) -> None:
    reader = EventReader(1000)
    assert reader.feed(b"data: 1\n\n" * 5, limit) == [Event(b"1")] * limit
    assert (reader.oversized, reader.pieces) == (1, limit)
    assert reader.feed(b"data: 2\n\n") == [Event(b"2")]

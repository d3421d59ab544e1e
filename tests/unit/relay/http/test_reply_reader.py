"""A reader of a reply is read within bounds, plain or compressed."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.relay.http.reply_reader import (
    BURST,
    MOST_INFLATED,
    RATE,
    CompressedReader,
    EventBudget,
    EventStreamReader,
    JsonReader,
    ReplyReader,
    reader_of,
)
from exporter.transport.http.inflate import RATIO, SLACK


class Consumer:
    """Keeps what it is given."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.messages: list[bytes] = []
        self.ids = 0
        self.reasons: list[str] = []

    def message(self, data: bytes, now: float) -> None:
        assert now == 7.0
        self.messages.append(data)

    def event_id(self) -> None:
        self.ids += 1

    def unread(self, reason: str) -> None:
        self.reasons.append(reason)


def json(consumer: Consumer) -> ReplyReader:
    return reader_of(consumer, EventBudget(), b"", is_stream=False)


def events(consumer: Consumer) -> EventStreamReader:
    return EventStreamReader(consumer, EventBudget())


def packed_json(consumer: Consumer, coding: bytes = b"gzip") -> ReplyReader:
    return reader_of(consumer, EventBudget(), coding, is_stream=False)


def feed(reader: ReplyReader, data: bytes, step: int = 100_000) -> None:
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step], 7.0)
    reader.finish(7.0)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_body_is_one_message(step: int) -> None:
    consumer = Consumer()
    feed(json(consumer), b'{"id":1}', step)
    assert consumer.messages == [b'{"id":1}']


def test_an_empty_body_is_none() -> None:
    consumer = Consumer()
    feed(json(consumer), b"")
    assert consumer.messages == []
    assert consumer.reasons == []


@pytest.mark.parametrize(("size", "too_much"), [(1000, 0), (1001, 1)])
def test_a_body_over_the_limit_is_counted_once_and_not_kept(size: int, too_much: int) -> None:
    consumer = Consumer()
    reader = JsonReader(consumer)
    feed(reader, b"x" * size, 10)
    assert consumer.reasons == ["too_large"] * too_much
    assert len(consumer.messages) == 1 - too_much
    assert len(reader._data) <= 1000


def test_events_are_messages_as_they_come() -> None:
    consumer = Consumer()
    reader = events(consumer)
    reader.feed(b"id: 1\ndata: \n\n: ping\n\ndata: one\n\nda", 7.0)
    assert (consumer.messages, consumer.ids) == ([b"one"], 1)
    reader.feed(b"ta: two\n\nevent: endpoint\ndata: /x\n\ndata: half\n", 7.0)
    reader.finish(7.0)
    assert consumer.messages == [b"one", b"two"]


def test_every_oversized_event_is_counted() -> None:
    consumer = Consumer(limit=20)
    feed(events(consumer), (b"data: " + b"x" * 50 + b"\n\ndata: ok\n\n") * 2, 7)
    assert consumer.reasons == ["too_large"] * 2
    assert consumer.messages == [b"ok", b"ok"]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        (b"gzip", gzip.compress),
        (b"x-gzip", gzip.compress),
        (b"deflate", zlib.compress),
        (b"deflate", raw_deflate),
        (b"gzip", lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:])),
        (b"identity", bytes),
    ],
    ids=["gzip", "x-gzip", "deflate", "raw deflate", "two members", "identity"],
)
@given(data=st.binary(max_size=3000), step=st.integers(1, 500))
def test_a_compressed_body_is_read_like_a_plain_one(
    coding: bytes, pack: Callable[[bytes], bytes], data: bytes, step: int
) -> None:
    consumer = Consumer(limit=3000)
    feed(packed_json(consumer, coding), pack(data), step)
    assert consumer.messages == ([data] if data else [])
    assert consumer.reasons == []


def test_a_coding_that_cannot_be_read_is_counted_once_where_there_is_a_body() -> None:
    for body, reasons in ((b"", []), (b"packed", ["encoded"])):
        consumer = Consumer()
        feed(packed_json(consumer, b"br"), body, 2)
        assert (consumer.messages, consumer.reasons) == ([], reasons)


def test_compressed_events_are_read_as_they_come() -> None:
    consumer = Consumer()
    reader = CompressedReader(b"gzip", events(consumer), consumer)
    packer = zlib.compressobj(wbits=31)
    for number in range(3):
        text = packer.compress(b"data: %d\n\n" % number) + packer.flush(zlib.Z_SYNC_FLUSH)
        reader.feed(text, 7.0)
        assert len(consumer.messages) == number + 1


@pytest.mark.parametrize("extra", [0, 1, 57, 100, 257, 258, 1000])
def test_nothing_of_a_large_compressed_body_is_lost(extra: int) -> None:
    size = SLACK - 1000 + extra
    consumer = Consumer(limit=size)
    feed(packed_json(consumer), gzip.compress(b"x" * size))
    assert [len(message) for message in consumer.messages] == [size]


@pytest.mark.parametrize("step", [1000, 100_000])
def test_a_bomb_is_too_much_and_is_not_inflated_to_its_end(step: int) -> None:
    consumer = Consumer(limit=10_000_000)
    reader = JsonReader(consumer)
    feed(CompressedReader(b"gzip", reader, consumer), gzip.compress(bytes(50_000_000)), step)
    assert consumer.reasons == ["too_large"]
    assert len(reader._data) <= 100 * 50_000 + SLACK


def test_a_body_over_the_limit_is_inflated_no_further() -> None:
    consumer = Consumer(limit=1000)
    reader = JsonReader(consumer)
    feed(CompressedReader(b"gzip", reader, consumer), gzip.compress(bytes(50_000_000)))
    assert consumer.reasons == ["too_large"]
    assert reader._data == b""


@pytest.mark.parametrize(("step", "reasons"), [(1 << 30, ["too_large"]), (20_000, [])])
def test_what_comes_at_once_is_inflated_up_to_a_bound(step: int, reasons: list[str]) -> None:
    digits = random.Random(1)
    event = b"data: %b" + b"x" * 20_000 + b"\n\n"
    text = b"".join(event % digits.randbytes(200).hex().encode() for _ in range(1000))
    packed = gzip.compress(text)
    assert 30 * len(packed) < len(text) < RATIO * len(packed)
    consumer = Consumer(limit=100_000)
    feed(CompressedReader(b"gzip", events(consumer), consumer), packed, step)
    assert consumer.reasons == reasons
    size = sum(map(len, consumer.messages))
    assert size < MOST_INFLATED + 2**20 if reasons else len(consumer.messages) == 1000


def test_of_more_events_than_may_be_read_the_rest_is_counted() -> None:
    consumer = Consumer(limit=10_000_000)
    reader = events(consumer)
    reader.feed(b"data: 1\n\n" * (BURST + 500), 7.0)
    assert len(consumer.messages) == BURST
    assert consumer.reasons == ["too_large"]
    reader.feed(b"data: 2\n\n", 7.0)
    assert len(consumer.messages) == BURST, "none is left at this time"


def test_the_budget_for_events_fills_with_time() -> None:
    budget = EventBudget()
    assert budget.left(100.0) == BURST
    budget.spend(BURST)
    assert budget.left(100.0) == 0
    assert budget.left(100.001) == pytest.approx(RATE / 1000, abs=1)
    assert budget.left(200.0) == BURST


def test_what_follows_the_end_of_a_compressed_body_is_ignored() -> None:
    consumer = Consumer()
    feed(packed_json(consumer), gzip.compress(b"one") + b"garbage")
    assert consumer.messages == [b"one"]


@pytest.mark.parametrize(
    "packed", [b"this is not gzip", gzip.compress(b"data" * 99, mtime=0)[:30] + b"junk"]
)
def test_what_cannot_be_inflated_is_no_message(packed: bytes) -> None:
    consumer = Consumer()
    reader = CompressedReader(b"gzip", events(consumer), consumer)
    feed(reader, packed)
    reader.feed(packed, 7.0)
    assert consumer.messages == []

"""A copy of a reply is read within bounds, plain or compressed."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.relay.http.reply_reader import BodyCopy, Copy, EventCopy, InflatedCopy


class Listener:
    """Keeps what it hears."""

    def __init__(self, limit: int = 1000) -> None:
        self.limit = limit
        self.messages: list[bytes] = []
        self.ids = 0
        self.too_much = 0

    def heard(self, data: bytes, now: float) -> None:
        assert now == 7.0
        self.messages.append(data)

    def heard_id(self) -> None:
        self.ids += 1

    def heard_too_much(self) -> None:
        self.too_much += 1


def feed(copy: Copy, data: bytes, step: int = 100_000) -> None:
    for start in range(0, len(data), step):
        copy.feed(data[start : start + step], 7.0)
    copy.finish(7.0)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_a_body_is_one_message(step: int) -> None:
    listener = Listener()
    feed(BodyCopy(listener), b'{"id":1}', step)
    assert listener.messages == [b'{"id":1}']


def test_an_empty_body_is_none() -> None:
    listener = Listener()
    feed(BodyCopy(listener), b"")
    assert listener.messages == []
    assert listener.too_much == 0


@pytest.mark.parametrize(("size", "too_much"), [(1000, 0), (1001, 1)])
def test_a_body_over_the_limit_is_counted_once_and_not_kept(size: int, too_much: int) -> None:
    listener = Listener()
    copy = BodyCopy(listener)
    feed(copy, b"x" * size, 10)
    assert listener.too_much == too_much
    assert len(listener.messages) == 1 - too_much
    assert sum(map(len, copy._parts)) <= 1000


def test_events_are_messages_as_they_come() -> None:
    listener = Listener()
    copy = EventCopy(listener)
    copy.feed(b"id: 1\ndata: \n\n: ping\n\ndata: one\n\nda", 7.0)
    assert (listener.messages, listener.ids) == ([b"one"], 1)
    copy.feed(b"ta: two\n\nevent: endpoint\ndata: /x\n\ndata: half\n", 7.0)
    copy.finish(7.0)
    assert listener.messages == [b"one", b"two"]


def test_every_oversized_event_is_counted() -> None:
    listener = Listener(limit=20)
    feed(EventCopy(listener), (b"data: " + b"x" * 50 + b"\n\ndata: ok\n\n") * 2, 7)
    assert listener.too_much == 2
    assert listener.messages == [b"ok", b"ok"]


@given(st.binary(max_size=3000), st.integers(1, 500), st.booleans())
def test_a_compressed_body_is_read_like_a_plain_one(data: bytes, step: int, zipped: bool) -> None:
    packed = gzip.compress(data) if zipped else zlib.compress(data)
    listener = Listener(limit=3000)
    feed(InflatedCopy(BodyCopy(listener)), packed, step)
    assert listener.messages == ([data] if data else [])


def test_compressed_events_are_read_as_they_come() -> None:
    listener = Listener()
    copy = InflatedCopy(EventCopy(listener))
    packer = zlib.compressobj(wbits=31)
    for number in range(3):
        text = packer.compress(b"data: %d\n\n" % number) + packer.flush(zlib.Z_SYNC_FLUSH)
        copy.feed(text, 7.0)
        assert len(listener.messages) == number + 1


@pytest.mark.parametrize("extra", [0, 1, 57, 100, 257, 258, 1000])
def test_nothing_of_a_large_compressed_body_is_lost(extra: int) -> None:
    size = InflatedCopy._PIECE * 2 + extra
    listener = Listener(limit=size)
    feed(InflatedCopy(BodyCopy(listener)), gzip.compress(b"x" * size))
    assert [len(message) for message in listener.messages] == [size]


def test_a_bomb_is_too_much_and_takes_no_memory() -> None:
    listener = Listener(limit=1000)
    copy = BodyCopy(listener)
    feed(InflatedCopy(copy), gzip.compress(b"\0" * 50_000_000))
    assert listener.too_much == 1
    assert copy._parts == []


def test_what_follows_the_end_of_a_compressed_body_is_ignored() -> None:
    listener = Listener()
    feed(InflatedCopy(BodyCopy(listener)), gzip.compress(b"one") + b"garbage")
    assert listener.messages == [b"one"]


@pytest.mark.parametrize(
    "packed", [b"this is not gzip", gzip.compress(b"data" * 99)[:30] + b"junk"]
)
def test_what_cannot_be_inflated_is_no_message(packed: bytes) -> None:
    listener = Listener()
    copy = InflatedCopy(EventCopy(listener))
    feed(copy, packed)
    copy.feed(packed, 7.0)
    assert listener.messages == []


def test_a_bomb_is_inflated_no_further_than_it_can_be_read() -> None:
    listener = Listener()
    inner = BodyCopy(listener)
    feed(InflatedCopy(inner), gzip.compress(bytes(10 * InflatedCopy._PIECE)))
    assert listener.too_much == 1
    assert inner._size <= InflatedCopy._PIECE

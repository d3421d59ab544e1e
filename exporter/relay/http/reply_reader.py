"""Readers of a copy of an HTTP reply: one JSON text, or events as they come, maybe compressed.

What is kept is bounded, and so is the work; what is beyond still goes to the client, and is
counted.
"""

from __future__ import annotations

from typing import Protocol

from exporter.protocol import sse
from exporter.transport.http.inflate import CODINGS, InflateError, Inflater

BURST = 2000
"""Events of one server that are read at once; each costs microseconds of the loop's time."""

RATE = 50_000.0
"""Events of one server that are read each second."""

MOST_INFLATED = 8 * 1024 * 1024
"""Bytes that what comes at once may become."""


class MessageConsumer(Protocol):
    """Takes what a reply says."""

    @property
    def limit(self) -> int:
        """How many bytes of a message are kept for reading."""

    def message(self, data: bytes, now: float) -> None:
        """Take one message, or one batch."""

    def event_id(self) -> None:
        """An event bore an id."""

    def unread(self, reason: str) -> None:
        """Something was not read, for one of the reasons of ``UNPARSED``."""


class ReplyReader(Protocol):
    """Reads a copy of a reply's body."""

    def feed(self, data: bytes, now: float) -> None:
        """Take a part."""

    def finish(self, now: float) -> None:
        """That was all."""


class EventBudget:
    """How many events of one server may be read: a burst, and so many a second from then on."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._since = 0.0

    def left(self, now: float) -> int:
        """Return how many may be read now."""
        self._left = min(float(BURST), self._left + (now - self._since) * RATE)
        self._since = now
        return int(self._left)

    def spend(self, count: int) -> None:
        """So many have been read."""
        self._left -= count


class JsonReader:
    """Reads a body that is one JSON text."""

    def __init__(self, consumer: MessageConsumer) -> None:
        self._consumer = consumer
        self._data: bytes | bytearray = b""
        self.is_full = False
        """Whether it is too large to be read, whatever follows."""

    def feed(self, data: bytes, now: float) -> None:  # noqa: ARG002
        """Keep it, unless that is too much."""
        if self.is_full or len(self._data) + len(data) > self._consumer.limit:
            self.is_full, self._data = True, b""
        elif not self._data:
            self._data = data
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += data

    def finish(self, now: float) -> None:
        """Read the whole."""
        if self.is_full:
            self._consumer.unread("too_large")
        elif self._data:
            self._consumer.message(bytes(self._data), now)


class EventStreamReader:
    """Reads a body that is a stream of events, each one as it comes."""

    is_full = False
    """Never: after an event that is too large, another one may come."""

    def __init__(self, consumer: MessageConsumer, budget: EventBudget) -> None:
        self._consumer = consumer
        self._budget = budget
        self._events = sse.EventReader(consumer.limit)
        self._oversized = 0

    def feed(self, data: bytes, now: float) -> None:
        """Read the events that are now complete, as many as may be."""
        before = self._events.pieces
        events = self._events.feed(data, self._budget.left(now))
        self._budget.spend(self._events.pieces - before)
        for event in events:
            if event.has_id:
                self._consumer.event_id()
            if event.data and event.name == b"message":
                self._consumer.message(event.data, now)
        while self._oversized < self._events.oversized:
            self._oversized += 1
            self._consumer.unread("too_large")

    def finish(self, now: float) -> None:
        """Take no half event: one that was not completed is none."""


class CompressedReader:
    """Reads a compressed body."""

    def __init__(
        self, coding: bytes, inner: JsonReader | EventStreamReader, consumer: MessageConsumer
    ) -> None:
        self._inner = inner
        self._consumer = consumer
        self._inflater = Inflater(coding)
        self._is_over = False

    def feed(self, data: bytes, now: float) -> None:
        """Inflate in bounded pieces, as far as it can be read and is of use."""
        if self._is_over:
            return
        size = 0
        try:
            for piece in self._inflater.feed(data):
                size += len(piece)
                self._inner.feed(piece, now)
                if self._inner.is_full or size > MOST_INFLATED:
                    self._is_over = True
                    break
        except InflateError as error:
            self._is_over = True  # where it is damaged, what could not be read was no reply
            if error.is_too_large:
                self._consumer.unread("too_large")
        if self._is_over and size > MOST_INFLATED and not self._inner.is_full:
            self._consumer.unread("too_large")

    def finish(self, now: float) -> None:
        """Pass the end on."""
        self._inner.finish(now)


class UnknownCodingReader:
    """Reads nothing: the body is compressed in a way that cannot be read in passing."""

    def __init__(self, consumer: MessageConsumer) -> None:
        self._consumer = consumer
        self._is_counted = False

    def feed(self, data: bytes, now: float) -> None:  # noqa: ARG002
        """Count that there was something."""
        if not self._is_counted:
            self._is_counted = True
            self._consumer.unread("encoded")

    def finish(self, now: float) -> None:
        """There is nothing to finish."""


def reader_of(
    consumer: MessageConsumer, budget: EventBudget, coding: bytes, *, is_stream: bool
) -> ReplyReader:
    """Return the reader for a body of this coding (``Content-Encoding``, in lower case)."""
    if coding not in (b"", b"identity") and coding not in CODINGS:
        return UnknownCodingReader(consumer)
    inner = EventStreamReader(consumer, budget) if is_stream else JsonReader(consumer)
    return CompressedReader(coding, inner, consumer) if coding in CODINGS else inner

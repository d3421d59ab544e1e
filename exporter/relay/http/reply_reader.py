"""Readers of a copy of an HTTP reply: one JSON text, or events as they come, maybe compressed.

What is kept is bounded; what is longer still goes to the client, and is counted.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from exporter.protocol import sse


class Listening(Protocol):
    """Whoever wants to know what the reply says."""

    @property
    def limit(self) -> int:
        """How many bytes of a message are kept for reading."""

    def heard(self, data: bytes, now: float) -> None:
        """One message, or one batch, has come down."""

    def heard_id(self) -> None:
        """An event bore an id."""

    def heard_too_much(self) -> None:
        """A message was larger than what is kept for reading."""


class Copy(Protocol):
    """Reads a copy of a reply's body."""

    def feed(self, data: bytes, now: float) -> None:
        """A part came."""

    def finish(self, now: float) -> None:
        """That was all."""


class BodyCopy:
    """Reads a body that is one JSON text."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether it is too large to be read, whatever follows."""
        return self._size > self._listening.limit

    def feed(self, data: bytes, now: float) -> None:  # noqa: ARG002
        """Keep it, unless that is too much."""
        self._size += len(data)
        if self._size <= self._listening.limit:
            self._parts.append(data)
        else:
            self._parts.clear()

    def finish(self, now: float) -> None:
        """Read the whole."""
        if self.is_full:
            self._listening.heard_too_much()
        elif self._size:
            self._listening.heard(b"".join(self._parts), now)


class EventCopy:
    """Reads a body that is a stream of events, each one as it comes."""

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._reader = sse.EventReader(listening.limit)
        self._oversized = 0
        self.is_full = False
        """Never: after an event that is too large, another one may come."""

    def feed(self, data: bytes, now: float) -> None:
        """Read the events that are now complete."""
        for event in self._reader.feed(data):
            if event.has_id:
                self._listening.heard_id()
            if event.data and event.name == b"message":
                self._listening.heard(event.data, now)
        while self._oversized < self._reader.oversized:
            self._oversized += 1
            self._listening.heard_too_much()

    def finish(self, now: float) -> None:
        """An event that was not completed is none."""


class InflatedCopy:
    """Reads a compressed body; what goes to the client stays compressed."""

    _PIECE = 1024 * 1024

    def __init__(self, inner: BodyCopy | EventCopy) -> None:
        self._inner = inner
        self._inflate = zlib.decompressobj(wbits=47)
        self._is_broken = False

    def feed(self, data: bytes, now: float) -> None:
        """Inflate in bounded pieces, as far as it can be read and is of use."""
        try:
            while data and not (self._inflate.eof or self._is_broken or self._inner.is_full):
                self._inner.feed(self._inflate.decompress(data, self._PIECE), now)
                data = self._inflate.unconsumed_tail
        except zlib.error:
            self._is_broken = True  # the server's fault: what could not be read was no reply

    def finish(self, now: float) -> None:
        """Pass the end on."""
        self._inner.finish(now)

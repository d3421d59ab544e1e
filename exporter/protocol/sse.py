"""An incremental reader of server-sent events: bytes in, the data of whole events out.

It follows the event-stream grammar of the WHATWG HTML standard (section 9.2). Only a copy is
read: the bytes on the wire are relayed by somebody else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")

# The form in which servers of MCP send nearly every event, whole.
_PLAIN = re.compile(rb"(?:event: ?message\r?\n)?data: ?([^\r\n]*)\r?\n\r?\n")


class Event(NamedTuple):
    """One event: its data, its name (``message`` where unnamed) and whether it bears an id."""

    data: bytes
    name: bytes = b"message"
    has_id: bool = False


class EventReader:
    """Collects events from chunks that may be cut anywhere.

    What is kept is bounded: an event of more than ``limit`` bytes is skipped to its end and
    counted in ``oversized``.
    """

    def __init__(self, limit: int) -> None:
        self.oversized = 0
        self._limit = limit
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._name = b""
        self._has_id = False
        self._size = 0
        self._skipping = False
        self._after_cr = False
        self._started = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; answers the events that are now complete."""
        plain = self._plain(chunk)
        if plain is not None:
            return plain
        events = []
        *lines, tail = self._split(self._without_half_line_end(chunk))
        for line in lines:
            event = self._take(bytes(self._rest) + line if self._rest else line)
            self._rest.clear()
            if event is not None:
                events.append(event)
        self._keep(tail)
        return events

    def _plain(self, chunk: bytes) -> list[Event] | None:
        """The events of a chunk that holds nothing but whole ones in the usual form."""
        if self._rest or self._data or self._name or self._has_id or self._skipping:
            return None
        if self._after_cr or len(chunk) > self._limit:
            return None
        events, place = [], 0
        while match := _PLAIN.match(chunk, place):
            events.append(Event(match[1]))
            place = match.end()
        if place < len(chunk):
            return None
        self._started = self._started or bool(events)
        return events

    def _without_half_line_end(self, chunk: bytes) -> bytes:
        if not chunk:
            return chunk
        rest = chunk[1:] if self._after_cr and chunk.startswith(b"\n") else chunk
        self._after_cr = rest.endswith(b"\r")
        return rest

    @staticmethod
    def _split(chunk: bytes) -> list[bytes]:
        return _LINE_END.split(chunk) if b"\r" in chunk else chunk.split(b"\n")

    def _keep(self, part: bytes) -> None:
        if not self._skipping:
            self._rest += part
            if self._size + len(self._rest) > self._limit:
                self._skip()
        if self._skipping and (part or self._rest):
            self._rest[:] = b":"  # what is cut must not look like the blank line that ends it

    def _skip(self) -> None:
        self._skipping = True
        self._data.clear()

    def _take(self, line: bytes) -> Event | None:
        is_long = self._size + len(line) > self._limit  # as it came, for `_keep` sees no more
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._finish()
        if is_long:
            self._skip()
        if self._skipping:
            return None
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._name = value
        elif field == b"id":
            self._has_id = True
        return None

    def _finish(self) -> Event | None:
        event = None
        if self._skipping:
            self.oversized += 1
        elif self._data or self._has_id:
            event = Event(b"\n".join(self._data), self._name or b"message", self._has_id)
        self._data.clear()
        self._name, self._has_id, self._size, self._skipping = b"", False, 0, False
        return event

"""An incremental reader of server-sent events: bytes in, the data of whole events out.

It follows the event-stream grammar of the WHATWG HTML standard (section 9.2). Only a copy is
read; the bytes on the wire are relayed elsewhere.

A peer chooses how many events, lines and pieces its bytes make. So whole events are cut out
without a look at each byte, none is looked at again when more come, ``feed`` takes a limit, and an
event has one, too.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# A group that is not given back (?>…): the two bytes of one line end are not two line ends.
_END = rb"(?>\r\n|\n|\r)"
_BLANK = re.compile(_END + _END)
_ENDS = re.compile(rb"[\r\n]*")
_TWO_ENDS = (b"\n\n", b"\r\r", b"\n\r")  # one of them is in each blank line
_SIMPLE = re.compile(rb"(?:event: ?message" + _END + rb")?data: ?([^\r\n]*)")
_NONE, _UNKNOWN = -1, -2  # places of such
_MARK = b"\xef\xbb\xbf"

# The form in which servers of MCP send nearly every event, whole.
_PLAIN = re.compile(rb"(?:event: ?message\r?\n)?data: ?([^\r\n]*)\r?\n\r?\n")

UNLIMITED = 1 << 30

MOST_ENDS = 20_000
"""Line ends of one event that is read: each line costs half a microsecond."""

_HALF_END = 3  # bytes: more of a blank line is a whole one


class Event(NamedTuple):
    """One event: its data, its name (``message`` where unnamed) and whether it bears an id."""

    data: bytes
    name: bytes = b"message"
    has_id: bool = False


class EventReader:
    """Collects events from chunks that may be cut anywhere.

    What is kept is bounded: an event of more than ``limit`` bytes is skipped to its end and
    counted in ``oversized``, and so is one of too many lines, and, once, what follows the last
    event that ``feed`` may read.
    """

    def __init__(self, limit: int) -> None:
        self.oversized = 0
        self.pieces = 0
        """Events that were read so far, those without data included."""
        self._limit = limit
        self._rest = bytearray()
        self._looked = 0
        self._skipping = False
        self._started = False

    def feed(self, chunk: bytes, most: int = UNLIMITED) -> list[Event]:
        """Take the next bytes; return the events that are now complete.

        ``most`` is how many are read, those without data included.
        """
        events: list[Event] = []
        place = self._plain(chunk, events, most) if not self._rest and not self._skipping else 0
        if place < len(chunk):
            self._take(chunk[place:], events, most)
        return events

    def _plain(self, chunk: bytes, events: list[Event], most: int) -> int:
        """Read the events in the usual form that a chunk begins with; return where they end."""
        place = 0
        while len(events) < most and (match := _PLAIN.match(chunk, place)):
            if match.end(1) - place > self._limit:
                break
            events.append(Event(match[1]))
            place = match.end()
        self._started = self._started or place > 0
        self.pieces += len(events)
        return place

    def _take(self, chunk: bytes, events: list[Event], most: int) -> None:
        rest = self._rest
        rest += chunk
        left = most - len(events)
        place = 0 if self._skipping else self._begin(0)
        blanks = _BlankLines(rest, self._looked)
        while place < len(rest):
            blank = blanks.first(place)
            if blank is None:
                break
            if left <= 0:
                self.oversized += 1
                place = self._begin(last_end(rest))
                self._skipping = False
                break
            left -= 1
            self.pieces += 1
            self._read(rest, place, blank.start(), events)
            place = self._begin(blank.end())
        self._keep(place)

    def _begin(self, place: int) -> int:
        """Where the next event begins: blank lines, and the mark of the encoding, are none."""
        if not self._started:
            if _MARK.startswith(self._rest):
                return place  # it may still become one
            self._started = True
            place = len(_MARK) if self._rest.startswith(_MARK) else place
        match = _ENDS.match(self._rest, place)
        return match.end() if match is not None else place

    def _read(self, rest: bytearray, start: int, end: int, events: list[Event]) -> None:
        if self._skipping or end - start > self._limit:
            self._skipping = False
            self.oversized += 1
            return
        simple = _SIMPLE.fullmatch(rest, start, end)
        if simple is not None:
            events.append(Event(simple[1]))
            return
        if rest.count(b"\n", start, end) + rest.count(b"\r", start, end) > MOST_ENDS:
            self.oversized += 1
            return
        data, name, has_id = [], b"", False
        for line in bytes(memoryview(rest)[start:end]).splitlines():
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif field == b"event":
                name = value.removeprefix(b" ")
            has_id = has_id or field == b"id"
        if data or has_id:
            events.append(Event(b"\n".join(data), name or b"message", has_id))

    def _keep(self, place: int) -> None:
        """Keep what follows for the next chunk, as far as it may become an event."""
        del self._rest[:place]
        if len(self._rest) > self._limit + _HALF_END:
            self._skipping = True
        if self._skipping:
            del self._rest[:-_HALF_END]
        self._looked = max(0, len(self._rest) - _HALF_END)


class _BlankLines:
    """The blank lines in some bytes, in order: no byte is looked at twice, whatever comes."""

    def __init__(self, data: bytearray, start: int) -> None:
        self._data = data
        self._start = start
        self._next = [_UNKNOWN] * len(_TWO_ENDS)

    def first(self, place: int) -> re.Match[bytes] | None:
        """The first one from ``place`` on, which never goes back."""
        place = max(place, self._start)
        for kind, found in enumerate(self._next):
            if found < place and found != _NONE:
                self._next[kind] = self._data.find(_TWO_ENDS[kind], place)
        ahead = [found for found in self._next if found != _NONE]
        # A carriage return before them belongs to the first of the two ends.
        return _BLANK.search(self._data, max(place, min(ahead) - 1)) if ahead else None


def last_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return where the last whole event ends that ends after ``start``; 0 where there is none."""
    ends = ((b"\n\n", 2), (b"\n\r\n", 3), (b"\r\r", 2), (b"\n\r", 2))
    found = [place + size for end, size in ends if (place := data.rfind(end, start)) >= 0]
    return max(found, default=0)

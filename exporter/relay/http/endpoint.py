"""Rewrites the address in ``endpoint`` events of the older HTTP transport, wherever they stand.

All else passes as it came, and when it came: comments keep connections alive. Of an event that is
not complete yet as much is held back as an endpoint event may be long.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import islice

from exporter.protocol.sse import EventReader, last_end

LONGEST = 64 * 1024
"""Bytes of an event that is looked at; a longer one passes unread."""

MOST = 32
"""Endpoint events in one read from the network that are looked at; each costs microseconds."""

_NAME = b"endpoint"
_MARK = b"\xef\xbb\xbf"
_END = rb"(?>\r\n|\n|\r)"
_BLANK = re.compile(_END + _END + rb"+")
_FIELD = re.compile(rb"(?<![^\r\n])event: ?endpoint(?=[\r\n])")
_OUTSIDE = re.compile(rb"(?:(?::[^\r\n]*|retry:[^\r\n]*)?" + _END + rb")+")
"""Lines that belong to no event, or change nothing where one follows."""

_ADDRESS = re.compile(rb"((?:\A|[\r\n])data: ?)[^\r\n]*")


class EndpointRewriter:
    """``rewrite`` returns the address for one of the server's, ``None`` to leave it."""

    def __init__(self, rewrite: Callable[[bytes], bytes | None]) -> None:
        self._rewrite = rewrite
        self._rest = bytearray()
        self._is_passing = False
        self._has_begun = False

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return those that may go on."""
        if not self._has_begun:
            return self._begin(data)
        rest, before = self._rest, len(self._rest)
        rest += data
        end = last_end(rest, max(0, before - 3))
        passed = bytes(rest[:end])
        del rest[:end]
        if end:
            passed = self._take(passed)
        if self._is_passing or len(rest) > LONGEST:
            self._is_passing = True
            return passed + self.rest()
        return passed + self._outside()

    def rest(self) -> bytes:
        """Return what was held back."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def _begin(self, data: bytes) -> bytes:
        """Let the mark of the encoding go on by itself: it belongs to no event."""
        start = self.rest() + data
        if len(start) < len(_MARK) and _MARK.startswith(start):
            self._rest += start  # it may still become one
            return b""
        self._has_begun = True
        mark = _MARK if start.startswith(_MARK) else b""
        return mark + self.feed(start.removeprefix(_MARK))

    def _take(self, events: bytes) -> bytes:
        """Rewrite whole events, but for one whose beginning has passed."""
        parts, place = [], 0
        if self._is_passing:
            self._is_passing = False
            place = self._end_of_event(events, 0)
            parts.append(events[:place])
        for field in islice(_FIELD.finditer(events, place), MOST):
            if field.start() < place:
                continue  # the event has it twice
            start = place + last_end(events[place : field.start()])
            end = self._end_of_event(events, field.end())
            parts += [events[place:start], self._rewritten(events[start:end])]
            place = end
        return b"".join([*parts, events[place:]])

    @staticmethod
    def _end_of_event(events: bytes, place: int) -> int:
        blank = _BLANK.search(events, place)
        return blank.end() if blank is not None else len(events)

    def _rewritten(self, event: bytes) -> bytes:
        found = EventReader(LONGEST).feed(event)
        address = self._rewrite(found[0].data) if found and found[0].name == _NAME else None
        if address is None:
            return event
        return _ADDRESS.sub(lambda line: line[1] + address, event, count=1)

    def _outside(self) -> bytes:
        """Return the lines at the front that hold nothing of an event."""
        match = _OUTSIDE.match(self._rest)
        if match is None or self._rest.endswith(b"\r", 0, match.end()):
            return b""  # its line feed may be still to come
        passed = match[0]
        del self._rest[: match.end()]
        return passed

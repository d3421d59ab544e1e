"""Cuts a stream of bytes into lines, one at a time: reading may stop between any two."""

from __future__ import annotations

from collections.abc import Iterator


class LineCutter:
    """The lines of one stream, without their ends; ``None`` for one longer than ``limit`` bytes.

    Feed it, then take the lines one by one, by iterating. Of a line that is too long, ``head`` and
    ``tail`` keep up to ``ends`` bytes until the next one, and ``size`` its length.
    """

    def __init__(self, limit: int, ends: int = 0) -> None:
        self._limit = limit
        self._ends = ends
        self.head = bytearray()
        self.tail = b""
        self.size = 0
        self._begun = bytearray()
        self._size = 0  # of the line that has begun, of which nothing is kept beyond the limit
        self._data = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Add the next bytes; what was not taken before stays in front of them."""
        self._data = self._data[self._at :] + data if self._data else data
        self._at = 0

    def whole(self, data: bytes) -> bytes | None:
        """Return the line that these bytes are; ``None`` where they are not just one: feed them."""
        end = len(data) - 1
        if end < 0 or self._size or self._data or end > self._limit or data.find(b"\n") != end:
            return None
        return data[:end].removesuffix(b"\r")

    @property
    def has_unread(self) -> bool:
        """Whether there may be lines that were not taken yet."""
        return bool(self._data)

    def __iter__(self) -> Iterator[bytes | None]:
        return self

    def __next__(self) -> bytes | None:
        end = self._data.find(b"\n", self._at)
        if end < 0:
            self._keep(self._data[self._at :])
            self._data, self._at = b"", 0
            raise StopIteration
        line = self._data[self._at : end]
        self._at = end + 1
        return self._complete(line)

    def skip(self) -> int:
        """Pass over the lines that are complete; return how many there were."""
        end = self._data.rfind(b"\n", self._at)
        count = self._data.count(b"\n", self._at)
        if count:
            self._begun.clear()
            self._size = 0
            self._at = end + 1
        self._keep(self._data[self._at :])
        self._data, self._at = b"", 0
        return count

    def _complete(self, line: bytes) -> bytes | None:
        if not self._size and len(line) <= self._limit:
            return line.removesuffix(b"\r")
        self._keep(line)
        line, size = bytes(self._begun), self._size
        self._begun.clear()
        self._size = 0
        if size > self._limit:
            self.tail, self.size = line, size
            return None
        return line.removesuffix(b"\r")

    def _keep(self, part: bytes) -> None:
        was_short = self._size <= self._limit
        self._size += len(part)
        if self._size <= self._limit:
            self._begun += part
            return
        if was_short:
            self.head = (self._begun[: self._ends] + part[: self._ends])[: self._ends]
        kept = self._begun[max(0, len(self._begun) - self._ends) :]
        kept += part[max(0, len(part) - self._ends) :]
        self._begun = kept[max(0, len(kept) - self._ends) :]

"""Cuts a stream of bytes into lines, one at a time: reading may stop between any two."""

from __future__ import annotations

from collections.abc import Iterator


class LineCutter:
    """The lines of one stream, without their ends; ``None`` for one longer than ``limit`` bytes.

    Feed it, then take the lines one by one, by iterating.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._begun = bytearray()
        self._size = 0  # of the line that has begun, of which nothing is kept beyond the limit
        self._data = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """Add the next bytes; what was not taken before stays in front of them."""
        self._data = self._data[self._at :] + data if self._data else data
        self._at = 0

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
        if self._size:
            self._keep(line)
            line, size = bytes(self._begun), self._size
            self._begun.clear()
            self._size = 0
        else:
            size = len(line)
        return line.removesuffix(b"\r") if size <= self._limit else None

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= self._limit:
            self._begun += part
        else:
            self._begun.clear()

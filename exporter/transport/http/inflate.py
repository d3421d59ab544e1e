"""Reads a copy of a compressed body; the bytes on the wire stay compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})
"""What can be read, as ``Content-Encoding`` says it."""

RATIO = 100
"""How many times as long as what was compressed a body may become."""

SLACK = 1024 * 1024
"""Bytes that it may become in any case."""

_PIECE = 256 * 1024
_MOST_MEMBERS = 100
_AUTO, _RAW = zlib.MAX_WBITS + 32, -zlib.MAX_WBITS


class InflateError(Exception):
    """The body is damaged, or becomes too long (``is_too_large``)."""

    def __init__(self, text: str, *, is_too_large: bool) -> None:
        super().__init__(text)
        self.is_too_large = is_too_large


class Inflater:
    """Inflates what comes in any pieces: gzip of several members, deflate with its head or raw."""

    def __init__(self, coding: bytes) -> None:
        self._is_deflate = coding == b"deflate"
        self._inflate: zlib._Decompress | None = None
        self._members = 0
        self._left = SLACK

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes become, in bounded pieces. Raises ``InflateError``."""
        self._left += RATIO * len(data)
        while data:
            inflate = self._inflate
            if inflate is None or inflate.eof:
                inflate = self._begin(data)
            try:
                piece = inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise InflateError(f"cannot be inflated: {error}", is_too_large=False) from None
            self._left -= len(piece)
            if self._left < 0:
                raise InflateError(f"becomes more than {RATIO} times as long", is_too_large=True)
            data = inflate.unconsumed_tail or inflate.unused_data
            yield piece

    def _begin(self, data: bytes) -> zlib._Decompress:
        self._members += 1
        if self._members > _MOST_MEMBERS or (self._is_deflate and self._members > 1):
            raise InflateError("has too many members", is_too_large=True)
        # Deflate means zlib's format (RFC 9110, section 8.4.1.2); some servers leave its head out.
        is_raw = self._is_deflate and data[0] & 0x0F != zlib.DEFLATED
        self._inflate = zlib.decompressobj(_RAW if is_raw else _AUTO)
        return self._inflate


def inflated(coding: bytes, body: bytes, limit: int) -> bytes | None:
    """Return a whole body of at most ``limit`` bytes; ``None`` where it cannot be read."""
    if coding not in CODINGS:
        return None
    whole = bytearray()
    try:
        for piece in Inflater(coding).feed(body):
            whole += piece
            if len(whole) > limit:
                return None
    except InflateError:
        return None
    return bytes(whole)

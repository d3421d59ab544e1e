"""The wire format of protobuf, as far as what differs from span to span is written in it.

https://protobuf.dev/programming-guides/encoding/. The library sets field by field, which takes
twice as long as all else that a kept request costs.
"""

from __future__ import annotations

_VALUE, _STRING, _INT = b"\x12", b"\n", b"\x18"
"""Tags within an attribute: its value, and the value's kinds."""


_LAST = [bytes((digit,)) for digit in range(0x80)]
_DIGITS = [bytes((digit | 0x80,)) for digit in range(0x80)]
"""The digits of a number in base 128: the last one that is written, and those before it."""

_SHORT = _LAST + [_DIGITS[number & 0x7F] + _LAST[number >> 7] for number in range(0x80, 0x400)]
"""Numbers as most lengths are."""

_LONGEST = 10
"""Digits of 64 bits."""


def varint(number: int) -> bytes:
    """A number, not negative, in as many bytes as it needs."""
    if number < len(_SHORT):
        return _SHORT[number]
    return _DIGITS[number & 0x7F] + varint(number >> 7)


def delimited(tag: bytes, data: bytes) -> bytes:
    """A field whose length comes first: a text, bytes or a message."""
    return b"".join((tag, varint(len(data)), data))


class AttributeField:
    """An attribute of one name in a message that keeps attributes under ``tag``.

    What stands before a short text or number is kept for each length: most are short.
    """

    def __init__(self, tag: bytes, name: str) -> None:
        self._tag = tag
        self._key = delimited(b"\n", name.encode())
        room = range(0x80 - len(self._key) - 4)
        self._texts = [self._before(_STRING + varint(size), size) for size in room]
        self._numbers = [self._before(_INT, size) for size in range(_LONGEST + 1)]

    def text(self, text: str) -> bytes:
        """The attribute with a text."""
        data = text.encode()
        try:
            return self._texts[len(data)] + data
        except IndexError:
            return delimited(self._tag, self._key + delimited(_VALUE, delimited(_STRING, data)))

    def number(self, number: int) -> bytes:
        """The attribute with a number of at most 64 bits, which is not negative."""
        data = varint(number)
        return self._numbers[len(data)] + data

    def _before(self, kind: bytes, size: int) -> bytes:
        """All that stands before a value of so many bytes."""
        value = _VALUE + varint(len(kind) + size) + kind
        return self._tag + varint(len(self._key) + len(value) + size) + self._key + value

"""The wire format of protobuf, as far as what differs from span to span is written in it.

https://protobuf.dev/programming-guides/encoding/. The library sets field by field, which takes
twice as long as all else that a kept request costs.
"""

from __future__ import annotations

_VALUE, _STRING, _INT = b"\x12", b"\n", b"\x18"
"""Tags within an attribute: its value, and the value's kinds."""


_SHORT = [bytes((number,)) for number in range(0x80)]
_SHORT += [bytes((number & 0x7F | 0x80, number >> 7)) for number in range(0x80, 0x400)]
"""Numbers as most lengths are."""


def varint(number: int) -> bytes:
    """A number, not negative, in as many bytes as it needs."""
    if number < len(_SHORT):
        return _SHORT[number]
    return bytes((number & 0x7F | 0x80,)) + varint(number >> 7)


def delimited(tag: bytes, data: bytes) -> bytes:
    """A field whose length comes first: a text, bytes or a message."""
    return b"".join((tag, varint(len(data)), data))


class AttributeField:
    """An attribute of one name in a message that keeps attributes under ``tag``."""

    def __init__(self, tag: bytes, name: str) -> None:
        self._tag = tag
        self._key = delimited(b"\n", name.encode())
        self._short = 0x7F - len(self._key) - 4

    def text(self, text: str) -> bytes:
        """The attribute with a text."""
        data = text.encode()
        size = len(data)
        if size <= self._short:  # then each of the three lengths is a byte
            whole = len(self._key) + size + 4
            return b"%b%c%b\x12%c\n%c%b" % (self._tag, whole, self._key, size + 2, size, data)
        return delimited(self._tag, self._key + delimited(_VALUE, delimited(_STRING, data)))

    def number(self, number: int) -> bytes:
        """The attribute with a number, which is not negative."""
        return delimited(self._tag, self._key + delimited(_VALUE, _INT + varint(number)))

"""JSON with half a character in it (a lone surrogate), which JavaScript writes and msgspec refuses.

What is decoded is a copy without the halves. It is as long as the original, so that what stands
where in the copy stands there in the original, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

MOST_HALVES = 1000
"""Of more, the copy loses whole characters as well: each costs, and such a text says nothing."""

MOST_ESCAPES = 100_000
"""Escapes that may be a half; each is looked at, be it one or not."""

MOST_MEMBERS = 10_000
"""Members that are looked for in a text with halves; each costs a microsecond."""

# Both begin with what is rare, so that a megabyte of something else is passed over at once.
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_NAME = re.compile(rb'[ \t\n\r]*("(?:[^"\\]++|\\.)*+")[ \t\n\r]*:[ \t\n\r]*')
_BETWEEN = re.compile(rb"[ \t\n\r]*[,\[][ \t\n\r]*")
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_name = msgspec.json.Decoder(str)


def readable(data: bytes | bytearray | memoryview) -> bytes:
    """Return a copy in which each half is a replacement character."""
    data = bytes(data)
    escapes = possible_halves(data)
    if not escapes:
        return data  # to look for halves among other escapes takes long
    if escapes > MOST_ESCAPES:
        return structure(data)
    copy, count = _HALF.subn(rb"\\ufffd", data, MOST_HALVES)
    return copy if count < MOST_HALVES else structure(data)


def possible_halves(data: bytes) -> int:
    """How many escapes may be half a character; of both spellings the more frequent one."""
    return max(data.count(rb"\ud"), data.count(rb"\uD"))


def structure(data: bytes) -> bytes:
    """Return a copy in which no escape is half a character; others are not what they were."""
    return data.replace(rb"\ud", rb"\u0").replace(rb"\uD", rb"\u0")


def members(data: bytes) -> dict[str, msgspec.Raw]:
    """Return the members of an object as they stand in ``data``.

    Raises ``ValueError`` where it is none, has too many members, or has one of them twice.
    """
    copy = structure(data)
    decoded = _object.decode(copy)
    if len(decoded) > MOST_MEMBERS:
        raise ValueError(f"more than {MOST_MEMBERS} members")
    place, found = data.index(b"{") + 1, {}
    for raw in decoded.values():
        name, value = _NAME.match(data, place), bytes(raw)
        if name is None or not copy.startswith(value, name.end()):
            raise ValueError("a member is there twice")
        place = name.end() + len(value)
        found[_name.decode(readable(name[1]))] = msgspec.Raw(data[name.end() : place])
        place = _next(data, place)
    return found


def items(data: bytes, decoded: Sequence[msgspec.Raw]) -> list[bytes]:
    """Return the items of an array as they stand in ``data``; ``decoded`` are its structure's."""
    place, found = 0, []
    for raw in decoded:
        between = _BETWEEN.match(data, place)
        start = between.end() if between is not None else place
        place = start + len(bytes(raw))
        found.append(data[start:place])
    return found


def _next(data: bytes, place: int) -> int:
    """Where the member after the comma begins."""
    comma = _BETWEEN.match(data, place)
    return comma.end() if comma is not None else place

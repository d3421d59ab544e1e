"""How a tool's definition changed, in a few lines for a person: pure and bounded."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from exporter.protocol.jsonrpc import UNREADABLE
from exporter.protocol.printable import printable

KEPT = 16 * 1024
"""Bytes of a definition that are compared; of a longer one its beginning."""

MAX_LINES = 200
"""Lines of a diff."""

_COMPARED = 60
"""Changed lines that are compared one by one; more are shown as one block."""

_WIDTH = 200
"""Characters of a line; a longer one is broken, so that what changed in it can be shown."""

_DEEPEST = 64
"""Levels that are indented: each makes lines longer, and Python 3.13 reads ten thousand."""

_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]')


def is_same(before: bytes, after: bytes) -> bool:
    """Whether two definitions differ in nothing but the order of members and white space."""
    if max(len(before), len(after)) >= KEPT:
        return False
    try:
        return _ordered(before) == _ordered(after)
    except UNREADABLE:
        return False


def diff(before: bytes, after: bytes) -> list[str]:
    """The lines that were taken away (``-``) and added (``+``), at most ``MAX_LINES``."""
    old, new = _lines(before[:KEPT]), _lines(after[:KEPT])
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    if start == len(old) == len(new):
        return [f"(they differ after their first {KEPT} bytes)"]
    first, last = max(0, start - 1), max(0, end - 1)  # one line before and after, to find it by
    lines = _compare(old[first : len(old) - last], new[first : len(new) - last])
    if len(lines) > MAX_LINES:
        lines[MAX_LINES - 1 :] = [f"… {len(lines) - MAX_LINES + 1} more lines"]
    return lines


def _compare(old: list[str], new: list[str]) -> list[str]:
    if max(len(old), len(new)) > _COMPARED:
        return [*(f"-{line}" for line in old), *(f"+{line}" for line in new)]
    lines = list(difflib.unified_diff(old, new, lineterm="", n=1))[2:]
    return [line for line in lines if not line.startswith("@@")]


def _common(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines are the same from the beginning on."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(old), len(new)))


def _lines(definition: bytes) -> list[str]:
    try:
        ordered = _ordered(definition)
        indent = 1 if _depth(ordered) <= _DEEPEST else -1
        lines = msgspec.json.format(ordered, indent=indent).decode().split("\n")
    except UNREADABLE:  # such as the beginning of a longer one
        lines = [definition.decode(errors="replace")]
    return [
        printable(line[place : place + _WIDTH])
        for line in lines
        for place in range(0, len(line), _WIDTH)
    ]


def _ordered(definition: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(definition), order="sorted")


def _depth(text: bytes) -> int:
    """How deep a JSON text is nested."""
    found = (match[:1] for match in _BRACKET.findall(text))
    return max(accumulate((token in b"[{") - (token in b"]}") for token in found), default=0)

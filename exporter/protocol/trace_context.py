"""W3C Trace Context: what a ``traceparent`` says, and another one in its place in a message.

Pure. https://www.w3.org/TR/trace-context/, and the specification of MCP for ``params._meta``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LENGTH = 55
"""Characters of a ``traceparent`` of version 00, and of the part that every later version has."""

_PATTERN = r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_IN_TEXT = re.compile(_PATTERN)
_IN_BYTES = re.compile(_PATTERN.encode())
_LIKE_ONE = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_FLAGS = {f"{flags:02x}": flags for flags in range(0x100)}
_ODD = frozenset("13579bdf")


def valid(text: str | None) -> str | None:
    """Return the 55 characters that count, or ``None`` where they are no context.

    A version above 00 may be longer, and then goes on with a dash.
    """
    if text is None or len(text) < LENGTH:
        return None
    known = text[:LENGTH]
    if len(text) > LENGTH and (text.startswith("00") or text[LENGTH] != "-"):
        return None
    return known if _IN_TEXT.fullmatch(known) else None


def valid_at(data: bytes, start: int) -> str | None:
    """The valid context of 55 characters that stands there, or ``None``."""
    found = _IN_BYTES.fullmatch(data, start, start + LENGTH)
    return None if found is None else found[0].decode()


def trace_id(traceparent: str) -> str:
    """The 32 digits of the trace."""
    return traceparent[3:35]


def parent_id(traceparent: str) -> str:
    """The 16 digits of the span that is the parent."""
    return traceparent[36:52]


def is_sampled(traceparent: str) -> bool:
    """Whether the caller records its part of the trace."""
    return traceparent[-1] in _ODD


def parts(traceparent: str) -> tuple[str, str, int]:
    """The trace, the parent, and the flags of version 00."""
    return traceparent[3:35], traceparent[36:52], _FLAGS[traceparent[53:55]]


def with_parent(traceparent: str, span_id: str) -> str:
    """The same context with another parent; version, trace and flags stay."""
    return traceparent[:36] + span_id + traceparent[52:]


def exchange(body: bytes, context: str, other: str) -> tuple[bytes, int]:
    """The body with another context in the place of this one, as long as before to the byte.

    Also how often it stands there as it is written, of which no more than two are counted. One
    that does not stand there exactly once, but escaped, or in an argument too, is left alone.
    """
    pieces = body.split(context.encode(), 2)
    times = len(pieces) - 1
    return other.encode().join(pieces) if times == 1 else body, times


def exchange_all(body: bytes, others: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """The same with the contexts of a batch, which are up to a hundred, in one look at the body."""
    places: dict[bytes, list[int]] = {context.encode(): [] for context in others}
    for found in _LIKE_ONE.finditer(body):
        if found[0] in places:
            places[found[0]].append(found.start())
    changed = bytearray(body)
    for context, other in others.items():
        starts = places[context.encode()]
        if len(starts) == 1:
            changed[starts[0] : starts[0] + LENGTH] = other.encode()
    return bytes(changed), {context: len(places[context.encode()]) for context in others}

"""A reply of which only the first and the last bytes are known: which request it ends.

Servers write a reply's id before the result or behind it, and ``jsonrpc`` anywhere between.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from exporter.protocol.jsonrpc import Id

ENDS = 1024
"""Bytes of each end that are enough."""

_JSONRPC = rb'"jsonrpc"\s*:\s*"2\.0"'
_ID = rb'"id"\s*:\s*(?P<id>-?[0-9]{1,19}|"(?:[^"\\]|\\.){0,300}")'
_CONTENT = rb'"(?P<content>result|error)"\s*:'
_ID_FIRST = re.compile(
    rb"\s*\{\s*(?:%b\s*,\s*)?%b\s*,\s*(?:%b\s*,\s*)?%b" % (_JSONRPC, _ID, _JSONRPC, _CONTENT)
)
_CONTENT_FIRST = re.compile(rb"\s*\{\s*(?:%b\s*,\s*)?%b" % (_JSONRPC, _CONTENT))
# Directly in front of the last brace, so that it is no member of anything inside.
_ID_LAST = re.compile(rb",\s*(?:%b\s*,\s*)?%b\s*(?:,\s*%b\s*)?\}\s*\Z" % (_JSONRPC, _ID, _JSONRPC))


@dataclass(frozen=True, slots=True)
class LongReply:
    """What is known of it."""

    id: Id
    is_error: bool


def read(head: bytes | bytearray, tail: bytes) -> LongReply | None:
    """Return the reply that begins and ends so, or ``None`` where it is none or names no id."""
    first = _ID_FIRST.match(head)
    if first is not None:
        return _reply(first["id"], first["content"])
    content, last = _CONTENT_FIRST.match(head), _ID_LAST.search(tail)
    return _reply(last["id"], content["content"]) if content and last else None


def _reply(request_id: bytes, content: bytes) -> LongReply | None:
    try:
        return LongReply(json.loads(request_id), content == b"error")
    except ValueError:  # no UTF-8, or an escape that JSON does not know
        return None

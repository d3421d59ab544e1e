"""Pages of ``tools/list``: the definitions as they came, of a bounded number."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from exporter.protocol.jsonrpc import UNREADABLE
from exporter.protocol.surrogates import MOST_ESCAPES, possible_halves, readable

MAX_TOOLS = 4000
"""Tools of one page that are read: beyond a thousand, no model can choose among them."""

MAX_NAME = 256
"""Characters of a tool's name; MCP allows 128."""

MAX_COMMAS = 100_000
"""A page with more is not read: each member costs time, however short it is."""


class ToolPage(NamedTuple):
    """The tools of a page by name, and the cursor of the next page.

    ``is_cut``: there is more than is read here, or will be told.
    """

    tools: dict[str, bytes]
    next_cursor: str | None = None
    is_cut: bool = False


def read_tools(data: bytes) -> ToolPage | None:
    """Read a reply to ``tools/list``; ``None`` where it is none.

    What is no tool is left out. A cursor that is no text ends the listing.
    """
    if data.count(b",") > MAX_COMMAS:
        return ToolPage({}, is_cut=True)
    try:
        page = _decoded(data)
    except UNREADABLE:
        return None
    if page is None:
        return ToolPage({}, is_cut=True)
    named = {_name_of(raw): raw for raw in page.tools[:MAX_TOOLS]}
    tools = {name: bytes(raw) for name, raw in named.items() if 0 < len(name) <= MAX_NAME}
    cursor, is_sound = _cursor(page.next_cursor)
    return ToolPage(tools, cursor, not is_sound or len(page.tools) > MAX_TOOLS)


class _ToolsResult(Struct, frozen=True):
    tools: list[Raw]
    next_cursor: Raw = field(name="nextCursor", default=Raw(b"null"))


class _ToolsReply(Struct, frozen=True):
    result: _ToolsResult


class _NamedTool(Struct, frozen=True):
    name: str


_reply = msgspec.json.Decoder(_ToolsReply)
_tool = msgspec.json.Decoder(_NamedTool)
_text = msgspec.json.Decoder(str | None)


def _decoded(data: bytes) -> _ToolsResult | None:
    """Return what a page holds; ``None`` where halves of characters may be all over it."""
    try:
        return _reply.decode(data).result
    except msgspec.ValidationError:
        raise  # it is no page, with halves or without
    except UNREADABLE:
        if possible_halves(data) > MOST_ESCAPES:
            return None
        return _reply.decode(readable(data)).result


def _name_of(definition: Raw) -> str:
    if not bytes(definition).startswith(b"{"):
        return ""  # an exception for each would cost more
    try:
        return _tool.decode(definition).name
    except UNREADABLE:
        return ""


def _cursor(raw: Raw) -> tuple[str | None, bool]:
    try:
        return _text.decode(raw), True
    except UNREADABLE:
        return None, False

"""``Mcp-Param-*`` headers must say what the arguments say (revision 2026-07-28).

A tool's input schema names the arguments that a client repeats in headers (``x-mcp-header``),
so that something in between can route on them. A stdio server never sees a header, so what it
would have to compare is compared here, before the child sees the call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from exporter.protocol.header_encoding import decoded
from exporter.transport.http.request import Request

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_DECIMAL = re.compile(r"(-?[0-9]{1,300})(?:\.0+)?")
_PREFIX = "mcp-param-"
_MAX_DEPTH = 32

MOST_MIRRORS = 1000
"""Arguments of one tool that are repeated, and bytes of its definition: each call is compared
with all of them, and of a server that has more nothing is compared."""

LONGEST_DEFINITION = 256 * 1024

MOST_KEPT = 8 * 1024 * 1024
"""Bytes of all that is known of one server's tools; of more, what was listed first is forgotten."""

_MIRROR_SIZE = 512


@dataclass(frozen=True, slots=True)
class Mirror:
    """One argument that is repeated in a header; ``header`` in lower case."""

    path: tuple[str, ...]
    header: str
    is_integer: bool


@dataclass(frozen=True, slots=True)
class _Known:
    mirrors: tuple[Mirror, ...]
    size: int


class ParamHeaders:
    """What the tools of one server have repeated in headers."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self.size = 0

    def learn(self, tools: Mapping[str, bytes]) -> None:
        """Take the definitions of listed tools."""
        for name, definition in tools.items():
            self._forget(name)
            mirrors = _mirrors(definition)
            if mirrors:
                size = len(definition) + _MIRROR_SIZE * len(mirrors)
                self._known[name] = _Known(mirrors, size)
                self.size += size
            while self.size > MOST_KEPT:
                self._forget(next(iter(self._known)))

    def check(
        self, request: Request, tool: str | None, arguments_json: msgspec.Raw | None
    ) -> str | None:
        """What is wrong with a call's headers, or ``None``."""
        known = self._known.get(tool or "")
        if known is None:
            return None
        arguments = _arguments(arguments_json)
        if arguments is None:
            return None  # only the server can read it
        given = _given(request)
        for mirror in known.mirrors:
            fault = _check(mirror, arguments, given.get(mirror.header, ()))
            if fault is not None:
                return f"the header {mirror.header} {fault}"
        return None

    def _forget(self, tool: str) -> None:
        known = self._known.pop(tool, None)
        if known is not None:
            self.size -= known.size


def _given(request: Request) -> dict[str, list[bytes]]:
    """The values of each header that repeats an argument, by its name in lower case."""
    found: dict[str, list[bytes]] = {}
    for key, value in request.headers:
        name = key.lower().decode("latin-1")
        if name.startswith(_PREFIX):
            found.setdefault(name, []).append(value)
    return found


def _check(mirror: Mirror, arguments: object, given: Sequence[bytes]) -> str | None:
    value = _at(arguments, mirror.path)
    rendered = _rendered(value)
    if len(given) > 1:
        return "is there more than once"
    if rendered is None:
        return "has no argument that it repeats" if given else None
    if not given:
        return f"is missing, though the argument {'.'.join(mirror.path)!r} is there"
    return None if _is_same(mirror, decoded(given[0]), value, rendered) else "says something else"


def _is_same(mirror: Mirror, given: str | None, value: object, rendered: str) -> bool:
    if given is None:
        return False
    number = _DECIMAL.fullmatch(given)
    is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0
    if mirror.is_integer and number is not None and is_whole:
        return int(number[1]) == value  # 42 and 42.0 are the same integer
    return given == rendered


def _rendered(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _at(arguments: object, path: tuple[str, ...]) -> object:
    for key in path:
        arguments = arguments.get(key) if isinstance(arguments, dict) else None
    return arguments


class _Tool(msgspec.Struct):
    input_schema: dict[str, object] = msgspec.field(name="inputSchema", default_factory=dict)


def _arguments(data: msgspec.Raw | None) -> object:
    if data is None:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _mirrors(definition: bytes) -> tuple[Mirror, ...]:
    """The annotated arguments; none at all where the annotations are not valid."""
    if b"x-mcp-header" not in definition or len(definition) > LONGEST_DEFINITION:
        return ()
    try:
        schema = msgspec.json.decode(definition, type=_Tool).input_schema
        found = tuple(islice(_walk(schema, ()), MOST_MIRRORS + 1))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return ()
    headers = {mirror.header for mirror in found}
    return found if len(headers) == len(found) <= MOST_MIRRORS else ()


def _walk(schema: object, path: tuple[str, ...]) -> Iterator[Mirror]:
    if not isinstance(schema, dict) or len(path) > _MAX_DEPTH:
        return
    token, kind = schema.get("x-mcp-header"), schema.get("type")
    if token is not None:
        if not path or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise ValueError(token)
        yield Mirror(path, _PREFIX + token.lower(), kind == "integer")
    properties = schema.get("properties")
    for name, inner in properties.items() if isinstance(properties, dict) else ():
        yield from _walk(inner, (*path, name))

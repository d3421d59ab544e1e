"""``Mcp-Param-*`` headers must say what the arguments say (revision 2026-07-28).

A tool's input schema names the arguments that a client repeats in headers (``x-mcp-header``),
so that something in between can route on them. A stdio server never sees a header, so what it
would have to compare is compared here, before the child sees the call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from exporter.protocol.header_encoding import decoded
from exporter.transport.http.request import Request

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_DECIMAL = re.compile(r"(-?[0-9]{1,300})(?:\.0+)?")
_PREFIX = "mcp-param-"
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Mirror:
    """One argument that is repeated in a header; ``header`` in lower case."""

    path: tuple[str, ...]
    header: str
    is_integer: bool


class ParamHeaders:
    """What the tools of one server have repeated in headers."""

    def __init__(self) -> None:
        self._mirrors: dict[str, tuple[Mirror, ...]] = {}

    def learn(self, tools: Mapping[str, bytes]) -> None:
        """Take the definitions of listed tools."""
        for name, definition in tools.items():
            mirrors = _mirrors(definition)
            if mirrors:
                self._mirrors[name] = mirrors
            else:
                self._mirrors.pop(name, None)

    def check(
        self, request: Request, tool: str | None, arguments_json: msgspec.Raw | None
    ) -> str | None:
        """What is wrong with a call's headers, or ``None``."""
        mirrors = self._mirrors.get(tool or "")
        if mirrors is None:
            return None
        arguments = _arguments(arguments_json)
        if arguments is None:
            return None  # only the server can read it
        for mirror in mirrors:
            fault = _check(mirror, arguments, request)
            if fault is not None:
                return f"the header {mirror.header} {fault}"
        return None


def _check(mirror: Mirror, arguments: object, request: Request) -> str | None:
    name = mirror.header.encode()
    given = [value for key, value in request.headers if key.lower() == name]
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
    if b"x-mcp-header" not in definition:
        return ()
    try:
        schema = msgspec.json.decode(definition, type=_Tool).input_schema
        found = tuple(_walk(schema, ()))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return ()
    headers = [mirror.header for mirror in found]
    return found if len(set(headers)) == len(headers) else ()


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

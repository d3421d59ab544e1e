"""What a 2026-07-28 request must look like before a stdio child may see it.

A stdio server takes its protocol era from the first request that it reads, so one bad request
could lock it. The checks and codes are those of the specification's Streamable HTTP transport,
revision 2026-07-28: the headers must say what the body says.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from exporter.protocol import errors, jsonrpc, surrogates
from exporter.protocol.header_encoding import decoded
from exporter.protocol.jsonrpc import CAPABILITIES_KEY, VERSION_KEY, Message
from exporter.protocol.spec import CALL_TOOL, INITIALIZE, MODERN
from exporter.transport.http.request import Request

_NAMED_BY = {
    CALL_TOOL: "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
_ROUTING = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")

STATUS_OF_CODE = {
    errors.PARSE_ERROR: 400,
    errors.INVALID_REQUEST: 400,
    errors.INVALID_PARAMS: 400,
    errors.HEADER_MISMATCH: 400,
    errors.MISSING_CAPABILITY: 400,
    errors.UNSUPPORTED_VERSION: 400,
    errors.METHOD_NOT_FOUND: 404,
}
"""The HTTP status of an error reply at 2026-07-28; every other code is sent with 200."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a request is refused."""

    code: int
    text: str
    data: object = None

    @property
    def status(self) -> int:
        """The HTTP status that goes with it."""
        return STATUS_OF_CODE.get(self.code, 200)


def check(request: Request, message: Message) -> Violation | None:
    """The first thing that is wrong with a 2026-07-28 request, or ``None``."""
    params = _params(request.body)
    return (
        _check_envelope(params)
        or _check_headers(request, message, params)
        or _check_version(message)
        or _check_method(message)
    )


def _params(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(surrogates.readable(body), type=_Body).params
    except jsonrpc.UNREADABLE:
        return {}


class _Body(msgspec.Struct):
    # Raw, for what is not checked may be what only the server can read, such as 1e400.
    params: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)


def _check_envelope(params: dict[str, msgspec.Raw]) -> Violation | None:
    try:
        meta = jsonrpc.members(params["_meta"])
    except (KeyError, ValueError):
        return Violation(errors.INVALID_PARAMS, "params._meta is missing")
    for key, opening in ((VERSION_KEY, b'"'), (CAPABILITIES_KEY, b"{")):
        if bytes(meta.get(key, b""))[:1] != opening:
            return Violation(errors.INVALID_PARAMS, f"params._meta[{key!r}] is missing")
    return None


def _check_headers(
    request: Request, message: Message, params: dict[str, msgspec.Raw]
) -> Violation | None:
    for header in _ROUTING:
        if sum(name.lower() == header for name, _ in request.headers) > 1:
            return _mismatch(header, "is there more than once")
    wanted = [
        (_ROUTING[0], message.protocol_version),
        (_ROUTING[1], message.method),
    ]
    named_by = _NAMED_BY.get(message.method or "")
    if named_by is not None:
        wanted.append((_ROUTING[2], _text(params.get(named_by))))
    for header, value in wanted:
        given = request.header(header)
        if given is None:
            return _mismatch(header, "is missing")
        if value is None or decoded(given) != value:
            return _mismatch(header, "does not say what the body says")
    return None


def _check_version(message: Message) -> Violation | None:
    if message.protocol_version == MODERN:
        return None
    data = {"supported": [MODERN], "requested": message.protocol_version}
    return Violation(errors.UNSUPPORTED_VERSION, "this protocol version is not supported", data)


def _check_method(message: Message) -> Violation | None:
    if message.method != INITIALIZE:
        return None
    return Violation(errors.METHOD_NOT_FOUND, f"initialize is not a method of {MODERN}")


def _text(value: msgspec.Raw | None) -> str | None:
    try:
        return None if value is None else msgspec.json.decode(value, type=str)
    except msgspec.ValidationError:
        return None


def _mismatch(header: bytes, text: str) -> Violation:
    return Violation(errors.HEADER_MISMATCH, f"the header {header.decode()} {text}")

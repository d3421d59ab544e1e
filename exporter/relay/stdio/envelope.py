"""What a 2026-07-28 request must look like before a stdio child may see it.

A stdio server takes its protocol era from the first request that it reads, so one bad request
could lock it. The checks and codes are those of the specification's Streamable HTTP transport,
revision 2026-07-28: the headers must say what the body says.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import msgspec

from exporter.protocol import errors, jsonrpc
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
_ROUTING = _VERSION, _METHOD, _NAME = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")
_ENVELOPE = ((VERSION_KEY, b'"'), (CAPABILITIES_KEY, b"{"))
_NULL = msgspec.Raw(b"null")
_OF_ONE_REQUEST = frozenset({"progressToken", "traceparent", "tracestate", "baggage"})

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
    """Why a request is rejected."""

    code: int
    text: str
    data: object = None

    @property
    def status(self) -> int:
        """The HTTP status that goes with it."""
        return STATUS_OF_CODE.get(self.code, 200)


class ModernRequest:
    """A 2026-07-28 request whose JSON is taken apart once: checks and rewriting share the parts.

    Every member is raw, for what is not checked may be what only the server can read (1e400).
    """

    __slots__ = ("_members", "_meta", "_params", "http", "message")

    def __init__(self, http: Request, message: Message) -> None:
        self.http = http
        self.message = message
        self._members = _members_of(one_line(http.body))
        self._params = _members_of(self._members.get("params"))
        self._meta = _members_of(self._params.get("_meta"))

    @property
    def request_id(self) -> msgspec.Raw:
        """The client's id of it."""
        return self._members.get("id", _NULL)

    @property
    def progress_token(self) -> msgspec.Raw | None:
        """The client's token for progress, or ``None``."""
        return self._meta.get("progressToken")

    @property
    def arguments(self) -> msgspec.Raw | None:
        """The arguments of a call."""
        return self._params.get("arguments")

    def numbered(self, number: int, traceparent: str | None = None) -> bytes:
        """The request as the child sees it: with a number for its id and progress token, and
        with this trace context, where one is given."""
        raw = msgspec.Raw(b"%d" % number)
        members = {**self._members, "id": raw}
        own = {"progressToken": raw} if "progressToken" in self._meta else {}
        if traceparent is not None:
            own["traceparent"] = msgspec.Raw(msgspec.json.encode(traceparent))
        if own:
            meta = _raw({**self._meta, **own})
            members["params"] = _raw({**self._params, "_meta": meta})
        return msgspec.json.encode(members)

    def digest(self) -> bytes:
        """What requests have in common that ask for the same in the same words."""
        meta = {name: raw for name, raw in self._meta.items() if name not in _OF_ONE_REQUEST}
        params = {**self._params, "_meta": _raw(meta)}
        return sha256(msgspec.json.encode((self.message.method, params))).digest()

    def check(self) -> Violation | None:
        """The first thing that is wrong with it, or ``None``."""
        return (
            self._check_text()
            or self._check_envelope()
            or self._check_headers()
            or _check_version(self.message)
            or _check_method(self.message)
        )

    def _check_text(self) -> Violation | None:
        """Other clients share the child, and may lose it to text that is none."""
        try:
            self.http.body.decode()
        except UnicodeDecodeError:
            return Violation(errors.PARSE_ERROR, "the message is not UTF-8")
        return None

    def _check_envelope(self) -> Violation | None:
        if not self._meta:
            return Violation(errors.INVALID_PARAMS, "params._meta is missing")
        for key, opening in _ENVELOPE:
            if bytes(self._meta.get(key, b""))[:1] != opening:
                return Violation(errors.INVALID_PARAMS, f"params._meta[{key!r}] is missing")
        return None

    def _check_headers(self) -> Violation | None:
        http, message = self.http, self.message
        if len(http.names) < len(http.headers):
            for header in _ROUTING:
                if sum(name.lower() == header for name, _ in http.headers) > 1:
                    return _mismatch(header, "is there more than once")
        fault = _compare(http, _VERSION, message.protocol_version) or _compare(
            http, _METHOD, message.method
        )
        named_by = _NAMED_BY.get(message.method or "")
        if fault is None and named_by is not None:
            fault = _compare(http, _NAME, _text(self._params.get(named_by)))
        return fault


def one_line(body: bytes) -> bytes:
    """The message without line ends, which in JSON stand between tokens, and without a mark."""
    body = body.removeprefix(b"\xef\xbb\xbf")
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def _members_of(data: bytes | msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    if data is None:
        return {}
    try:
        return jsonrpc.members(data)
    except ValueError:
        return {}  # no object, or nested too deep


def _raw(members: dict[str, msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(members))


def _compare(http: Request, header: bytes, value: str | None) -> Violation | None:
    given = http.header(header)
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
    except jsonrpc.UNREADABLE:
        return None


def _mismatch(header: bytes, text: str) -> Violation:
    return Violation(errors.HEADER_MISMATCH, f"the header {header.decode()} {text}")

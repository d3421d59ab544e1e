"""Why the exporter itself rejects a request: a status, a JSON-RPC error, and a reason to count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from exporter.protocol import errors, jsonrpc
from exporter.relay.admission import Slots

_LATER = ((b"Retry-After", b"1"),)

_HTTP_TEXTS = {
    400: "this is not an HTTP/1.1 request",
    408: "the request did not arrive in time",
    413: "the request's body is larger than the limit (limits.request_bytes)",
    431: "the request's headers are larger than the limit (limits.header_bytes), or too many",
    501: "no transfer coding but chunked is understood here",
    505: "HTTP/1.1 is spoken here",
    503: "there are too many connections (limits.connections)",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request is not passed on."""

    status: int
    reason: str
    text: str
    code: int = errors.INVALID_REQUEST
    headers: tuple[tuple[bytes, bytes], ...] = ()


UNKNOWN_PATH = Rejection(
    404, "unknown_path", "there is nothing at this path; a server is at /NAME/mcp"
)
NO_METADATA = Rejection(
    404, "unknown_path", "the token is the exporter's own: there is no OAuth behind it"
)
METADATA_IS_READ = Rejection(405, "bad_method", "metadata is for GET alone")
FOREIGN = Rejection(
    403,
    "bad_origin",
    "the Host or Origin of this request is not allowed; --mcp.allowed-hosts and "
    "--mcp.allowed-origins name further ones",
)
UNAUTHORIZED = Rejection(
    401,
    "unauthorized",
    "this exporter wants a bearer token: send the header Authorization: Bearer TOKEN",
    headers=((b"WWW-Authenticate", b'Bearer realm="mcp-exporter"'),),
)


def of_http(status: int, reason: str) -> Rejection:
    """What broke the rules of HTTP or a limit."""
    if status == 401:
        return UNAUTHORIZED
    if status == 403:
        return FOREIGN
    is_busy = status == 503
    code = errors.CONNECTION_LOST if is_busy else errors.INVALID_REQUEST
    return Rejection(status, reason, _HTTP_TEXTS[status], code, _LATER if is_busy else ())


def of_body(body: bytes) -> Rejection:
    """Why a body is no message."""
    try:
        # Raw: to build a body of many small values would be slow.
        msgspec.json.decode(body, type=msgspec.Raw)
    except jsonrpc.UNREADABLE as error:
        text = f"the body is not JSON: {error}"
        return Rejection(400, "not_json", text, errors.PARSE_ERROR)
    return Rejection(400, "not_jsonrpc", "the body is not a JSON-RPC message")


def of_full(slots: Slots) -> Rejection:
    """A limit that is reached."""
    text = f"too much is in progress: limits.{slots.setting} is {slots.limit}; try again later"
    reason = f"too_many_{slots.setting.partition('_')[0]}"
    return Rejection(503, reason, text, errors.CONNECTION_LOST, _LATER)


def of_method(served: Iterable[bytes]) -> Rejection:
    """A method that a server does not take."""
    allowed = b", ".join(served)
    text = f"only {allowed.decode()} are served here"
    return Rejection(405, "bad_method", text, headers=((b"Allow", allowed),))


def of_name(name: str, known: Iterable[str]) -> Rejection:
    """A server that is not configured."""
    configured = ", ".join(known) or "none"
    text = f"there is no server {name!r}; configured are: {configured}"
    return Rejection(404, "unknown_server", text)

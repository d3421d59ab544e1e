"""The MCP listener: finds the server that a request is for, and refuses what it must.

``/{server}/mcp`` is a configured server. A refusal is a JSON-RPC error with the HTTP status of
the Streamable HTTP transport, and it is counted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit

import msgspec

from exporter.config.limits import Bounds
from exporter.protocol import errors, jsonrpc
from exporter.protocol.jsonrpc import Message
from exporter.protocol.spec import INITIALIZE, LISTEN
from exporter.relay.admission import Admission, Slots
from exporter.relay.oauth import WELL_KNOWN
from exporter.relay.tokens import Tokens
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.http.head import HeadRoute
from exporter.transport.http.request import Request

_PATH = re.compile(rb"/(.+)/(mcp|sse|message(?=/[0-9a-f]{32}$))(?:/[0-9a-f]{32})?")
_WELL_KNOWN = WELL_KNOWN.encode()

_HTTP_TEXTS = {
    400: "this is not an HTTP/1.1 request",
    408: "the request did not arrive in time",
    413: "the request's body is larger than the limit (limits.request_bytes)",
    431: "the request's headers are larger than the limit (limits.header_bytes)",
    503: "there are too many connections (limits.connections)",
}


class ServerHandler(Protocol):
    """A configured server, whatever its transport."""

    recorder: ServerRecorder
    places: frozenset[str]
    """What may follow its name in a path."""
    methods: tuple[bytes, ...]
    """The HTTP methods that it serves."""

    @property
    def session_count(self) -> int:
        """Live sessions."""

    @property
    def child_count(self) -> int:
        """Processes of sessions, those that are about to end included."""

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Serve one request; ``messages`` is what its body says."""

    def describe(self, request: Request) -> None:
        """Serve the server's OAuth metadata (RFC 9728)."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a request is not passed on."""

    status: int
    reason: str
    text: str
    code: int = errors.INVALID_REQUEST
    headers: tuple[tuple[bytes, bytes], ...] = ()


RefusalObserver = Callable[[None, str | None, str], None]


class Gateway:
    """The application behind the MCP listener."""

    def __init__(
        self,
        metrics: Metrics,
        is_loopback: bool,
        external_url: str | None = None,
        *,
        on_refused: RefusalObserver | None = None,
    ) -> None:
        """``on_refused`` is told of requests that were refused and were for no known server."""
        self._own_host = _origin_host((external_url or "").encode()) or None
        self._metrics = metrics
        self._is_loopback = is_loopback
        self._tokens: Tokens | None = None
        self.admission = Admission(Bounds())
        self._on_refused = on_refused
        self.upstreams: dict[str, ServerHandler] = {}
        self._known: dict[bytes, ServerHandler] = {}
        self._plan = object()

    @property
    def tokens(self) -> Tokens | None:
        """Whose bearer must be presented; ``None``: nobody's."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        self.forget_routes()

    def add(self, name: str, upstream: ServerHandler) -> None:
        """Serve a server under its name."""
        self.upstreams[name] = upstream
        self._known[b"/%b/mcp" % quote(name).encode()] = upstream
        self.forget_routes()

    def remove(self, name: str) -> None:
        """Serve it no more."""
        upstream = self.upstreams.pop(name, None)
        self.admission.forget(name)
        self._known = {path: known for path, known in self._known.items() if known is not upstream}
        self.forget_routes()

    def forget_routes(self) -> None:
        """What was found for a head may not be true any more."""
        self._plan = object()

    def handle(self, request: Request) -> None:
        """Relay a request, or say why not."""
        route = request.head.route if request.head is not None else None
        if route is not None and route.plan is self._plan:
            request.route = route
            request.headers = route.headers
            self._relay(request, route.upstream)
            return
        upstream = self._find(request.path)
        refused = self._check(request, upstream)
        if refused is not None or upstream is None:
            self._refuse(request, refused or _UNKNOWN_PATH, upstream, None)
        elif self.tokens is not None and request.method == b"OPTIONS":
            _answer_preflight(request)
        else:
            self._admit(request, upstream)

    def _admit(self, request: Request, upstream: ServerHandler) -> None:
        if self.tokens is not None:
            # It is the exporter's own: no server may learn it.
            request.headers = [f for f in request.headers if f[0].lower() != b"authorization"]
        if request.path.startswith(_WELL_KNOWN):
            upstream.describe(request)
        elif request.method != b"POST":
            self._pass_on(request, upstream, ())
        else:
            if request.head is not None:
                route = HeadRoute(self._plan, upstream, request.headers)
                request.head.route = request.route = route
            self._relay(request, upstream)

    def _relay(self, request: Request, upstream: ServerHandler) -> None:
        messages = self._read(request)
        if messages is None:
            self._refuse(request, _explain(request.body), upstream, None)
        else:
            self._pass_on(request, upstream, messages)

    def _pass_on(
        self, request: Request, upstream: ServerHandler, messages: Sequence[Message]
    ) -> None:
        gates = self.admission.of(upstream.recorder.name)
        method = messages[0].method if messages else None
        is_stream = request.method == b"GET" or method == LISTEN
        gate = gates.streams if is_stream else gates.requests
        full = gate.enter()
        if full is None and method == INITIALIZE:
            full = self._lack_of_room(upstream)
            if full is not None:
                gate.leave()
        if full is None:
            request.lease = gate
            upstream.handle(request, messages)
        else:
            message = messages[0] if messages else None
            self._refuse(request, _crowded(full), upstream, message)

    def screen(self, request: Request) -> tuple[int, str] | None:
        """Whether a stranger is about to send a large body, which then is not waited for."""
        refused = self._check_sender(request)
        return None if refused is None else (refused.status, refused.reason)

    def _lack_of_room(self, upstream: ServerHandler) -> Slots | None:
        """What of a new session's needs is used up."""
        bounds = self.admission.bounds
        if upstream.session_count >= bounds.sessions_per_server:
            return Slots("sessions_per_server", bounds.sessions_per_server)
        if upstream.child_count >= bounds.children_per_server:
            return Slots("children_per_server", bounds.children_per_server)
        return None

    def refuse(self, request: Request, status: int, reason: str) -> None:
        """Answer what broke the rules of HTTP or a limit."""
        upstream = self._find(request.path)
        if status in (401, 403):
            stranger = _UNAUTHORIZED if status == 401 else _FOREIGN
            self._refuse(request, stranger, upstream, None)
            return
        is_busy = status == 503
        code = errors.CONNECTION_LOST if is_busy else errors.INVALID_REQUEST
        headers = _LATER if is_busy else ()
        refused = Rejection(status, reason, _HTTP_TEXTS[status], code, headers)
        self._refuse(request, refused, upstream, None)

    def _find(self, path: bytes) -> ServerHandler | None:
        found = self._known.get(path)
        if found is not None:
            return found
        located = _locate(path)
        upstream = self.upstreams.get(located[0]) if located else None
        if upstream is None or located is None or located[1] not in upstream.places:
            return None
        return upstream

    def _check(self, request: Request, upstream: ServerHandler | None) -> Rejection | None:
        refused = self._check_sender(request)
        if refused is not None:
            return refused
        located = _locate(request.path) if upstream is None else None
        if located is not None and located[0] in self.upstreams:
            return Rejection(404, "unknown_path", f"server {located[0]!r} is at /NAME/mcp alone")
        if upstream is None:
            if located is None:
                return _UNKNOWN_PATH
            name = located[0]
            known = ", ".join(self.upstreams) or "none"
            text = f"there is no server {name!r}; configured are: {known}"
            return Rejection(404, "unknown_server", text)
        if request.path.startswith(_WELL_KNOWN) and request.method != b"GET":
            return Rejection(405, "bad_method", "metadata is for GET alone")
        if request.path.startswith(_WELL_KNOWN) and self.tokens is not None:
            return _NO_METADATA
        if request.method not in upstream.methods:
            served = b", ".join(upstream.methods).decode()
            return Rejection(405, "bad_method", f"only {served} are served here")
        return None

    def _check_sender(self, request: Request) -> Rejection | None:
        if not self._is_from_here(request):
            return _FOREIGN
        if self.tokens is not None and not self._is_admitted(request, self.tokens):
            return _UNAUTHORIZED
        return None

    def _read(self, request: Request) -> tuple[Message, ...] | None:
        if request.header(b"content-encoding") is not None:
            return ()  # compressed: relayed, but not understood
        return jsonrpc.read_all(request.body)

    def _is_from_here(self, request: Request) -> bool:
        """Whether no foreign web page is behind it (DNS rebinding).

        A listener on loopback is only ever addressed by a loopback name; elsewhere a browser's
        Origin must be the very host that it talks to. A reverse proxy's name is allowed where the
        external URL has it.
        """
        host = request.header(b"host")
        origin = request.header(b"origin")
        if self._is_loopback and host is not None and not self._names_us(host):
            return False
        if origin is None:
            return True
        source = _origin_host(origin)
        if self._is_loopback:
            return _is_loopback_name(source) or source == self._own_host
        return host is not None and source == _host_of(host)

    def _names_us(self, host: bytes) -> bool:
        return _names_loopback(host) or _host_of(host) == self._own_host

    @staticmethod
    def _is_admitted(request: Request, tokens: Tokens) -> bool:
        """Whether it bears a token; browsers ask without one whether they may send it."""
        if request.method == b"OPTIONS" and request.header(b"access-control-request-method"):
            return True
        return tokens.holder(request.header(b"authorization")) is not None

    def _refuse(
        self,
        request: Request,
        refused: Rejection,
        upstream: ServerHandler | None,
        message: Message | None,
    ) -> None:
        method = message.method if message else None
        if upstream is None:
            self._metrics.rejected(method, refused.reason)
            if self._on_refused is not None:
                self._on_refused(None, method, refused.reason)
        else:
            upstream.recorder.rejected(method, refused.reason)
        identity = message.id if message is not None else None
        reply = errors.error(refused.code, refused.text, identity)
        headers = list(refused.headers)
        if refused.status == 405 and upstream is not None:
            headers.append((b"Allow", b", ".join(upstream.methods)))
        request.respond(refused.status, reply, errors.JSON, headers)


_LATER = ((b"Retry-After", b"1"),)
_UNKNOWN_PATH = Rejection(
    404, "unknown_path", "there is nothing at this path; a server is at /NAME/mcp"
)


_UNAUTHORIZED = Rejection(
    401,
    "unauthorized",
    "this exporter wants a bearer token: send the header Authorization: Bearer TOKEN",
    headers=((b"WWW-Authenticate", b'Bearer realm="mcp-exporter"'),),
)
_FOREIGN = Rejection(403, "bad_origin", "the Host or Origin of this request is not allowed")
_NO_METADATA = Rejection(
    404, "unknown_path", "the token is the exporter's own: there is no OAuth behind it"
)


def _crowded(room: Slots) -> Rejection:
    text = f"too much is under way: limits.{room.setting} is {room.limit}; try again later"
    reason = f"too_many_{room.setting.partition('_')[0]}"
    return Rejection(503, reason, text, errors.CONNECTION_LOST, _LATER)


def _answer_preflight(request: Request) -> None:
    """Tell a browser what it may send (CORS). The server is not asked: nobody has a token yet.
    Whether the page may read the reply is for the server to say, in its reply."""
    fields = [
        (b"Access-Control-Allow-Origin", request.header(b"origin") or b"null"),
        (b"Access-Control-Allow-Methods", b"POST, GET, DELETE"),
        (
            b"Access-Control-Allow-Headers",
            request.header(b"access-control-request-headers") or b"Authorization",
        ),
        (b"Vary", b"Origin, Access-Control-Request-Headers"),
    ]
    request.respond(204, b"", b"", fields)


def _locate(path: bytes) -> tuple[str, str] | None:
    """The server's name and the place there: ``mcp``, ``sse`` or ``message``."""
    match = _PATH.fullmatch(path.removeprefix(_WELL_KNOWN))
    if match is None:
        return None
    try:
        return unquote(match[1].decode("ascii"), errors="strict"), match[2].decode()
    except UnicodeDecodeError:
        return None


def _explain(body: bytes) -> Rejection:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = f"the body is not JSON: {error}"
        return Rejection(400, "not_json", text, errors.PARSE_ERROR)
    return Rejection(400, "not_jsonrpc", "the body is not a JSON-RPC message")


def _host_of(value: bytes) -> str:
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        return text.partition("]")[0][1:]
    return text.partition(":")[0]


def _origin_host(origin: bytes) -> str:
    try:
        return (urlsplit(origin.decode("latin-1")).hostname or "").lower()
    except ValueError:
        return ""


@lru_cache(maxsize=64)
def _names_loopback(host: bytes) -> bool:
    """Kept, for it is asked with every request; bounded, for the values are the clients'."""
    return _is_loopback_name(_host_of(host))


def _is_loopback_name(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

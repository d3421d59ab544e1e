"""The MCP listener: finds the server that a request is for, and rejects what it must.

``/{server}/mcp`` is a configured server. A rejection is a JSON-RPC error with the HTTP status of
the Streamable HTTP transport, and it is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from exporter.config.limits import Bounds
from exporter.protocol import errors, jsonrpc
from exporter.protocol.jsonrpc import Message
from exporter.protocol.spec import INITIALIZE, LISTEN
from exporter.relay import cors, rejection
from exporter.relay.admission import Admission, SlotPair, Slots
from exporter.relay.rejection import Rejection
from exporter.relay.routes import Routes, is_discovery, is_metadata, locate
from exporter.relay.tokens import Tokens
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.http.head import HeadRoute
from exporter.transport.http.origin import LOCAL, OriginPolicy
from exporter.transport.http.request import Request


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

    def end_idle_session(self) -> bool:
        """End the session that is idle longest, for a new one; return whether there was one."""

    def free_child(self) -> bool:
        """Have a child end for that of a new session; return whether there was one."""

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Serve one request; ``messages`` is what its body says."""

    def describe(self, request: Request) -> None:
        """Serve the server's OAuth metadata (RFC 9728)."""


class RejectionObserver(Protocol):
    """What is told of requests that no server saw."""

    def rejected(self, method: str | None, reason: str) -> None:
        """A request was rejected, and was for no known server."""

    def count_rejection(self, reason: str) -> None:
        """A connection was cut in the middle of a response."""


class Gateway:
    """The application behind the MCP listener."""

    def __init__(self, observer: RejectionObserver, origins: OriginPolicy = LOCAL) -> None:
        self._observer = observer
        self._origins = origins
        self._tokens: Tokens | None = None
        self.admission = Admission(Bounds())
        self._routes: Routes[ServerHandler] = Routes()
        self._plan = object()

    @property
    def tokens(self) -> Tokens | None:
        """One of these must be presented; ``None``: no token is demanded."""
        return self._tokens

    @tokens.setter
    def tokens(self, tokens: Tokens | None) -> None:
        self._tokens = tokens
        self.forget_routes()

    def add(self, name: str, upstream: ServerHandler) -> None:
        """Serve a server under its name."""
        self._routes.add(name, upstream)
        self.forget_routes()

    def remove(self, name: str) -> None:
        """Serve it no more."""
        self._routes.remove(name)
        self.admission.forget(name)
        self.forget_routes()

    def forget_routes(self) -> None:
        """What was found for a head may not be true any more."""
        self._plan = object()

    # The application of the listener

    def admits(self, transport: asyncio.BaseTransport) -> bool:  # noqa: ARG002
        """Every connection may stay: TLS has seen to certificates."""
        return True

    def screen(self, request: Request) -> tuple[int, str] | None:
        """Whether to reject a request before its large body is received."""
        if not self._origins.allows(request):
            return rejection.FOREIGN.status, rejection.FOREIGN.reason
        if not self._is_admitted(request):
            return rejection.UNAUTHORIZED.status, rejection.UNAUTHORIZED.reason
        return None

    def reject(self, request: Request, status: int, reason: str) -> None:
        """Respond to what broke the rules of HTTP or a limit."""
        if self._origins.allows(request):
            request.response.extra_headers = cors.response_headers(request)
        upstream = self._routes.find(request.path)
        self._reject(request, rejection.of_http(status, reason), upstream, None)

    def cut(self, reason: str) -> None:
        """Count a connection that was cut in the middle of a response."""
        self._observer.count_rejection(reason)

    def handle(self, request: Request) -> None:
        """Relay a request, or say why not."""
        head = request.head
        if head is not None and (route := head.route) is not None and route.plan is self._plan:
            request.headers = route.headers
            request.response.extra_headers = route.extra_headers
            self._relay(request, route)
            return
        if not self._origins.allows(request):
            upstream = self._routes.find(request.path)
            self._reject(request, rejection.FOREIGN, upstream, None)
            return
        request.response.extra_headers = cors.response_headers(request)
        if cors.is_preflight(request) and self._answers_preflight(request.path):
            cors.answer_preflight(request)
        else:
            self._route(request)

    def _answers_preflight(self, path: bytes) -> bool:
        """Whether the exporter answers itself: with tokens always, so that strangers cannot tell
        which servers there are, and for servers that cannot."""
        upstream = self._routes.find(path) if self._tokens is None else None
        return upstream is None or b"OPTIONS" not in upstream.methods

    def _route(self, request: Request) -> None:
        upstream = self._routes.find(request.path)
        rejected = self._check(request, upstream)
        if rejected is not None or upstream is None:
            self._reject(request, rejected or rejection.UNKNOWN_PATH, upstream, None)
        else:
            self._admit(request, upstream)

    def _admit(self, request: Request, upstream: ServerHandler) -> None:
        if self.tokens is not None:
            # It is the exporter's own: no server may learn it.
            request.headers = [f for f in request.headers if f[0].lower() != b"authorization"]
        slots = self.admission.of(upstream.recorder.name)
        route = HeadRoute(
            self._plan,
            upstream,
            slots,
            request.headers,
            request.response.extra_headers,
            is_encoded=_is_encoded(request),
        )
        if is_metadata(request.path):
            self._describe(request, upstream, slots.requests)
        elif request.method != b"POST":
            self._pass_on(request, route, ())
        else:
            if request.head is not None:
                request.head.route = route
            self._relay(request, route)

    def _describe(self, request: Request, upstream: ServerHandler, slots: SlotPair) -> None:
        """Serve a server's metadata, which takes a slot like any other request."""
        full = slots.acquire()
        if full is None:
            request.response.slot = slots
            upstream.describe(request)
        else:
            self._reject(request, rejection.of_full(full), upstream, None)

    def _relay(self, request: Request, route: HeadRoute) -> None:
        # What is compressed is relayed, but not understood.
        messages = () if route.is_encoded else jsonrpc.read_all(request.body)
        if messages is None:
            self._reject(request, rejection.of_body(request.body), route.upstream, None)
        else:
            self._pass_on(request, route, messages)

    def _pass_on(self, request: Request, route: HeadRoute, messages: Sequence[Message]) -> None:
        request.route, upstream = route, route.upstream
        method = messages[0].method if messages else None
        is_stream = request.method == b"GET" or method == LISTEN
        slots = route.slots.streams if is_stream else route.slots.requests
        full = slots.acquire()
        if full is None and method == INITIALIZE:
            full = self._full_for_session(upstream)
            if full is not None:
                slots.release()
        if full is None:
            request.response.slot = slots
            upstream.handle(request, messages)
        else:
            message = messages[0] if messages else None
            self._reject(request, rejection.of_full(full), upstream, message)

    def _full_for_session(self, upstream: ServerHandler) -> Slots | None:
        """What of a new session's needs is used up."""
        bounds = self.admission.bounds
        if upstream.session_count >= bounds.sessions_per_server:
            full = Slots("sessions_per_server", bounds.sessions_per_server)
            return None if upstream.end_idle_session() else full
        if upstream.child_count >= bounds.children_per_server:
            full = Slots("children_per_server", bounds.children_per_server)
            return None if upstream.free_child() else full
        return None

    def _check(self, request: Request, upstream: ServerHandler | None) -> Rejection | None:
        if not self._is_admitted(request):
            return rejection.UNAUTHORIZED
        if upstream is None:
            return self._unknown(request.path)
        if is_metadata(request.path):
            if request.method != b"GET":
                return rejection.METADATA_IS_READ
            return rejection.NO_METADATA if self.tokens is not None else None
        if request.method not in upstream.methods:
            return rejection.of_method(upstream.methods)
        return None

    def _unknown(self, path: bytes) -> Rejection:
        located = locate(path)
        if located is None:
            return rejection.UNKNOWN_PATH
        if located[0] in self._routes.servers:
            text = f"server {located[0]!r} is at /NAME/mcp alone"
            return Rejection(404, "unknown_path", text)
        return rejection.of_name(located[0], self._routes.servers)

    def _is_admitted(self, request: Request) -> bool:
        tokens = self._tokens
        return tokens is None or tokens.holder(request.header(b"authorization")) is not None

    def _reject(
        self,
        request: Request,
        rejected: Rejection,
        upstream: ServerHandler | None,
        message: Message | None,
    ) -> None:
        method = message.method if message else None
        reason = "discovery" if _looks_around(request, rejected) else rejected.reason
        if upstream is None:
            self._observer.rejected(method, reason)
        else:
            upstream.recorder.rejected(method, reason)
        identity = message.id if message is not None else None
        reply = errors.error(rejected.code, rejected.text, identity)
        request.respond(rejected.status, reply, errors.JSON, list(rejected.headers))


def _looks_around(request: Request, rejected: Rejection) -> bool:
    """Whether a client was told that there is nothing for it where it looked first."""
    return rejected.status in (401, 404) and is_discovery(request.path)


def _is_encoded(request: Request) -> bool:
    """Whether the body is compressed, or in another way not what it says."""
    coding = request.header(b"content-encoding") or b""
    return coding.strip().lower() not in (b"", b"identity")

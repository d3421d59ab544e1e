"""Relays to a server that speaks Streamable HTTP: bytes both ways, a copy for observation.

Requests go up as they came, but for the headers that belong to one connection (RFC 9110,
section 7.6.1) and those that the configuration sets. Replies come down in the pieces and at
the pace in which the server sends them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic

from exporter.config.model import Limits, Server
from exporter.protocol import jsonrpc
from exporter.protocol.jsonrpc import ENCODED, Message
from exporter.relay.http.awaited import AwaitedReplies
from exporter.relay.http.metadata import MOST_SECONDS, MetadataRelay
from exporter.relay.http.relay import Relay
from exporter.relay.http.reply_reader import EventBudget
from exporter.relay.http.sessions import HttpSession, HttpSessions
from exporter.relay.oauth import OwnUrl, ProtectedResource
from exporter.telemetry.observer import Observer
from exporter.transport.deadlines import Deadlines, deadlines_of
from exporter.transport.http.connector import connector_of
from exporter.transport.http.head import named_hops, with_traceparent
from exporter.transport.http.inflate import inflated
from exporter.transport.http.pool import Pool
from exporter.transport.http.request import Request
from exporter.transport.http.upstream_headers import NOT_UP, configured, readable

_SWEEP = 1.0


class HttpUpstream:
    """One configured HTTP server."""

    places = frozenset({"mcp"})
    # Browsers ask with OPTIONS first.
    methods: tuple[bytes, ...] = (b"POST", b"GET", b"DELETE", b"OPTIONS")
    replies_elsewhere = False

    def __init__(
        self,
        server: Server,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        own_url: OwnUrl,
    ) -> None:
        self.observer = observer
        self.recorder = observer.recorder
        self.observed_bytes = limits.observed_bytes
        self.budget = EventBudget()
        self.timeout = server.timeout
        self.deadlines = deadlines_of(server.timeout, Relay.expire, loop)
        self.awaited = AwaitedReplies(server.timeout, observer, loop)
        self.pool = Pool(server.url or "", loop, connector_of(server))
        self.sessions = HttpSessions(
            observer.recorder,
            server.timeout.longest,
            server.idle_timeout,
            limits.sessions_per_server,
        )
        self.name = server.name
        self._own_url = own_url
        self.resource = ProtectedResource(server.url or "")
        self._own_headers = configured(server)
        self._names_host = any(name.lower() == b"host" for name, _ in self._own_headers)
        self._not_up = NOT_UP | {name.lower() for name, _ in self._own_headers}
        self.relays: set[Relay] = set()
        self._metadata: set[MetadataRelay] = set()
        seconds = min(server.timeout.seconds or MOST_SECONDS, MOST_SECONDS)
        self.metadata_deadlines = Deadlines(seconds, MetadataRelay.expire, loop)
        self._loop = loop
        self._sweeper = loop.call_later(_SWEEP, self._sweep)

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Relay one POST, GET or DELETE."""
        if request.method == b"POST" and not messages:
            messages = self._unpacked(request)
        relay = Relay(self, request, messages)
        payload = self._encode(request)
        request.body = b""  # it is on its way: once is enough to hold it
        relay.send(payload)

    def describe(self, request: Request) -> None:
        """Relay the server's protected-resource metadata (RFC 9728)."""
        relay = MetadataRelay(self, request, self._own_url.of(request))
        self._metadata.add(relay)
        relay.send(monotonic())

    def rewrite_challenge(self, value: bytes, request: Request) -> bytes:
        """A ``WWW-Authenticate`` as the client must see it."""
        own = self._own_url.metadata_of(request).encode()
        return self.resource.rewrite_challenge(value, own)

    def session_of(self, request: Request, messages: Sequence[Message]) -> HttpSession | None:  # noqa: ARG002
        """The session that the request names, where it is known; a DELETE ends it."""
        session_id = request.header(b"mcp-session-id")
        if session_id is None or request.method == b"DELETE":
            return None
        return self.sessions.find(session_id, request.received)

    def described(self, relay: MetadataRelay) -> None:
        """A request for metadata is over."""
        self._metadata.discard(relay)

    @property
    def is_busy(self) -> bool:
        """Whether requests are in flight."""
        return bool(self.relays or self._metadata)

    @property
    def session_count(self) -> int:
        """Live sessions."""
        return len(self.sessions)

    def end_idle_session(self) -> bool:
        """Sessions are the server's: none is ended here."""
        return False

    def free_child(self) -> bool:
        """There are no children here."""
        return False

    @property
    def child_count(self) -> int:
        """It has none."""
        return 0

    def drain(self) -> None:
        """End the streams that would otherwise stay open: no reply is due on them."""
        for relay in list(self.relays):
            relay.end_if_standing()

    async def close(self) -> None:
        """Abort every pending request."""
        self._sweeper.cancel()
        self.deadlines.close()
        self.awaited.close()
        self.metadata_deadlines.close()
        under_way: list[Relay | MetadataRelay] = [*self.relays, *self._metadata]
        for relay in under_way:
            relay.give_up("is given up: the exporter is stopping")
        self.sessions.close(monotonic())
        self.pool.close()

    def _unpacked(self, request: Request) -> Sequence[Message]:
        """What a compressed request says; it is one request even where that cannot be read."""
        coding = (request.header(b"content-encoding") or b"").strip().lower()
        body = inflated(coding, request.body, self.observed_bytes)
        messages = jsonrpc.read_all(body) if body is not None else None
        if messages is None:
            self.recorder.unparsed("encoded")
        return messages or (ENCODED,)

    def _target(self, request: Request) -> bytes:
        target = self.pool.target
        if request.query:
            target += (b"&" if b"?" in target else b"?") + request.query
        return target

    def _encode(self, request: Request) -> bytes:
        route = request.route
        if route is None:
            return self._onward(request) + request.body
        onward = route.onward
        if onward is None:
            onward = route.onward = self._onward(request)
        if request.traceparent is not None:
            onward = with_traceparent(onward, request.traceparent)
        return onward + request.body

    def _onward(self, request: Request) -> bytes:
        """The head as the server gets it."""
        lines = [b"%b %b HTTP/1.1" % (request.method, self._target(request))]
        if not self._names_host:
            lines.append(b"Host: " + self.pool.authority)
        unwanted = self._not_up | named_hops(request.headers)
        lines += [
            b"%b: %b" % field for field in request.headers if field[0].lower() not in unwanted
        ]
        lines += [b"%b: %b" % field for field in self._own_headers]
        accepted = self._accept_encoding(request)
        if accepted is not None:
            lines.append(b"Accept-Encoding: " + accepted)
        if request.body or request.method == b"POST":
            lines.append(b"Content-Length: %d" % len(request.body))
        lines.append(b"\r\n")
        return b"\r\n".join(lines)

    def _accept_encoding(self, request: Request) -> bytes | None:
        accepted = request.header(b"accept-encoding")
        return None if accepted is None else readable(accepted)

    def _sweep(self) -> None:
        self.pool.turn.spread(self.sessions.expire(monotonic()))
        self.awaited.sweep()
        self.pool.close_stale()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)

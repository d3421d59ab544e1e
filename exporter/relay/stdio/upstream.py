"""Serves a stdio server over Streamable HTTP: sessions with a child each, one child for the rest.

Which era a request belongs to decides which child may see it: a stdio server fixes its era with
the first request that it reads, and refuses the other one from then on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from time import monotonic

from msgspec import UNSET

from exporter.config.model import Server
from exporter.protocol import errors
from exporter.protocol.jsonrpc import Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import DISCOVER, INITIALIZE, is_modern
from exporter.relay.stdio import envelope
from exporter.relay.stdio.envelope import Violation
from exporter.relay.stdio.param_headers import ParamHeaders
from exporter.relay.stdio.session import StdioSession
from exporter.relay.stdio.shared import SharedChild
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.transport.http.request import Request
from exporter.transport.process.child import Child, ChildOwner, ProcessObserver
from exporter.transport.process.reaper import Reaper

_SWEEP = 1.0
_DISCOVER_MEMORY = 60.0

log = logging.getLogger(__name__)


class StdioUpstream:
    """One configured stdio server."""

    places = frozenset({"mcp"})
    methods: tuple[bytes, ...] = (b"POST", b"GET", b"DELETE")

    def __init__(
        self,
        server: Server,
        observer: Observer,
        ledger: ProcessObserver,
        reaper: Reaper,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.recorder = observer.recorder
        self._server = server
        self._observer = observer
        self._ledger = ledger
        self._param_headers = ParamHeaders()
        observer.recorder.on_listed = self._param_headers.learn
        self._reaper = reaper
        self._loop = loop
        self._sessions: dict[bytes, StdioSession] = {}
        self._shared: SharedChild | None = None
        self._backoff = Backoff()
        self._stopping: set[asyncio.Task[None]] = set()
        self._refused_discover: tuple[float, int] | None = None
        self._sweeper = loop.call_later(_SWEEP, self._sweep)

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Serve one POST, GET or DELETE."""
        first = messages[0] if messages else None
        version = first.protocol_version if first is not None else None
        if is_modern(request.header(b"mcp-protocol-version"), version):
            self._handle_modern(request, messages)
        elif request.method == b"POST":
            self._handle_post(request, messages)
        else:
            self._handle_other(request)

    def describe(self, request: Request) -> None:
        """A child process asks nobody for a token: there is no such metadata."""
        text = f"server {self._server.name!r} is not protected by OAuth"
        reply = errors.error(errors.INVALID_REQUEST, text)
        request.respond(404, reply, errors.JSON)

    @property
    def is_busy(self) -> bool:
        """Whether requests are in flight."""
        sessions = any(not session.is_idle for session in self._sessions.values())
        return sessions or (self._shared is not None and not self._shared.is_idle)

    @property
    def session_count(self) -> int:
        """Live sessions."""
        return len(self._sessions)

    @property
    def child_count(self) -> int:
        """Processes of sessions, those that are about to end included."""
        return len(self._sessions) + len(self._stopping)

    def drain(self) -> None:
        """End the streams that would otherwise stay open: no reply is due on them."""
        for session in list(self._sessions.values()):
            session.end_stream()
        if self._shared is not None:
            self._shared.end_streams()

    async def close(self) -> None:
        """End every session and child."""
        self._sweeper.cancel()
        for session in list(self._sessions.values()):
            session.end(Outcome.UPSTREAM_ERROR, "the exporter is stopping")
        if self._shared is not None:
            self._shared.end(Outcome.UPSTREAM_ERROR, "the exporter is stopping")
        if self._stopping:
            await asyncio.wait(self._stopping)

    # 2025-11-25 and older

    def _handle_post(self, request: Request, messages: Sequence[Message]) -> None:
        if not messages or not all(_is_whole(message) for message in messages):
            self._refuse(request, 400, errors.INVALID_REQUEST, "this is not a JSON-RPC message")
            return
        session_id = request.header(b"mcp-session-id")
        if session_id is None and messages[0].is_request and messages[0].method == INITIALIZE:
            self._open_session(request, messages)
            return
        session = self._session(request, messages[0])
        if session is not None and not self._is_clogged(session.child, request, messages[0]):
            session.post(request, messages)

    def _handle_other(self, request: Request) -> None:
        session = self._session(request, None)
        if session is None:
            return
        if request.method == b"GET":
            session.listen(request)
        else:
            session.end(Outcome.CLIENT_GONE, "the client ended the session")
            request.respond(200, b"", b"")

    def _session(self, request: Request, message: Message | None) -> StdioSession | None:
        session_id = request.header(b"mcp-session-id")
        if session_id is None:
            text = "the header Mcp-Session-Id is missing; begin with initialize"
            self._refuse(request, 400, errors.INVALID_REQUEST, text, message)
            return None
        session = self._sessions.get(session_id)
        if session is None:
            text = "there is no such session (any more); begin with initialize"
            reason = "unknown_session"
            self._refuse(request, 404, errors.INVALID_REQUEST, text, message, reason)
        return session

    def _open_session(self, request: Request, messages: Sequence[Message]) -> None:
        if self._is_backing_off(request, messages[0]):
            return
        session_id = secrets.token_hex(16).encode()
        session = StdioSession(session_id, self._observer, self._server.timeout, self._ended)
        self._sessions[session_id] = session
        params = messages[0].params
        client = params.client_info.name if params and params.client_info else None
        self.recorder.session_started(client, params.protocol_version if params else None)
        session.child = self._new_child(session, "session")
        session.post(request, messages)

    def _ended(self, session: StdioSession) -> None:
        self._sessions.pop(session.session_id, None)
        self.recorder.session_ended(monotonic() - session.started)
        self._settle_child(session.child, session.is_initialized, session.has_failed)

    # 2026-07-28

    def _handle_modern(self, request: Request, messages: Sequence[Message]) -> None:
        if request.method != b"POST":
            self.recorder.rejected(None, "bad_method")
            reply = errors.error(errors.INVALID_REQUEST, "only POST is served at this version")
            request.respond(405, reply, errors.JSON, [(b"Allow", b"POST")])
            return
        if len(messages) != 1 or not messages[0].method or request.body.lstrip()[:1] != b"{":
            self._refuse(request, 400, errors.INVALID_REQUEST, "this is not one request")
            return
        message = messages[0]
        if message.is_notification:
            # A request is cancelled by closing its stream; nothing else is told a server here.
            self._observer.recorder.notified(message.method, to_server=True)
            request.respond(202, b"", b"")
            return
        violation = envelope.check(request, message) or self._check_params(request, message)
        if violation is not None:
            self.recorder.rejected(message.method, "bad_envelope")
            reply = errors.error(violation.code, violation.text, _id(message), violation.data)
            request.respond(violation.status, reply, errors.JSON)
            return
        self._post_shared(request, message)

    def _check_params(self, request: Request, message: Message) -> Violation | None:
        fault = self._param_headers.check(request, message.tool)
        return Violation(errors.HEADER_MISMATCH, fault) if fault else None

    def _post_shared(self, request: Request, message: Message) -> None:
        if message.method == DISCOVER and self._is_legacy_only(request, message):
            return
        if self._shared is None:
            if self._is_backing_off(request, message):
                return
            self._shared = SharedChild(self._observer, self._server.timeout, self._shared_ended)
            self._shared.child = self._new_child(self._shared, "shared")
        if not self._is_clogged(self._shared.child, request, message):
            self._shared.post(request, message)

    def _shared_ended(self, shared: SharedChild, text: str) -> None:
        log.debug("shared child ended: %s", text, extra={"server": self._server.name})
        if self._shared is shared:
            self._shared = None
        if shared.refused_discover is not None:
            self._refused_discover = monotonic(), shared.refused_discover
        self._settle_child(shared.child, shared.is_useful, shared.has_failed)

    def _is_legacy_only(self, request: Request, message: Message) -> bool:
        """Answer ``server/discover`` as the server did, without a child started just for that."""
        if self._refused_discover is None:
            return False
        when, code = self._refused_discover
        if monotonic() - when > _DISCOVER_MEMORY:
            self._refused_discover = None
            return False
        exchange = Exchange(self.recorder)
        size = len(request.body)
        begun = self._observer.client_sent(exchange, [message], size, request.received)
        reply = errors.error(code, f"{DISCOVER}: the server refused this before", _id(message))
        self._observer.settle(exchange, begun or (), Outcome.PROTOCOL_ERROR, monotonic())
        request.respond(envelope.STATUS_OF_CODE.get(code, 200), reply, errors.JSON)
        return True

    # Children

    def _new_child(self, owner: ChildOwner, use: str) -> Child:
        return Child(self._server, owner, self._ledger, self._reaper, use)

    def _settle_child(self, child: Child | None, was_useful: bool, has_failed: bool) -> None:
        if child is None:
            return
        if was_useful or has_failed:  # else its client left before anything could be said
            self._backoff.ended(was_useful, monotonic())
        task = child.stop()
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    def _is_clogged(self, child: Child | None, request: Request, message: Message) -> bool:
        if child is None or not child.is_clogged:
            return False
        text = f"server {self._server.name!r} does not read what it is sent"
        self._refuse(request, 503, errors.CONNECTION_LOST, text, message, "server_not_reading")
        return True

    def _is_backing_off(self, request: Request, message: Message) -> bool:
        wait = self._backoff.remaining(monotonic())
        if wait <= 0:
            return False
        text = f"server {self._server.name!r} keeps failing at start; next try in {wait:.0f} s"
        exchange = Exchange(self.recorder)
        self._observer.client_sent(exchange, [message], len(request.body), request.received)
        self._observer.abandon(exchange, Outcome.UPSTREAM_ERROR, monotonic())
        reply = errors.error(errors.CONNECTION_LOST, text, _id(message))
        request.respond(503, reply, errors.JSON, [(b"Retry-After", b"%d" % (wait + 1))])
        return True

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        if not self._server.idle_timeout:
            return
        oldest = monotonic() - self._server.idle_timeout
        for session in list(self._sessions.values()):
            if session.is_idle and session.last_used < oldest:
                session.end(Outcome.CLIENT_GONE, "the session was idle")
        if self._shared and self._shared.is_idle and self._shared.last_used < oldest:
            self._shared.end(Outcome.CLIENT_GONE, "it was idle")

    def _refuse(
        self,
        request: Request,
        status: int,
        code: int,
        text: str,
        message: Message | None = None,
        reason: str = "bad_request",
    ) -> None:
        self.recorder.rejected(message.method if message else None, reason)
        reply = errors.error(code, text, _id(message) if message else None)
        request.respond(status, reply, errors.JSON)


class Backoff:
    """When a child may be started again that keeps failing before it was of any use."""

    FIRST = 1.0
    LONGEST = 30.0

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    def ended(self, was_useful: bool, now: float) -> None:
        """A child is gone."""
        if was_useful:
            self._failures = 0
            return
        self._failures += 1
        if self._failures > 1:  # once may be chance: the next request tries at once
            self._until = now + min(self.LONGEST, self.FIRST * 2 ** min(self._failures - 2, 10))

    def remaining(self, now: float) -> float:
        """Seconds until the next start."""
        return max(0.0, self._until - now)


def _is_whole(message: Message) -> bool:
    return message.method is not None or message.is_reply


def _id(message: Message) -> Id:
    return None if message.id is UNSET else message.id

"""One request on its way up to an HTTP server, and its reply on its way down.

Bytes first: each piece goes to the client before its copy is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Protocol

from msgspec import UNSET, UnsetType

from exporter.config.limits import Timeout
from exporter.protocol import errors
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import ENCODED, Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import INITIALIZE, UNTIMED, is_modern
from exporter.relay.http.awaited import AwaitedReplies
from exporter.relay.http.reply_reader import EventBudget, ReplyReader, reader_of
from exporter.relay.http.sessions import HttpSession, HttpSessions
from exporter.telemetry.exchange import Exchange, Pending
from exporter.telemetry.observer import Observer
from exporter.transport.deadlines import Deadlines
from exporter.transport.http.head import ReplyHead, field_lines, status_line
from exporter.transport.http.pool import PendingRequest, Pool
from exporter.transport.http.request import Request

_LONGEST_LOCATION = 256


class HttpServerContext(Protocol):
    """What a relay needs of the server that it belongs to."""

    name: str
    timeout: Timeout
    observed_bytes: int
    observer: Observer
    budget: EventBudget
    deadlines: Deadlines[Relay]
    awaited: AwaitedReplies
    pool: Pool
    sessions: HttpSessions
    relays: set[Relay]
    """Those that are not over."""
    replies_elsewhere: bool
    """Whether replies come on another stream than the reply to their POST (2024-11-05)."""

    def session_of(self, request: Request, messages: Sequence[Message]) -> HttpSession | None:
        """The session that a request belongs to, where it is known."""

    def rewrite_challenge(self, value: bytes, request: Request) -> bytes:
        """A ``WWW-Authenticate`` as the client must see it."""


class Relay:
    """One request on its way up, and its reply on its way down."""

    # On the class: most relays never set them, and each of them takes its time.
    _upstream_request: PendingRequest | None = None
    _reader: ReplyReader | None = None
    _status = 0
    _encoding = b""
    _is_stream = False
    _is_resumable = False
    _is_unread = False
    _has_error_reply = False
    _moved_to = ""
    _has_progressed = False
    _inside = 0.0

    def __init__(
        self, upstream: HttpServerContext, request: Request, messages: Sequence[Message]
    ) -> None:
        self._upstream = upstream
        self._observer = upstream.observer
        self._request = request
        self._response = request.response
        self._messages = messages
        self._session_id: bytes | None = None
        """The one that the reply names."""
        self._session = upstream.session_of(request, messages)
        self._exchange = (
            self._session.exchange if self._session else Exchange(upstream.observer.recorder)
        )
        self._unread: list[bytes] = []
        now = request.received
        if messages and messages[0] is ENCODED:
            self._is_unread = True
        self._pending = self._observer.client_sent(
            self._exchange, messages, len(request.body), now, request.traceparent
        )
        if self._observer.tracing.tracer is not None:
            self._observer.trace(request, self._pending)

    def send(self, payload: bytes) -> None:
        """Send the request up."""
        request, upstream = self._request, self._upstream
        self._response.watcher = self
        upstream.relays.add(self)
        if self._session is not None:
            self._enter(self._session)
        self._upstream_request = upstream.pool.send(payload, self)
        now = self._upstream_request.sent or monotonic()
        self._inside = now - request.received
        if request.method != b"GET" and not self._is_listening():
            upstream.deadlines.add(self, now)
            if upstream.deadlines.is_renewable:
                self._watch_progress()

    # What the pool calls

    def head(self, head: ReplyHead) -> None:
        """Pass the reply's head on."""
        self._status = head.status
        if head.session_id:
            self._session_id = head.session_id
        if self._session is None:
            self._open_session()
        self._is_stream = head.is_stream
        self._encoding = head.encoding
        if 300 <= head.status < 400:
            self._moved_to = _location(head)
        lines = self._with_own_challenge(head) if head.is_challenge else head.lines
        self._response.start_with(lines, head.is_sized)

    def body(self, data: bytes) -> None:
        """Take a part of the body; a server may cut it into pieces of one byte."""
        if data:
            self._unread.append(data)

    def flush(self) -> None:
        """Send what has come, then read the copy."""
        data = self._pass_on()
        self._response.flush()
        if self._upstream_request is not None:
            self._inside += monotonic() - self._upstream_request.arrived
        if data:
            self._read(data)

    def end(self) -> None:
        """The reply is complete."""
        data = self._pass_on()
        self._response.end()
        now = monotonic()
        if self._upstream_request is not None:
            self._inside += now - self._upstream_request.arrived
        if self._reader is None and not self._is_stream and not self._encoding:
            self._read_whole(data, now)
        else:
            if data:
                self._read(data)
            if self._reader is not None:
                self._observer.read(self._reader.finish, now)
        if self._pending:
            if self._status >= 400 or not self._is_answered():
                self._report_health()
                self._settle_leftover(now)
            self._observer.recorder.spent(self._inside)
        if self._status == 404 or (self._request.method == b"DELETE" and self._status < 300):
            self._end_session(now)
        self._finish()

    def lost(self, error: UpstreamError) -> None:
        """The server is lost: tell the client, and count it."""
        self._pass_on()
        if self._is_waiting or not self._response.started:
            self._observer.upstream_lost(str(error))
        status = 504 if error.fault is Fault.TIMEOUT else 502
        self._reply_with_error(status, errors.CONNECTION_LOST, str(error))
        if not (self._is_resumable and self._is_in_session):
            self._settle(Outcome.UPSTREAM_ERROR, error.fault.value)
        self._finish()

    # What ends a relay early

    def give_up(self, reason: str) -> None:
        """Stop waiting: the exporter stops, or the server is removed."""
        if self._upstream_request is not None:
            self._upstream_request.abort()
        self._reply_with_error(502, errors.CONNECTION_LOST, reason)
        self._settle(Outcome.UPSTREAM_ERROR)
        self._finish()

    def end_if_standing(self) -> None:
        """End a stream that carries no reply of its own."""
        if self._request.method != b"GET" and not self._is_listening():
            return
        if self._upstream_request is not None:
            self._upstream_request.abort()
        self._settle(Outcome.CLIENT_GONE)
        if self._response.started:
            self._response.end()
        else:
            self._response.abort()
        self._finish()

    def expire(self) -> None:
        """The reply did not come in time."""
        if self._upstream_request is not None:
            self._upstream_request.abort()
        text = f"server {self._upstream.name!r} {self._upstream.timeout.text}"
        self._reply_with_error(504, errors.TIMEOUT, text, named=True)
        elapsed = monotonic() - self._request.received
        spent = self._upstream.timeout.spent(elapsed, has_progressed=self._has_progressed)
        self._observer.time_out(self._exchange, self._pending, spent)
        self._finish()

    def progressed(self, now: float) -> None:
        """The server reported progress of a request: wait on."""
        self._has_progressed = True
        self._upstream.deadlines.renew(self, now)

    def client_gone(self) -> None:
        """The client closed its connection."""
        if self._upstream_request is not None:
            self._upstream_request.abort()
        if self._is_modern():
            self._settle(Outcome.CANCELLED)
        elif not self._may_come_later:
            self._settle(Outcome.CLIENT_GONE)
        self._finish()

    # Inside

    def _watch_progress(self) -> None:
        for token in self._progress_tokens():
            self._exchange.watch(token, self)

    def _progress_tokens(self) -> Iterator[Id | UnsetType]:
        for message in self._messages:
            if message.is_request and message.progress_token is not UNSET:
                yield message.progress_token

    def _with_own_challenge(self, head: ReplyHead) -> bytes:
        fields = [
            (name, self._upstream.rewrite_challenge(value, self._request))
            if name.lower() == b"www-authenticate"
            else (name, value)
            for name, value in head.fields
        ]
        return status_line(head.status, head.reason) + field_lines(fields)

    def _pass_on(self) -> bytes:
        """Write what has come to the client; return it."""
        pieces = self._unread
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._response.write(data)
        return data

    def _has_messages(self) -> bool:
        # Where replies come on another stream, a POST is replied to with "accepted".
        posted = self._upstream.replies_elsewhere and self._request.method == b"POST"
        return not posted or self._status >= 400

    def _read_whole(self, data: bytes, now: float) -> None:
        if not data or not self._has_messages():
            return
        self._observer.recorder.carried(len(data), to_server=False)
        if len(data) > self._upstream.observed_bytes:
            self.unread("too_large")
        else:
            self.message(data, now)

    def _read(self, data: bytes) -> None:
        if not self._has_messages():
            return
        if self._reader is None:
            self._reader = reader_of(
                self, self._upstream.budget, self._encoding, is_stream=self._is_stream
            )
        self._observer.recorder.carried(len(data), to_server=False)
        self._observer.read(self._reader.feed, data, monotonic())

    def message(self, data: bytes, now: float) -> None:
        """Read one message, or one batch, that has come down."""
        if self._status >= 400:
            self._read_error_reply(data, now)
        elif not self._observer.server_sent(self._exchange, data, self._pending, now):
            self._is_unread = True

    def event_id(self) -> None:
        """An event bore an id: the client may come back for the rest."""
        self._is_resumable = True

    def unread(self, reason: str) -> None:
        """Something passed by that was not read."""
        self._is_unread = True
        self._observer.recorder.unparsed(reason)

    @property
    def limit(self) -> int:
        """How many bytes of a message are kept for reading."""
        return self._upstream.observed_bytes

    @property
    def _may_come_later(self) -> bool:
        """Whether another stream of the session may still bring the reply."""
        elsewhere = self._is_resumable or self._upstream.replies_elsewhere
        return elsewhere and self._is_in_session

    @property
    def _is_in_session(self) -> bool:
        # Not where another request made the session known to the exporter in the meantime.
        session = self._session
        return session is not None and session.exchange is self._exchange and not session.is_over

    @property
    def _is_over(self) -> bool:
        """Whether its session ended before it did."""
        return self._session is not None and self._session.is_over

    @property
    def _is_last(self) -> bool:
        """Whether nothing else brings what its exchange still waits for."""
        session = self._session
        if session is None or session.exchange is not self._exchange:
            return True
        return session.is_over and not session.asked

    def _read_error_reply(self, data: bytes, now: float) -> None:
        if self._status in (401, 403):
            self._observer.settle(self._exchange, self._pending, Outcome.UNAUTHORIZED, now)
        else:
            is_reply = self._observer.error_reply(
                self._exchange, data, self._pending, now, self._status
            )
            self._has_error_reply = self._has_error_reply or bool(is_reply)

    def _report_health(self) -> None:
        """What a complete reply says of the server. A 4xx says nothing: it blames the client."""
        if self._status in (401, 403):
            self._observer.upstream_alive()
        elif self._status >= 500 and not self._has_error_reply:
            self._observer.upstream_lost(f"HTTP {self._status} without a JSON-RPC reply")
        elif self._status < 400 and self._is_waiting and not self._is_unread:
            self._observer.upstream_lost(
                self._moved_to or "ended its reply without a JSON-RPC reply"
            )

    @property
    def _is_waiting(self) -> bool:
        """Whether a request has no reply, and none can be fetched later."""
        if self._may_come_later or self._is_over:
            return False
        return not self._is_answered()

    def _is_answered(self) -> bool:
        for pending in self._pending:  # noqa: SIM110  all() takes three times as long
            if not pending.done:
                return False
        return True

    def _settle_leftover(self, now: float) -> None:
        """The reply ended, and some requests still wait."""
        if self._status in (401, 403):
            outcome = Outcome.UNAUTHORIZED
        elif self._may_come_later and self._status < 400:
            return  # the server hung up on purpose: the client comes back with Last-Event-ID
        elif self._is_over and self._status < 400:
            outcome = Outcome.CLIENT_GONE  # servers end what waits in a session that is deleted
        elif self._is_unread and self._status < 400:
            outcome = Outcome.OK  # it came whole, but was not read
        else:
            outcome = Outcome.UPSTREAM_ERROR
        fault = str(self._status) if self._status >= 400 else None
        self._observer.settle(self._exchange, self._pending, outcome, now, fault)

    def _settle(self, outcome: Outcome, fault: str | None = None) -> None:
        if self._is_over:
            outcome, fault = Outcome.CLIENT_GONE, None
        self._observer.settle(self._exchange, self._pending, outcome, monotonic(), fault)

    def _reply_with_error(self, status: int, code: int, text: str, named: bool = False) -> None:
        response = self._response
        text = text if named else f"server {self._upstream.name!r} {text}"
        waiting = self._waiting_ids()
        replies = [errors.error(code, text, each) for each in waiting or [None]]
        # Nothing can be added to what is compressed, or as long as its head says.
        is_open = response.chunked and not self._encoding
        if not response.started:
            whole = b"[" + b",".join(replies) + b"]" if len(replies) > 1 else replies[0]
            response.send(status, whole, errors.JSON)
        elif self._is_stream and is_open and waiting and not self._is_resumable:
            # What came of an event that was cut off must not run into the next one.
            events = (b"\n\nevent: message\ndata: " + reply + b"\n\n" for reply in replies)
            response.write(b"".join(events))
            response.end()
        else:
            response.abort()

    def _waiting_ids(self) -> list[Id]:
        return [message.reply_id for message, pending in self._asked() if not pending.done]

    def _asked(self) -> Iterator[tuple[Message, Pending]]:
        asked = [message for message in self._messages if message.is_request]
        return zip(asked, self._pending, strict=False)  # fewer where observation failed

    def _open_session(self) -> None:
        session_id = self._named_session()
        if session_id is None or self._status >= 400 or self._request.method == b"DELETE":
            return
        message = self._messages[0] if self._messages else None
        initialize = message if message and message.method == INITIALIZE else None
        sessions, now = self._upstream.sessions, monotonic()
        self._session = sessions.find(session_id, now) or sessions.open(
            session_id, self._exchange, initialize, now
        )
        if self._session is not None:
            self._enter(self._session)

    def _enter(self, session: HttpSession) -> None:
        session.streams += 1
        session.asked += bool(self._pending)

    def _end_session(self, now: float) -> None:
        session_id = self._named_session()
        if session_id is not None:
            self._upstream.sessions.end(session_id, now)

    def _named_session(self) -> bytes | None:
        """The session that the reply names, or else the request."""
        return self._session_id or self._request.header(b"mcp-session-id") or None

    def _finish(self) -> None:
        # No circle is left behind: what a call used is free at once, without the collector.
        self._response.watcher = None
        self._reader = None
        self._upstream.deadlines.discard(self)
        if self._upstream.deadlines.is_renewable:
            for token in self._progress_tokens():
                self._exchange.unwatch(token, self)
        if self._session is not None:
            self._session.streams -= 1
            self._session.asked -= bool(self._pending)
            self._session.last_used = monotonic()
        if not self._exchange.is_idle and self._is_last:
            self._observer.abandon(self._exchange, Outcome.CLIENT_GONE, monotonic())
        elif self._pending and self._upstream.deadlines.is_renewable:
            for message, pending in self._asked():
                self._upstream.awaited.add(self._exchange, pending, message.progress_token)
        self._upstream.relays.discard(self)

    def client_paused(self, paused: bool) -> None:
        """Read the reply at the client's pace."""
        if self._upstream_request is not None:
            self._upstream_request.pause(paused)

    def _is_modern(self) -> bool:
        first = self._messages[0] if self._messages else None
        version = first.protocol_version if first is not None else None
        return is_modern(self._request.header(b"mcp-protocol-version"), version)

    def _is_listening(self) -> bool:
        for message in self._messages:  # noqa: SIM110  any() takes three times as long
            if message.method in UNTIMED:
                return True
        return False


def _location(head: ReplyHead) -> str:
    """Why there is no reply: a redirect is not followed, for it would carry a token along."""
    for name, value in head.headers:
        if name.lower() == b"location":
            place = value[:_LONGEST_LOCATION].decode("latin-1")
            return f"redirects to {place}; write that as the url"
    return ""

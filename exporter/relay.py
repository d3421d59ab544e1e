"""One request on its way up to an HTTP server, and its reply on its way down.

Bytes first: each piece goes to the client before its copy is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from exporter import refusal
from exporter.call import Fault, Outcome, UpstreamError
from exporter.exchange import Exchange, Pending
from exporter.http_fields import onward
from exporter.http_session import HttpSession, HttpSessions
from exporter.message import Message
from exporter.observation import MODERN, Observer
from exporter.pool import Flight, Pool
from exporter.reply_copy import BodyCopy, Copy, EventCopy, InflatedCopy
from exporter.request import Headers, Request

_MODERN = MODERN.encode()


class Upstream(Protocol):
    """What a relay needs of the server that it belongs to."""

    name: str
    timeout: float
    observed_bytes: int
    observer: Observer
    loop: asyncio.AbstractEventLoop
    pool: Pool
    sessions: HttpSessions
    replies_elsewhere: bool
    """Whether replies come on another stream than the answer to their POST (2024-11-05)."""

    def session_of(self, request: Request, messages: Sequence[Message]) -> HttpSession | None:
        """The session that a request belongs to, where it is known."""

    def rewrite_challenge(self, value: bytes, request: Request) -> bytes:
        """A ``WWW-Authenticate`` as the client must see it."""

    def landed(self, relay: Relay) -> None:
        """A relay is over."""


class Relay:
    """One request on its way up, and its reply on its way down."""

    def __init__(self, upstream: Upstream, request: Request, messages: Sequence[Message]) -> None:
        self._upstream = upstream
        self._observer = upstream.observer
        self._request = request
        self._messages = messages
        self._session_id = request.header(b"mcp-session-id")
        self._session = upstream.session_of(request, messages)
        self._exchange = (
            self._session.exchange if self._session else Exchange(upstream.observer.recorder)
        )
        self._flight: Flight | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._copy: Copy | None = None
        self._unread: list[bytes] = []
        self._status = 0
        self._is_stream = False
        self._is_resumable = False
        self._is_oversized = False
        self._has_spoken = False
        self._inside = 0.0
        now = request.received
        self._pending: list[Pending] = (
            self._observer.client_sent(self._exchange, messages, len(request.body), now) or []
        )

    def depart(self, payload: bytes) -> None:
        """Send the request up."""
        request, upstream = self._request, self._upstream
        request.on_gone = self._client_gone
        request.on_drain = self._drain
        if upstream.timeout and request.method != b"GET" and not self._is_listening():
            self._deadline = upstream.loop.call_later(upstream.timeout, self._expire)
        if self._session is not None:
            self._session.streams += 1
        self._flight = upstream.pool.send(payload, self)
        self._inside = (self._flight.sent or monotonic()) - request.received

    # What the pool calls

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        """Pass the reply's head on."""
        self._status = status
        kind = encoding = b""
        fields = onward(headers)
        for place, field in enumerate(fields):
            name = field[0].lower()
            if name == b"www-authenticate":
                fields[place] = (
                    field[0],
                    self._upstream.rewrite_challenge(field[1], self._request),
                )
            elif name == b"content-type":
                kind = field[1].partition(b";")[0].strip().lower()
            elif name == b"content-encoding":
                encoding = field[1].strip().lower()
            elif name == b"mcp-session-id":
                self._session_id = field[1]
        self._open_session()
        self._is_stream = kind == b"text/event-stream"
        self._copy = self._reader(encoding)
        self._request.start(status, fields, reason)

    def body(self, data: bytes) -> None:
        """Pass a part of the body on."""
        self._request.write(data)
        self._unread.append(data)

    def flush(self) -> None:
        """Send what has come, then read the copy."""
        self._request.flush()
        if self._flight is not None:
            self._inside += monotonic() - self._flight.arrived
        self._read()

    def end(self) -> None:
        """The reply is complete."""
        self._request.end()
        if self._flight is not None:
            self._inside += monotonic() - self._flight.arrived
        self._read()
        now = monotonic()
        if self._copy is not None:
            self._observer.read(self._copy.finish, now)
        if self._pending:
            self._report_health()
            self._settle_leftover(now)
            self._observer.recorder.spent(self._inside)
        if self._status == 404 or (self._request.method == b"DELETE" and self._status < 300):
            self._end_session(now)
        self._land()

    def lost(self, error: UpstreamError) -> None:
        """The server is lost: tell the client, and count it."""
        if self._is_waiting or not self._request.started:
            self._observer.upstream_lost(str(error))
        status = 504 if error.fault is Fault.TIMEOUT else 502
        self._apologise(status, refusal.CONNECTION_LOST, str(error))
        if not (self._is_resumable and self._is_in_session):
            self._settle(Outcome.UPSTREAM_ERROR)
        self._land()

    # What ends a relay early

    def give_up(self, reason: str) -> None:
        """Stop waiting: the exporter stops, or the server is removed."""
        if self._flight is not None:
            self._flight.abort()
        self._apologise(502, refusal.CONNECTION_LOST, reason)
        self._settle(Outcome.UPSTREAM_ERROR)
        self._land()

    def end_if_standing(self) -> None:
        """End a stream that carries no reply of its own."""
        if self._request.method != b"GET" and not self._is_listening():
            return
        if self._flight is not None:
            self._flight.abort()
        self._settle(Outcome.CLIENT_GONE)
        if self._request.started:
            self._request.end()
        else:
            self._request.abort()
        self._land()

    def _expire(self) -> None:
        self._deadline = None
        if self._flight is not None:
            self._flight.abort()
        text = f"server {self._upstream.name!r} did not reply within {self._upstream.timeout:g} s"
        self._apologise(504, refusal.TIMEOUT, text, named=True)
        self._settle(Outcome.TIMEOUT)
        self._land()

    def _client_gone(self) -> None:
        if self._flight is not None:
            self._flight.abort()
        if self._is_modern():
            self._settle(Outcome.CANCELLED)
        elif not self._may_come_later:
            self._settle(Outcome.CLIENT_GONE)
        self._land()

    # Inside

    def _reader(self, encoding: bytes) -> Copy | None:
        posted = self._request.method == b"POST"
        if posted and self._upstream.replies_elsewhere and self._status < 400:
            return None  # what it says is "accepted", and is no message
        copy = EventCopy(self) if self._is_stream else BodyCopy(self)
        return InflatedCopy(copy) if encoding in (b"gzip", b"deflate") else copy

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        if not unread or self._copy is None:
            return
        now = monotonic()
        for data in unread:
            self._observer.recorder.carried(len(data), to_server=False)
            self._observer.read(self._copy.feed, data, now)

    def heard(self, data: bytes, now: float) -> None:
        """One message, or one batch, has come down."""
        if self._status >= 400:
            self._heard_refusal(data, now)
        else:
            self._observer.server_sent(self._exchange, data, self._pending, now)

    def heard_id(self) -> None:
        """An event bore an id: the client may come back for the rest."""
        self._is_resumable = True

    def heard_too_much(self) -> None:
        """A message was larger than what is kept for reading."""
        self._is_oversized = True
        self._observer.recorder.unparsed("too_large")

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
        return self._session is not None and self._session.exchange is self._exchange

    def _heard_refusal(self, data: bytes, now: float) -> None:
        if self._status in (401, 403):
            self._observer.settle(self._exchange, self._pending, Outcome.UNAUTHORIZED, now)
        else:
            is_reply = self._observer.refuse(self._exchange, data, self._pending, now)
            self._has_spoken = self._has_spoken or bool(is_reply)

    def _report_health(self) -> None:
        """What a complete reply says of the server. A 4xx says nothing: it blames the client."""
        if self._status in (401, 403):
            self._observer.upstream_alive()
        elif self._status >= 500 and not self._has_spoken:
            self._observer.upstream_lost(f"HTTP {self._status} without a JSON-RPC reply")
        elif self._status < 400 and self._is_waiting and not self._is_oversized:
            self._observer.upstream_lost("ended its reply without the JSON-RPC reply")

    @property
    def _is_waiting(self) -> bool:
        """Whether a request has no reply, and none can be fetched later."""
        if self._may_come_later:
            return False
        return any(not pending.done for pending in self._pending)

    def _settle_leftover(self, now: float) -> None:
        """The reply ended, and some requests still wait."""
        if self._status in (401, 403):
            outcome = Outcome.UNAUTHORIZED
        elif self._may_come_later and self._status < 400:
            return  # the server hung up on purpose: the client comes back with Last-Event-ID
        elif self._is_oversized and self._status < 400:
            outcome = Outcome.OK  # it came whole, only nobody read it
        else:
            outcome = Outcome.UPSTREAM_ERROR
        self._observer.settle(self._exchange, self._pending, outcome, now)

    def _settle(self, outcome: Outcome) -> None:
        self._observer.settle(self._exchange, self._pending, outcome, monotonic())

    def _apologise(self, status: int, code: int, text: str, named: bool = False) -> None:
        request = self._request
        text = text if named else f"server {self._upstream.name!r} {text}"
        waiting = [pending.id for pending in self._pending if not pending.done]
        replies = [refusal.error(code, text, each) for each in waiting or [None]]
        # Nothing can be added to what is compressed, or as long as its head says.
        is_open = request.chunked and not isinstance(self._copy, InflatedCopy)
        if not request.started:
            whole = b"[" + b",".join(replies) + b"]" if len(replies) > 1 else replies[0]
            request.respond(status, whole, refusal.JSON)
        elif self._is_stream and is_open and waiting and not self._is_resumable:
            # What came of an event that was cut off must not run into the next one.
            events = (b"\n\nevent: message\ndata: " + reply + b"\n\n" for reply in replies)
            request.write(b"".join(events))
            request.end()
        else:
            request.abort()

    def _open_session(self) -> None:
        if not self._session_id or self._session is not None or self._status >= 400:
            return
        if self._request.method == b"DELETE":
            return
        message = self._messages[0] if self._messages else None
        initialize = message if message and message.method == "initialize" else None
        sessions, now = self._upstream.sessions, monotonic()
        self._session = sessions.find(self._session_id, now) or sessions.open(
            self._session_id, self._exchange, initialize, now
        )
        self._session.streams += 1

    def _end_session(self, now: float) -> None:
        if self._session_id is not None:
            self._upstream.sessions.end(self._session_id, now)

    def _land(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._session is not None:
            self._session.streams -= 1
            self._session.last_used = monotonic()
        if not self._is_in_session:
            self._observer.abandon(self._exchange, Outcome.CLIENT_GONE, monotonic())
        self._upstream.landed(self)

    def _drain(self, paused: bool) -> None:
        if self._flight is not None:
            self._flight.pause(paused)

    def _is_modern(self) -> bool:
        return (self._request.header(b"mcp-protocol-version") or b"") >= _MODERN

    def _is_listening(self) -> bool:
        return any(message.method == "subscriptions/listen" for message in self._messages)

"""The sessions of an HTTP server (2025-11-25 and older), as seen from between.

The server owns them; this is the bookkeeping of what waits for a reply, and of how long they
lived. A session is over with its DELETE, with a 404 that names it, or when it is idle.
"""

from __future__ import annotations

from collections.abc import Iterator

from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.spans.session_digits import session_digits

LONGEST_ID = 256
"""Bytes of an id; a session with a longer one is relayed, but not remembered."""

_GRACE = 5.0  # seconds: a request that still has its stream is ended there, with a reply
_LOOKS = 32


class HttpSession:
    """One session: its exchange, and when it was last used."""

    __slots__ = ("asked", "exchange", "is_over", "last_used", "placed", "started", "streams")

    def __init__(self, exchange: Exchange, now: float) -> None:
        self.exchange = exchange
        self.started = now
        self.last_used = now
        self.placed = now
        self.streams = 0
        """HTTP requests that have their reply still to come, or half of it."""
        self.asked = 0
        """Those of them that brought a request, whose reply is due there."""
        self.is_over = False


class HttpSessions:
    """The live sessions of one server, at most ``most``."""

    def __init__(
        self, recorder: ServerRecorder, timeout: float, idle_timeout: float, most: int
    ) -> None:
        self._recorder = recorder
        self._timeout = timeout
        self._idle_timeout = idle_timeout
        self._most = most
        self._live: dict[bytes, HttpSession] = {}

    def open(
        self, session_id: bytes, exchange: Exchange, initialize: Message | None, now: float
    ) -> HttpSession | None:
        """Note a session that began, or that began before the exporter did."""
        if len(session_id) > LONGEST_ID:
            return None
        if len(self._live) >= self._most:
            self._make_room(now)
        exchange.session = session_digits(session_id)
        session = self._live[session_id] = HttpSession(exchange, now)
        client = initialize.client if initialize is not None else None
        version = initialize.requested_version if initialize is not None else None
        self._recorder.session_started(client, version)
        return session

    def __len__(self) -> int:
        return len(self._live)

    def find(self, session_id: bytes, now: float) -> HttpSession | None:
        """Return the session with this id, which is now in use."""
        session = self._live.get(session_id)
        if session is not None:
            session.last_used = now
        return session

    def end(self, session_id: bytes, now: float) -> None:
        """End a session. What was asked and has its stream may still be replied to there, as where
        another instance of the server knew nothing of the session; the rest will not be."""
        session = self._live.pop(session_id, None)
        if session is None:
            return
        session.is_over = True
        if not session.asked:
            session.exchange.abandon(Outcome.CLIENT_GONE, now)
        self._recorder.session_ended(now - session.started)

    def expire(self, now: float) -> Iterator[None]:
        """End what is overdue, and the sessions that were not used for the idle timeout.

        One session a step: there may be many, and each may have much that waits.
        """
        for session_id, session in list(self._live.items()):
            if self._live.get(session_id) is not session:
                continue  # it ended between two steps
            if self._timeout:
                session.exchange.expire(now - self._timeout - _GRACE, self._timeout)
            is_idle = session.last_used < now - self._idle_timeout and not session.streams
            if self._idle_timeout and is_idle:
                self.end(session_id, now)
            yield

    def close(self, now: float) -> None:
        """End them all: the exporter stops."""
        for session_id in list(self._live):
            self.end(session_id, now)

    def _make_room(self, now: float) -> None:
        """Forget a session that was not used for long, and has no stream.

        Peers choose the ids, so it must not cost more when there are many: those in front are
        looked at, and what is in use goes to the end.
        """
        for _ in range(min(_LOOKS, len(self._live))):
            session_id, session = next(iter(self._live.items()))
            if not session.streams and session.last_used <= session.placed:
                break
            del self._live[session_id]
            session.placed = now
            self._live[session_id] = session
        self.end(next(iter(self._live)), now)

"""The sessions of an HTTP server (2025-11-25 and older), as seen from between.

The server owns them; this is the bookkeeping of what waits for a reply, and of how long they
lived. A session is over with its DELETE, with a 404 that names it, or when it is idle.
"""

from __future__ import annotations

from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.recorder import ServerRecorder

MOST = 100_000
"""Sessions of one server that are known at once; after that the oldest is forgotten."""

_GRACE = 5.0  # seconds: a request that still has its stream is ended there, with an answer


class HttpSession:
    """One session: its exchange, and when it was last used."""

    __slots__ = ("exchange", "last_used", "started", "streams")

    def __init__(self, exchange: Exchange, now: float) -> None:
        self.exchange = exchange
        self.started = now
        self.last_used = now
        self.streams = 0


class HttpSessions:
    """The live sessions of one server."""

    def __init__(self, recorder: ServerRecorder, timeout: float, idle_timeout: float) -> None:
        self._recorder = recorder
        self._timeout = timeout
        self._idle_timeout = idle_timeout
        self._live: dict[bytes, HttpSession] = {}

    def open(
        self, session_id: bytes, exchange: Exchange, initialize: Message | None, now: float
    ) -> HttpSession:
        """A session began, or turned up that began before the exporter did."""
        params = initialize.params if initialize else None
        client = params.client_info.name if params and params.client_info else None
        version = params.protocol_version if params else None
        if len(self._live) >= MOST:  # a server that gives ids away must not cost our memory
            self.end(next(iter(self._live)), now)
        session = self._live[session_id] = HttpSession(exchange, now)
        self._recorder.session_started(client, version)
        return session

    def __len__(self) -> int:
        return len(self._live)

    def find(self, session_id: bytes, now: float) -> HttpSession | None:
        """The session with this id, now in use."""
        session = self._live.get(session_id)
        if session is not None:
            session.last_used = now
        return session

    def end(self, session_id: bytes, now: float) -> None:
        """The session is over; what still waits in it will not be answered."""
        session = self._live.pop(session_id, None)
        if session is not None:
            session.exchange.abandon(Outcome.CLIENT_GONE, now)
            self._recorder.session_ended(now - session.started)

    def expire(self, now: float) -> None:
        """End what is overdue, and the sessions that nobody has used for the idle timeout."""
        if self._timeout:
            for session in self._live.values():
                session.exchange.expire(now - self._timeout - _GRACE, now)
        if not self._idle_timeout:
            return
        oldest = now - self._idle_timeout
        idle = [
            session_id
            for session_id, session in self._live.items()
            if session.last_used < oldest and not session.streams
        ]
        for session_id in idle:
            self.end(session_id, now)

    def close(self, now: float) -> None:
        """The exporter stops: end them all."""
        for session_id in list(self._live):
            self.end(session_id, now)

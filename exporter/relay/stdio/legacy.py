"""Serves clients of 2025-11-25 and older: each session has a child of its own."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from time import monotonic

from exporter.config.model import Server
from exporter.protocol.jsonrpc import UNREAD, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import INITIALIZE
from exporter.relay.stdio import rejections
from exporter.relay.stdio.children import Children
from exporter.relay.stdio.host import ChildHost
from exporter.relay.stdio.rejections import reject
from exporter.relay.stdio.session import StdioSession
from exporter.telemetry.observer import Observer
from exporter.transport.http.request import Request


class LegacyEndpoint:
    """The sessions of one stdio server."""

    def __init__(self, server: Server, observer: Observer, children: Children) -> None:
        self._server = server
        self._observer = observer
        self._recorder = observer.recorder
        self._children = children
        self._replaces_stopping = False
        self.sessions: dict[bytes, StdioSession] = {}

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Serve one POST, GET or DELETE."""
        if request.method == b"POST":
            self._post(request, messages)
            return
        session = self._session(request, request.header(b"mcp-session-id"), None)
        if session is None:
            return
        if request.method == b"GET":
            session.listen(request)
        else:
            session.end(Outcome.CLIENT_GONE, "the client ended the session")
            request.respond(200, b"", b"")

    def end_idle_session(self) -> bool:
        """End the session that is idle longest; the next one's child waits for the end of its.

        Return whether there was one: none ends whose client waits for something.
        """
        idle = [session for session in self.sessions.values() if session.is_idle]
        if not idle:
            return False
        oldest = min(idle, key=lambda session: session.last_used)
        oldest.end(Outcome.CLIENT_GONE, "a new session needed its slot")
        self._replaces_stopping = True
        return True

    def free_child(self) -> bool:
        """Have the next session's child wait for one that ends; return whether one does."""
        if self._children.stopping_count:
            self._replaces_stopping = True
            return True
        return self.end_idle_session()

    def sweep(self, oldest: float) -> None:
        """End the sessions that are idle and were not used since ``oldest``."""
        for session in list(self.sessions.values()):
            if session.is_idle and session.last_used < oldest:
                session.end(Outcome.CLIENT_GONE, "the session was idle")

    # HostEvents

    def host_ended(self, host: ChildHost, text: str) -> None:  # noqa: ARG002
        """A session is over."""
        if isinstance(host, StdioSession):
            self.sessions.pop(host.session_id, None)
        self._recorder.session_ended(monotonic() - host.started)
        self._children.stop(host)

    # Inside

    def _post(self, request: Request, messages: Sequence[Message]) -> None:
        if messages and messages[-1] is UNREAD:
            reject(self._recorder, request, rejections.TOO_MANY_MESSAGES)
            return
        if not messages or not _are_messages(messages):
            reject(self._recorder, request, rejections.NOT_A_MESSAGE)
            return
        first = messages[0]
        session_id = request.header(b"mcp-session-id")
        if session_id is None and first.is_request and first.method == INITIALIZE:
            self._open(request, messages)
            return
        session = self._session(request, session_id, first)
        if session is None:
            return
        if session.child.is_clogged:
            reject(self._recorder, request, rejections.of_clogged(self._server.name), first)
        else:
            session.post(request, messages)

    def _session(
        self, request: Request, session_id: bytes | None, message: Message | None
    ) -> StdioSession | None:
        if session_id is None:
            reject(self._recorder, request, rejections.NO_SESSION_ID, message)
            return None
        session = self.sessions.get(session_id)
        if session is None:
            reject(self._recorder, request, rejections.UNKNOWN_SESSION, message)
        return session

    def _open(self, request: Request, messages: Sequence[Message]) -> None:
        first = messages[0]
        replaces_stopping, self._replaces_stopping = self._replaces_stopping, False
        if self._children.is_backing_off(request, first):
            return
        session_id = secrets.token_hex(16).encode()
        start = self._children.starter("session", replaces_stopping=replaces_stopping)
        session = StdioSession(session_id, self._observer, self._server.timeout, start, self)
        self.sessions[session_id] = session
        self._recorder.session_started(first.client, first.requested_version)
        session.post(request, messages)


def _are_messages(messages: Sequence[Message]) -> bool:
    for each in messages:  # noqa: SIM110  all() takes three times as long
        if each.method is None and not each.is_reply:
            return False
    return True

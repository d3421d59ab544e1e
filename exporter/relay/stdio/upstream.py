"""Serves a stdio server over Streamable HTTP.

Which era a request belongs to decides which child may see it: a stdio server fixes its era with
the first request that it reads, and refuses the other one from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from time import monotonic

from exporter.config.model import Server
from exporter.protocol import errors
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import is_modern
from exporter.relay.stdio.children import Children
from exporter.relay.stdio.host import ChildHost
from exporter.relay.stdio.legacy import LegacyEndpoint
from exporter.relay.stdio.modern import ModernEndpoint
from exporter.relay.stdio.param_headers import ParamHeaders
from exporter.telemetry.observer import Observer
from exporter.transport.http.request import Request
from exporter.transport.process.child import ProcessObserver
from exporter.transport.process.reaper import Reaper

_SWEEP = 1.0


class StdioUpstream:
    """One configured stdio server."""

    places = frozenset({"mcp"})
    methods: tuple[bytes, ...] = (b"POST", b"GET", b"DELETE")

    def __init__(
        self,
        server: Server,
        observer: Observer,
        processes: ProcessObserver,
        reaper: Reaper,
        loop: asyncio.AbstractEventLoop,
        param_headers: ParamHeaders,
    ) -> None:
        """``param_headers`` learns what the server lists."""
        self.recorder = observer.recorder
        self._server = server
        self._children = Children(server, observer, processes, reaper)
        self._legacy = LegacyEndpoint(server, observer, self._children)
        self._modern = ModernEndpoint(server, observer, self._children, param_headers)
        self._loop = loop
        self._sweeper = loop.call_later(_SWEEP, self._sweep)

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Serve one POST, GET or DELETE."""
        in_body = messages[0].protocol_version if messages else None
        if is_modern(request.header(b"mcp-protocol-version"), in_body):
            self._modern.handle(request, messages)
        else:
            self._legacy.handle(request, messages)

    def describe(self, request: Request) -> None:
        """Say that there is no OAuth metadata: a child process has no tokens."""
        text = f"server {self._server.name!r} is not protected by OAuth"
        request.respond(404, errors.error(errors.INVALID_REQUEST, text), errors.JSON)

    @property
    def is_busy(self) -> bool:
        """Whether requests are in flight."""
        return any(not host.is_idle for host in self._hosts())

    @property
    def session_count(self) -> int:
        """Live sessions."""
        return len(self._legacy.sessions)

    @property
    def child_count(self) -> int:
        """Processes of sessions, those that are about to end included."""
        return len(self._legacy.sessions) + self._children.stopping_count

    def end_idle_session(self) -> bool:
        """End the session that is idle longest, for a new one; return whether there was one."""
        return self._legacy.end_idle_session()

    def free_child(self) -> bool:
        """Have a child end for that of a new session; return whether there was one."""
        return self._legacy.free_child()

    def drain(self) -> None:
        """End the streams that would otherwise stay open: no reply is due on them."""
        for session in list(self._legacy.sessions.values()):
            session.end_stream()
        if self._modern.shared is not None:
            self._modern.shared.end_streams()

    async def close(self) -> None:
        """End every session and child."""
        self._sweeper.cancel()
        for host in self._hosts():
            host.end(Outcome.UPSTREAM_ERROR, "the exporter is stopping")
        await self._children.close()

    def _hosts(self) -> Iterable[ChildHost]:
        shared = self._modern.shared
        return [*self._legacy.sessions.values(), *((shared,) if shared else ())]

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        self.recorder.queued(sum(host.queued for host in self._hosts()))
        if self._server.idle_timeout:
            oldest = monotonic() - self._server.idle_timeout
            self._legacy.sweep(oldest)
            self._modern.sweep(oldest)

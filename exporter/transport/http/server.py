"""One listener: its sockets, its connections, and its end."""

from __future__ import annotations

import asyncio
import socket
import ssl

from exporter.transport.descriptors import takes_reserve
from exporter.transport.http.connection import SURPLUS, Application, Connection
from exporter.transport.http.head import HeadCache, RequestHead
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.sockets import ListeningSockets
from exporter.transport.turn import Turn

_KNOWN_HEADS = 1024


class HttpServer:
    """Accepts connections on one address and hands their requests to an application."""

    def __init__(
        self,
        application: Application,
        loop: asyncio.AbstractEventLoop,
        limits: ListenerLimits | None = None,
        *,
        uses_reserve: bool = False,
    ) -> None:
        """``uses_reserve``: connections may take the file descriptors that are kept back."""
        self.application = application
        self.loop = loop
        self.limits = limits or ListenerLimits()
        self.heads: HeadCache[RequestHead] = HeadCache(_KNOWN_HEADS)
        self.connections: set[Connection] = set()
        self.draining = False
        self.turn = Turn(loop)
        self.sockets = ListeningSockets(loop, lambda: Connection(self), self._has_place)
        self._uses_reserve = uses_reserve
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Future[None] | None = None

    async def open(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Listen, and return the address in use. Raises ``OSError`` where it cannot be had."""
        address = await self.sockets.open(host, port, tls)
        self._sweep()
        return address

    @property
    def is_listening(self) -> bool:
        """Whether new connections are accepted."""
        return self.sockets.is_open

    def renew(self, tls: ssl.SSLContext | None) -> None:
        """Show other certificates to new connections from now on. Those that are there stay."""
        self.sockets.tls = tls

    async def drain(self, grace: float) -> None:
        """Stop accepting, and let requests end within ``grace`` seconds."""
        self.draining = True
        self.sockets.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        await self._wait_until_empty(grace)

    async def close(self, grace: float) -> None:
        """Drain, then cut what is left."""
        await self.drain(grace)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def connection_closed(self) -> None:
        """A connection is gone; the last one lets ``close`` return."""
        if self._empty is not None and not self.connections and not self._empty.done():
            self._empty.set_result(None)

    def _has_place(self, accepted: socket.socket) -> bool:
        """Whether a connection that was just accepted may stay. Some over the limit may, to be
        told that they are too many."""
        count = len(self.connections) + len(self.sockets.arriving)
        if count >= self.limits.connections + SURPLUS:
            return False
        return self._uses_reserve or not takes_reserve(accepted.fileno())

    async def _wait_until_empty(self, grace: float) -> None:
        if not self.connections:
            return
        self._empty = self.loop.create_future()
        await asyncio.wait([self._empty], timeout=grace)

    def _sweep(self) -> None:
        # One timer for all connections: setting one a request would cost more than it saves.
        now = self.loop.time()
        for connection in list(self.connections):
            if connection.deadline < now and connection.is_waiting:
                connection.expire()
        self._sweeper = self.loop.call_later(1.0, self._sweep)

"""Where a listener accepts connections, and the certificates that it shows there."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable

from exporter.transport.http.keepalive import keep_alive
from exporter.transport.http.opening import told_of_its_end

log = logging.getLogger(__name__)

_QUEUE = 1024
"""Connections that may wait to be accepted."""

_AT_ONCE = 64
"""Connections that are accepted in one turn of the loop."""

_HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a client may take for its TLS handshake."""

_PAUSE = 1.0
"""Seconds that nothing is accepted, once the system had no descriptor left."""


class ListeningSockets:
    """The sockets of one address.

    ``admits`` is asked before anything is read of a connection, which counts from then on, also
    in its handshake. Each connection is shown the certificates that are in force when it comes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        factory: Callable[[], asyncio.Protocol],
        admits: Callable[[socket.socket], bool],
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._admits = admits
        self._listening: list[socket.socket] = []
        self._resumption: asyncio.TimerHandle | None = None
        self.tls: ssl.SSLContext | None = None
        """What new connections are shown; ``None``: they speak without TLS."""
        self.arriving: set[asyncio.Task[None]] = set()
        """Accepted, and not handed over yet."""

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> tuple[str, int]:
        """Listen, and return the address in use. Raises ``OSError`` where it cannot be had."""
        self.tls = tls
        found = await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                listening = socket.create_server(address[:2], family=family, backlog=_QUEUE)
                self._listening.append(listening)
        except OSError:
            self.close()
            raise
        for listening in self._listening:
            listening.setblocking(False)
            # Accepted sockets inherit both.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(listening)
        self._accept_on()
        used = self._listening[0].getsockname()
        return used[0], used[1]

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return bool(self._listening)

    def close(self) -> None:
        """Accept no more connections, and cut those that are not handed over yet."""
        self._pause()
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        for task in self.arriving:
            task.cancel()

    def _accept_on(self) -> None:
        self._resumption = None
        for listening in self._listening:
            self._loop.add_reader(listening.fileno(), self._accept, listening)

    def _pause(self) -> None:
        if self._resumption is not None:
            self._resumption.cancel()
            self._resumption = None
        for listening in self._listening:
            self._loop.remove_reader(listening.fileno())

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # It would be tried again at once, and fail again.
                log.error("no connection accepted", extra={"reason": error.strerror or str(error)})
                self._pause()
                self._resumption = self._loop.call_later(_PAUSE, self._accept_on)
                return
            if self._admits(connection):
                connection.setblocking(False)
                task = self._loop.create_task(self._hand_over(connection))
                self.arriving.add(task)
                task.add_done_callback(self.arriving.discard)
            else:
                connection.close()

    async def _hand_over(self, connection: socket.socket) -> None:
        tls = self.tls
        timeout = None if tls is None else _HANDSHAKE_TIMEOUT
        protocol = self._factory()
        try:
            with told_of_its_end(protocol):
                await self._loop.connect_accepted_socket(
                    lambda: protocol, connection, ssl=tls, ssl_handshake_timeout=timeout
                )
        except OSError as error:  # what was wrong with a handshake, or its end by time
            log.debug("no handshake", extra={"reason": str(error)})
            connection.close()

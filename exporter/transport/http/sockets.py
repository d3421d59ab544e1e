"""Where a listener lets connections in: its listening sockets, and the certificates shown there."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable

log = logging.getLogger(__name__)

_QUEUE = 1024
"""Connections that may wait to be accepted."""

_HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a client may take for its TLS handshake."""


class ListeningSockets:
    """The sockets of one address. Certificates can be changed while it is open."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, factory: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._servers: list[asyncio.Server] = []

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None) -> tuple[str, int]:
        """Listen, and return the address in use. Raises ``OSError`` where it cannot be had."""
        server = await self._loop.create_server(
            self._factory,
            host,
            port,
            ssl=tls,
            backlog=_QUEUE,
            ssl_handshake_timeout=_handshake_timeout(tls),
        )
        self._servers = [server]
        address = server.sockets[0].getsockname()
        return address[0], address[1]

    async def renew(self, tls: ssl.SSLContext | None) -> None:
        """Show other certificates from now on, on the same sockets: no client is refused in
        between, and connections that are there keep what they have. Where that is impossible
        (there are no more file descriptors), the log says so, and all stays as it is."""
        before, renewed = self._servers, []
        try:
            for listening in [each for server in before for each in server.sockets]:
                renewed.append(await self._reopen(listening.fileno(), tls))
        except OSError as error:
            log.error("certificates not renewed", extra={"reason": error.strerror or str(error)})
            before, renewed = renewed, before
        self._servers = renewed
        for server in before:
            server.close()

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return any(server.is_serving() for server in self._servers)

    def close(self) -> None:
        """Accept no more connections."""
        for server in self._servers:
            server.close()
        self._servers = []

    async def _reopen(self, descriptor: int, tls: ssl.SSLContext | None) -> asyncio.Server:
        # The copy is the server's own from here on, and closed with it.
        return await self._loop.create_server(
            self._factory,
            sock=socket.socket(fileno=os.dup(descriptor)),
            ssl=tls,
            backlog=_QUEUE,
            ssl_handshake_timeout=_handshake_timeout(tls),
        )


def _handshake_timeout(tls: ssl.SSLContext | None) -> float | None:
    return None if tls is None else _HANDSHAKE_TIMEOUT

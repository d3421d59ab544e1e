"""The exporter's end of the socket to which wrapped servers report."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from typing import cast

from exporter.telemetry.metrics import Metrics
from exporter.wrap import loopback, report, unix_socket
from exporter.wrap.loopback import Handshake
from exporter.wrap.report import ACKNOWLEDGED, MAX_REPORT
from exporter.wrap.wrapped_server import WrappedServer

MAX_CONNECTIONS = 256
"""Connections at once; one more is closed, and its ``wrap`` tries again later."""

log = logging.getLogger(__name__)


class ReportServer:
    """Listens at ``path``; the rest of the exporter works without it."""

    def __init__(self, path: str, metrics: Metrics, make: Callable[[], WrappedServer]) -> None:
        self._path = path
        self._metrics = metrics
        self._make = make
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._inode = 0
        self._key: bytes | None = None

    async def open(self) -> None:
        """Start listening. Raises ``OSError``."""
        opened = unix_socket.listen(self._path)
        self._inode = os.stat(self._path).st_ino  # noqa: PTH116
        loop = asyncio.get_running_loop()
        if unix_socket.is_port(self._path):
            _, self._key = loopback.read(self._path)
            self._server = await loop.create_server(self._connection, sock=opened)
        else:
            self._server = await loop.create_unix_server(self._connection, sock=opened)

    async def close(self) -> None:
        """Stop listening, and remove the socket where it is still this exporter's."""
        if self._server is None:
            return
        with contextlib.suppress(OSError):
            if os.stat(self._path).st_ino == self._inode:  # noqa: PTH116
                os.unlink(self._path)  # noqa: PTH108
        self._server.close()
        for connection in list(self._open):
            connection.close()

    def _connection(self) -> _Connection:
        handshake = Handshake(self._key) if self._key is not None else None
        return _Connection(self._make(), self._metrics, self._open, handshake)


class _Connection(asyncio.Protocol):
    """One wrapped server's process."""

    def __init__(
        self,
        wrapped: WrappedServer,
        metrics: Metrics,
        others: set[_Connection],
        handshake: Handshake | None,
    ) -> None:
        self._wrapped = wrapped
        self._metrics = metrics
        self._others = others
        self._handshake = handshake
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A wrapped server connects."""
        self._transport = cast("asyncio.Transport", transport)
        if self._handshake is None:
            self._admit()
        else:
            asyncio.get_running_loop().call_later(loopback.TIMEOUT, self._time_out)

    def data_received(self, data: bytes) -> None:
        """A part of a report, or of the handshake that comes before it."""
        self._unread += data
        if self._handshake is not None:
            self._authenticate(self._handshake)
            return
        if not data.endswith(b"\n"):
            if len(self._unread) > MAX_REPORT:
                self._metrics.failed("wrap")
                self.close()
            return
        lines, self._unread = bytes(self._unread), bytearray()
        for line in lines.splitlines():
            self._take(line)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The process ended, or we closed the connection."""
        self._others.discard(self)
        try:
            self._wrapped.leave()
        except Exception:  # noqa: BLE001  a report must not hurt the relay
            self._metrics.failed("wrap")

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _authenticate(self, handshake: Handshake) -> None:
        line, ended, rest = self._unread.partition(b"\n")
        reply = handshake.receive(bytes(line)) if ended and not rest else None
        if reply is None and (ended or len(line) > loopback.MAX_LINE):
            self.close()
        elif reply is not None and self._transport is not None:
            self._unread.clear()
            self._transport.write(reply)
            if handshake.is_open:
                self._handshake = None
                self._admit()

    def _time_out(self) -> None:
        if self._handshake is not None:
            self.close()

    def _admit(self) -> None:
        if len(self._others) >= MAX_CONNECTIONS:
            self.close()
        else:
            self._others.add(self)

    def _take(self, line: bytes) -> None:
        try:
            self._wrapped.report(report.decode(line))
        except Exception:  # noqa: BLE001  a report must not hurt the relay
            self._metrics.failed("wrap")
        if self._transport is not None:
            self._transport.write(ACKNOWLEDGED)

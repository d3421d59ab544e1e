"""Sends the exporter what a wrapped server did, on a thread of its own: nothing waits for it.

Where the exporter is not there, hangs or restarts, only the buffer fills.
"""

from __future__ import annotations

import contextlib
import socket
from threading import Event, Thread

from exporter.wrap import report, unix_socket
from exporter.wrap.buffer import ReportBuffer
from exporter.wrap.report import Report

POLL_INTERVAL = 5.0
"""Seconds after which the connection is checked though there is nothing new."""

RETRY_TIME = 1.0
_ATTEMPTS = 3


class ReportSender:
    """Sends reports from a buffer to the socket at ``path``."""

    def __init__(self, path: str, buffer: ReportBuffer) -> None:
        self.wake = Event()
        """Set where there may be something new in the buffer."""
        self._path = path
        self._buffer = buffer
        self._closing = Event()
        self._socket: socket.socket | None = None
        self._unsent: Report | None = None
        self._attempts = 0
        self._thread = Thread(target=self._run, name="sender", daemon=True)

    def start(self) -> None:
        """Start sending; first of all that there is a server."""
        self.wake.set()
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Send what is left, for at most ``timeout`` seconds."""
        self._closing.set()
        self.wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._closing.is_set():
            self.wake.wait(POLL_INTERVAL)
            self.wake.clear()
            try:
                self._deliver()
            except OSError:
                self._disconnect()
                self._closing.wait(RETRY_TIME)
                if self._unsent is not None:
                    self.wake.set()
        with contextlib.suppress(OSError):
            self._deliver()
        self._disconnect()

    def _deliver(self) -> None:
        self._check()
        if self._socket is None:
            self._socket = self._connect()
            self._send(self._buffer.opening())
            self._buffer.opened()
        while self._has_more():
            assert self._unsent is not None  # noqa: S101
            self._attempts += 1
            self._send(self._unsent)
            self._buffer.delivered(self._unsent)
            self._unsent = None

    def _has_more(self) -> bool:
        if self._unsent is not None and self._attempts >= _ATTEMPTS:
            self._buffer.drop(self._unsent)  # the exporter rejects it: let the others through
            self._unsent = None
        if self._unsent is None:
            self._unsent = self._buffer.collect()
            self._attempts = 0
        return self._unsent is not None

    def _check(self) -> None:
        """Notice an exporter that went away while there was nothing to send."""
        if self._socket is None:
            return
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if not self._socket.recv(1, socket.MSG_PEEK):
                self._disconnect()
        if self._socket is not None:
            self._socket.setblocking(True)

    def _connect(self) -> socket.socket:
        connection = unix_socket.connect(self._path)
        # A stopped exporter may go on in an hour, and must not count the same twice.
        connection.settimeout(None)
        return connection

    def _send(self, sent: Report) -> None:
        if self._socket is None:
            raise ConnectionResetError
        self._socket.sendall(report.encode(sent))
        if not self._socket.recv(1):
            raise ConnectionResetError("the exporter is gone")

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

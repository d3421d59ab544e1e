"""Tells the exporter what a wrapped server did, on a thread of its own: nothing waits for it.

An exporter that is not there, hangs or restarts is of no consequence but that the notebook fills.
"""

from __future__ import annotations

import contextlib
import socket
from threading import Event, Thread

from exporter.wrap import report, unix_socket
from exporter.wrap.buffer import ReportBuffer
from exporter.wrap.report import Report

LOOK_TIME = 5.0
"""Seconds after which, without news, the connection is looked at."""

RETRY_TIME = 1.0
_ATTEMPTS = 3


class ReportSender:
    """Carries reports from a notebook to the socket at ``path``."""

    def __init__(self, path: str, notebook: ReportBuffer) -> None:
        self.news = Event()
        """Set by whoever wrote something into the notebook."""
        self._path = path
        self._notebook = notebook
        self._closing = Event()
        self._socket: socket.socket | None = None
        self._unsent: Report | None = None
        self._attempts = 0
        self._thread = Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin to tell; first of all that there is a server."""
        self.news.set()
        self._thread.start()

    def close(self, patience: float) -> None:
        """Tell what is left, for at most ``patience`` seconds."""
        self._closing.set()
        self.news.set()
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._closing.is_set():
            self.news.wait(LOOK_TIME)
            self.news.clear()
            try:
                self._deliver()
            except OSError:
                self._hang_up()
                self._closing.wait(RETRY_TIME)
                if self._unsent is not None:
                    self.news.set()
        with contextlib.suppress(OSError):
            self._deliver()
        self._hang_up()

    def _deliver(self) -> None:
        self._look()
        if self._socket is None:
            self._socket = self._connect()
            self._tell(self._notebook.introduce())
            self._notebook.introduced()
        while self._has_more():
            assert self._unsent is not None  # noqa: S101
            self._attempts += 1
            self._tell(self._unsent)
            self._notebook.delivered(self._unsent)
            self._unsent = None

    def _has_more(self) -> bool:
        if self._unsent is not None and self._attempts >= _ATTEMPTS:
            self._notebook.lose(self._unsent)  # whoever reads it hangs up: let the others through
            self._unsent = None
        if self._unsent is None:
            self._unsent = self._notebook.collect()
            self._attempts = 0
        return self._unsent is not None

    def _look(self) -> None:
        """Notice an exporter that went away while there was nothing to tell."""
        if self._socket is None:
            return
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            if not self._socket.recv(1, socket.MSG_PEEK):
                self._hang_up()
        if self._socket is not None:
            self._socket.setblocking(True)

    def _connect(self) -> socket.socket:
        connection = unix_socket.connect(self._path)
        # A stopped exporter may go on in an hour, and must not be told the same twice.
        connection.settimeout(None)
        return connection

    def _tell(self, told: Report) -> None:
        if self._socket is None:
            raise ConnectionResetError
        self._socket.sendall(report.encode(told))
        if not self._socket.recv(1):
            raise ConnectionResetError("the exporter is gone")

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

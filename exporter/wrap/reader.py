"""Reads the copy of what passes between a client and its wrapped server.

A copy is queued with its time, and read a moment later: reading a request takes as long as copying
it, and must not delay the reply. Nor is the thread that reads woken for each copy: it would want
the interpreter just when the reply does. It polls, and more often while there is much to read.
"""

from __future__ import annotations

from collections import deque
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, cast

from exporter.protocol import jsonrpc, long_reply
from exporter.protocol.label_values import Outcome, exit_reason
from exporter.protocol.lines import LineCutter
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.wrap.buffer import ReportBuffer
from exporter.wrap.sender import ReportSender

if TYPE_CHECKING:
    from exporter.telemetry.recorder import ServerRecorder

MAX_LINE = 8 * 1024 * 1024
"""Bytes of one message that are kept for reading; a longer one is counted as unparsed."""


POLL_INTERVAL = 1.0
"""Seconds after which the thread looks for copies to read."""

PAUSE = 0.02
"""Seconds in which copies gather, while there are any, before they are read."""

MAX_UNREAD = 256
"""Copies that are queued; with one more, the thread that copies reads them all."""

_MANY = 16
"""Copies that do not wait for the next poll."""

_LONG = 16 * 1024


class CopyReader:
    """Observes one wrapped server, from its first byte to its end."""

    def __init__(self, server: str, pid: int, socket_path: str) -> None:
        self._buffer = ReportBuffer(server, pid)
        # The buffer has the part of a recorder that an observer calls.
        self._observer = Observer(cast("ServerRecorder", self._buffer), self._buffer)
        self._exchange = Exchange(self._buffer)
        self._has_client_left = False
        self._lines = {
            True: LineCutter(MAX_LINE, long_reply.ENDS),
            False: LineCutter(MAX_LINE, long_reply.ENDS),
        }
        self._unread: deque[tuple[bytes, float, bool]] = deque()
        self._wake = Event()
        self._reader = Thread(target=self._run, name="reader", daemon=True)
        self._sender = ReportSender(socket_path, self._buffer) if socket_path else None

    def start(self) -> None:
        """Start reading, and reporting what is observed."""
        self._reader.start()
        if self._sender is not None:
            self._sender.start()

    def take(self, data: bytes, now: float, to_server: bool) -> None:
        """Queue what passed by at ``now``; no bytes: that side has ended."""
        self._unread.append((data, now, to_server))

    def copied(self, size: int) -> None:
        """So many bytes have been copied; have them read in time."""
        queued = len(self._unread)
        if size > _LONG or queued > MAX_UNREAD:
            self.read()
        elif queued > _MANY and not self._wake.is_set():
            self._wake.set()

    def read(self) -> None:
        """Read what is queued."""
        buffer = self._buffer
        with buffer.lock:
            while self._unread:
                try:
                    self._read(*self._unread.popleft())
                except Exception:  # noqa: BLE001  observation must never hurt the traffic
                    buffer.failed("wrap")
        if self._sender is not None and not self._sender.wake.is_set():
            self._sender.wake.set()

    def end(self, code: int, was_asked: bool, timeout: float) -> None:
        """The server exited with this code (negative: by that signal); report what is left."""
        self.read()
        was_asked = was_asked or self._has_client_left
        # What a client no longer waits for was not lost by the server.
        outcome = Outcome.CLIENT_GONE if was_asked else Outcome.UPSTREAM_ERROR
        with self._buffer.lock:
            self._observer.abandon(self._exchange, outcome, monotonic())
        self._buffer.exited(exit_reason(code, was_asked))
        if self._sender is not None:
            self._sender.close(timeout)

    def _run(self) -> None:
        while True:
            self._wake.wait(POLL_INTERVAL)
            self._wake.clear()
            while self._unread:
                sleep(PAUSE)
                self.read()

    def _read(self, data: bytes, now: float, to_server: bool) -> None:
        self._has_client_left |= to_server and not data
        lines = self._lines[to_server]
        lines.feed(data)
        for line in lines:
            if line is None:
                self._note_long(lines, now, to_server)
            elif line.strip():
                self._note(line, now, to_server)

    def _note_long(self, lines: LineCutter, now: float, to_server: bool) -> None:
        """Of a line that is too long to be read, end the request whose reply it is."""
        self._buffer.unparsed("too_large")
        self._buffer.carried(lines.size, to_server)
        reply = long_reply.read(lines.head, lines.tail)
        if reply is None:
            return
        find = self._exchange.find
        other = jsonrpc.retyped(reply.id)
        pending = find(reply.id, not to_server) or find(other, not to_server)
        if pending is not None:
            outcome = Outcome.PROTOCOL_ERROR if reply.is_error else Outcome.OK
            self._observer.settle(self._exchange, [pending], outcome, now)

    def _note(self, line: bytes, now: float, to_server: bool) -> None:
        if not to_server:
            self._observer.server_said(self._exchange, line, now)
            return
        messages = jsonrpc.read_all(line)
        if messages is None:
            self._buffer.unparsed("not_json")
            return
        self._buffer.client_seen(messages[0])
        self._observer.client_sent(self._exchange, messages, len(line), now)

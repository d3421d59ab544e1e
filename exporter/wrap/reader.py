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
"""Copies that are queued; with one more, the thread that copies reads some itself."""

MAX_UNREAD_BYTES = 16 * 1024 * 1024
"""Bytes that are queued; with more, all are passed over unread: a flood costs neither its own
traffic nor memory."""

READ_TIME = 0.005
"""Seconds that the thread that copies gives to reading at once."""

END_TIME = 0.25
"""Seconds in which what is left is read when the server has ended."""

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
        self._taken = [0, 0]  # bytes from each side, counted by the thread that copies them
        self._begun = 0
        self._current: tuple[float, bool] | None = None  # time and side of the copy that is read
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
        self._taken[to_server] += len(data)

    def copied(self, size: int) -> None:
        """So many bytes have been copied; have them read in time."""
        queued = len(self._unread)
        if size > _LONG or queued > MAX_UNREAD:
            self.read(READ_TIME)
            if sum(self._taken) - self._begun > MAX_UNREAD_BYTES:
                self._pass_over()
        elif queued > _MANY and not self._wake.is_set():
            self._wake.set()

    def read(self, seconds: float = READ_TIME) -> None:
        """Read what is queued, for about so many seconds; what is left comes next time."""
        end = monotonic() + seconds
        with self._buffer.lock:
            while self._read_copy(end):
                pass
        if self._sender is not None and not self._sender.wake.is_set():
            self._sender.wake.set()

    def end(self, code: int, was_asked: bool, timeout: float) -> None:
        """The server exited with this code (negative: by that signal); report what is left."""
        self.read(END_TIME)
        self._pass_over()
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
            while self._unread or self._current:
                sleep(PAUSE)
                self.read()

    def _read_copy(self, end: float) -> bool:
        """Read one copy, or the rest of one; return whether there is time for another."""
        if self._current is None and not self._unread:
            return False
        now, to_server = self._current or self._begin()
        for line in self._lines[to_server]:
            try:
                self._read_line(line, now, to_server)
            except Exception:  # noqa: BLE001  observation must never hurt the traffic
                self._buffer.failed("wrap")
            if monotonic() > end:
                return False
        self._current = None
        return True

    def _begin(self) -> tuple[float, bool]:
        """Begin with the oldest copy."""
        data, now, to_server = self._unread.popleft()
        self._begun += len(data)
        self._has_client_left |= to_server and not data
        self._lines[to_server].feed(data)
        self._current = (now, to_server)
        return self._current

    def _pass_over(self) -> None:
        """Leave unread what is queued, and count its messages."""
        with self._buffer.lock:
            while self._current is not None or self._unread:
                _, to_server = self._current or self._begin()
                self._buffer.unparsed("too_large", self._lines[to_server].skip())
                self._current = None

    def _read_line(self, line: bytes | None, now: float, to_server: bool) -> None:
        if line is None:
            self._note_long(self._lines[to_server], now, to_server)
        elif line and not line.isspace():
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

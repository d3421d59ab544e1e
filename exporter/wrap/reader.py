"""Reads the copy of what passes between a client and its wrapped server.

What was copied is put aside with its time, and read a moment later: reading a request takes as
long as copying it, and must not take that from the reply. Nor is the thread that reads woken for
each of them: it would want the interpreter just when the reply does. It looks by itself, now and
then, and often while there is much.
"""

from __future__ import annotations

from collections import deque
from threading import Event, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING, cast

from exporter.protocol import jsonrpc
from exporter.protocol.label_values import Outcome, exit_reason
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.wrap.buffer import ReportBuffer
from exporter.wrap.sender import ReportSender

if TYPE_CHECKING:
    from exporter.telemetry.recorder import ServerRecorder

MAX_LINE = 8 * 1024 * 1024
"""Bytes of one message that are kept for reading; a longer one is counted as unparsed."""


LOOK_TIME = 1.0
"""Seconds after which somebody looks whether there are copies to read."""

PAUSE = 0.02
"""Seconds in which copies gather, while there are any, before they are read."""

MAX_ASIDE = 256
"""Copies that are put aside; one more, and whoever brings it reads them all."""

_MANY = 16
"""Copies that do not wait for the next look."""

_LONG = 16 * 1024


class CopyReader:
    """What is known of one wrapped server, from its first byte to its end."""

    def __init__(self, server: str, pid: int, socket_path: str) -> None:
        self._notebook = ReportBuffer(server, pid)
        # The notebook has of a recorder what an observer asks for.
        self._observer = Observer(cast("ServerRecorder", self._notebook))
        self._observer.tools_heard = self._notebook.tools_heard
        self._observer.list_changed = self._notebook.list_changed
        self._exchange = Exchange(self._notebook)
        self._has_client_left = False
        self._lines = {True: Lines(MAX_LINE), False: Lines(MAX_LINE)}
        self._aside: deque[tuple[bytes, float, bool]] = deque()
        self._news = Event()
        self._reader = Thread(target=self._run, name="watch", daemon=True)
        self._courier = ReportSender(socket_path, self._notebook) if socket_path else None

    def start(self) -> None:
        """Begin to read, and to tell what is observed."""
        self._reader.start()
        if self._courier is not None:
            self._courier.start()

    def take(self, data: bytes, now: float, to_server: bool) -> None:
        """Take what passed by at ``now``; no bytes: that side has said its last."""
        self._aside.append((data, now, to_server))

    def relieve(self, size: int) -> None:
        """So many bytes have been copied: see to it that they are read in time."""
        gathered = len(self._aside)
        if size > _LONG or gathered > MAX_ASIDE:
            self.read()
        elif gathered > _MANY and not self._news.is_set():
            self._news.set()

    def read(self) -> None:
        """Read what was put aside."""
        notebook = self._notebook
        with notebook.lock:
            while self._aside:
                try:
                    self._read(*self._aside.popleft())
                except Exception:  # noqa: BLE001  observation must never hurt the traffic
                    notebook.failed("wrap")
        if self._courier is not None and not self._courier.news.is_set():
            self._courier.news.set()

    def end(self, code: int, was_asked: bool, patience: float) -> None:
        """The server exited with this code (negative: by that signal); tell the last."""
        self.read()
        was_asked = was_asked or self._has_client_left
        # What a client no longer waits for was not lost by the server.
        outcome = Outcome.CLIENT_GONE if was_asked else Outcome.UPSTREAM_ERROR
        with self._notebook.lock:
            self._observer.abandon(self._exchange, outcome, monotonic())
        self._notebook.exited(exit_reason(code, was_asked))
        if self._courier is not None:
            self._courier.close(patience)

    def _run(self) -> None:
        while True:
            self._news.wait(LOOK_TIME)
            self._news.clear()
            while self._aside:
                sleep(PAUSE)
                self.read()

    def _read(self, data: bytes, now: float, to_server: bool) -> None:
        self._has_client_left |= to_server and not data
        for line in self._lines[to_server].feed(data):
            if line is None:
                self._notebook.unparsed("too_large")
            elif line.strip():
                self._note(line, now, to_server)

    def _note(self, line: bytes, now: float, to_server: bool) -> None:
        if not to_server:
            self._observer.server_said(self._exchange, line, now)
            return
        messages = jsonrpc.read_all(line)
        if messages is None:
            self._notebook.unparsed("not_json")
            return
        self._notebook.meet(messages[0])
        self._observer.client_sent(self._exchange, messages, len(line), now)


class Lines:
    """Cuts a stream into lines; of a line longer than ``limit`` there is only ``None``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes | None]:
        """Take the next bytes; answers the lines that are now complete, without line ends."""
        head, *rest = data.split(b"\n")
        self._keep(head)
        if not rest:
            return []
        lines: list[bytes | None] = [self._take()]
        lines += rest[:-1]
        self._keep(rest[-1])
        return [line.removesuffix(b"\r") if line is not None else None for line in lines]

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            self._parts.clear()
        elif part:
            self._parts.append(part)

    def _take(self) -> bytes | None:
        line = b"".join(self._parts) if self._size <= self._limit else None
        self._parts, self._size = [], 0
        return line

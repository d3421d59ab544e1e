"""What the children of one server write to stderr, in the log: some of it, and never a flood."""

from __future__ import annotations

import logging
from time import monotonic

from exporter.config.model import Server
from exporter.config.redact import Redactor
from exporter.protocol.lines import LineCutter

LINES_A_SECOND = 20
"""Lines of all children of one server together that are logged; the others are counted."""

MAX_LINE = 64 * 1024
_MAX_TEXT = 2000

log = logging.getLogger(__name__)


class StderrLog:
    """Logs lines of stderr under the name of one server, without its secrets."""

    def __init__(self, server: Server, lines_a_second: int = LINES_A_SECOND) -> None:
        self._server = server.name
        self._redact = Redactor(server)
        self._limit = lines_a_second
        self._second = 0.0
        self._count = 0
        self._dropped = 0

    @property
    def is_full(self) -> bool:
        """Whether no more lines are logged in this second."""
        now = monotonic()
        if now - self._second >= 1.0:
            self._second, self._count = now, 0
        return self._count >= self._limit

    def write(self, line: bytes, pid: int) -> None:
        """Log one line of a child."""
        self._count += 1
        extra = {"server": self._server, "pid": pid}
        dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warning("%d lines of its stderr were not logged", dropped, extra=extra)
        text = self._redact(line.decode(errors="replace"))
        log.info("stderr: %s", text[:_MAX_TEXT], extra=extra)

    def drop(self, count: int) -> None:
        """Count lines that are not logged; the next one that is says how many there were."""
        self._dropped += count


class StderrReader:
    """Reads one child's stderr as fast as it comes: a child waits where it is not read."""

    def __init__(self, stderr_log: StderrLog) -> None:
        self._log = stderr_log
        self._lines = LineCutter(MAX_LINE)

    def read(self, data: bytes, pid: int) -> list[bytes]:
        """Log what the quota allows of the next bytes; return the lines that were logged."""
        self._lines.feed(data)
        logged = []
        if not self._log.is_full:
            for line in self._lines:
                logged.append(line if line is not None else b"(a line that is too long)")
                self._log.write(logged[-1], pid)
                if self._log.is_full:
                    break
        if self._lines.has_unread:
            self._log.drop(self._lines.skip())
        return logged

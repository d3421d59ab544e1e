"""The last probes with their transcripts."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

from exporter.probe.target import ProbeResult
from exporter.probe.transcript import Step

KEPT = 100
"""Probes that are kept, and as many failed ones beside."""

MAX_SIZE = 4 * 1024 * 1024
"""Characters of all transcripts that are kept."""


@dataclass(frozen=True, slots=True)
class Record:
    """One probe: ``when`` it began (Unix time), how it ended, and how many tools were listed."""

    server: str
    when: float
    result: ProbeResult
    steps: list[Step]
    tools: int | None = None
    number: int = 0


class History:
    """Keeps the last probes, the failed ones for longer.

    Probes end on the loop that relays, pages are read on the web listener's thread.
    """

    def __init__(self, kept: int = KEPT, max_size: int = MAX_SIZE) -> None:
        self._lock = threading.Lock()
        self._kept = kept
        self._max_size = max_size
        self._recent: deque[Record] = deque()
        self._failed: deque[Record] = deque()
        self._size = 0
        self._last = 0

    def add(self, record: Record) -> Record:
        """Keep a record. Return it with its number."""
        with self._lock:
            self._last += 1
            numbered = replace(record, number=self._last)
            self._recent.append(numbered)
            self._size += _size(numbered)
            self._make_room()
        return numbered

    def _make_room(self) -> None:
        if len(self._recent) > self._kept:
            oldest = self._recent.popleft()
            if oldest.result.is_alive:
                self._size -= _size(oldest)
            else:
                self._failed.append(oldest)
        while len(self._failed) > self._kept or (self._failed and self._size > self._max_size):
            self._size -= _size(self._failed.popleft())
        while self._size > self._max_size and len(self._recent) > 1:
            self._size -= _size(self._recent.popleft())

    def records(self) -> list[Record]:
        """All records, the newest first."""
        with self._lock:
            return [*reversed(self._recent), *reversed(self._failed)]

    def find(self, number: int) -> Record | None:
        """The record with this number, if it is still kept."""
        for record in self.records():
            if record.number == number:
                return record
        return None


def _size(record: Record) -> int:
    return sum(len(step.text) for step in record.steps)

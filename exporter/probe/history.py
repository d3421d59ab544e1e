"""The last probes with their transcripts."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

from exporter.probe.target import ProbeResult
from exporter.probe.transcript import Step

KEPT = 100
"""Probes that are kept, and as many failed ones beside."""


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

    def __init__(self, kept: int = KEPT) -> None:
        self._lock = threading.Lock()
        self._recent: deque[Record] = deque(maxlen=kept)
        self._failed: deque[Record] = deque(maxlen=kept)
        self._last = 0

    def add(self, record: Record) -> Record:
        """Keep a record. Return it with its number."""
        with self._lock:
            self._last += 1
            numbered = replace(record, number=self._last)
            if len(self._recent) == self._recent.maxlen and not self._recent[0].result.is_alive:
                self._failed.append(self._recent[0])
            self._recent.append(numbered)
        return numbered

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

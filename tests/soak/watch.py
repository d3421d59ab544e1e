"""Memory and processor time of the exporter while it is soaked."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

import psutil

LOOK_EVERY = 1.0
WARM_UP = 0.2
"""The share of the whole time after which memory may grow no more."""
LONGEST_WARM_UP = 180.0
SPAN = 0.2
"""The shares of what follows, at its begin and at its end, that are compared."""


class Watch:
    """Looks at one process every second."""

    def __init__(self, process: psutil.Process, seconds: float) -> None:
        self._process = process
        self.start = monotonic()
        self.warm = self.start + min(WARM_UP * seconds, LONGEST_WARM_UP)
        self.end = self.start + seconds
        self._memory: list[tuple[float, int]] = []
        self._cpu = 0.0

    async def run(self, over: asyncio.Event) -> None:
        """Look until it is over."""
        begun = sum(self._process.cpu_times()[:2])
        while not over.is_set():
            self._memory.append((monotonic(), self._process.memory_info().rss))
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), LOOK_EVERY)
        self._cpu = sum(self._process.cpu_times()[:2]) - begun

    @property
    def memory(self) -> tuple[float, float]:
        """Mean resident memory in bytes, after the warm-up and at the end."""
        span = (self.end - self.warm) * SPAN
        return self._mean(self.warm, self.warm + span), self._mean(self.end - span, self.end)

    @property
    def growth(self) -> float:
        """By what share it grew."""
        first, last = self.memory
        return last / first - 1

    @property
    def cpu_share(self) -> float:
        """How much of one processor it took."""
        return self._cpu / (self.end - self.start)

    def _mean(self, start: float, end: float) -> float:
        values = [size for time, size in self._memory if start <= time <= end]
        return sum(values) / len(values)

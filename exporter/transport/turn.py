"""Keeps what comes in bursts from filling a turn of the loop: a thousand connections that end at
once, and all that waited on them.

Whatever else happens in the turn comes first; what does not fit is done in the next ones.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from time import monotonic

SHARE = 0.005
"""Seconds of one turn."""


class Turn:
    """Does pieces of work in their order, for a few milliseconds a turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._ends: float | None = None

    def take(self, work: Callable[[], None]) -> None:
        """Do it now, or later where this turn has had its share."""
        if self._ends is None:
            self._ends = monotonic() + SHARE
            self._loop.call_soon(self._next)
            work()
        elif self._waiting or monotonic() >= self._ends:
            self._waiting.append(work)
        else:
            work()

    def spread(self, steps: Iterator[object]) -> None:
        """Go through the steps, as many in each turn as fit."""
        self.take(partial(self._walk, steps))

    def _walk(self, steps: Iterator[object]) -> None:
        ends = monotonic() + SHARE
        for _ in steps:
            if monotonic() >= ends:
                self._waiting.append(partial(self._walk, steps))
                return

    def _next(self) -> None:
        if not self._waiting:
            self._ends = None
            return
        self._ends = ends = monotonic() + SHARE
        self._loop.call_soon(self._next)  # first: a piece that fails stops no other
        while self._waiting and monotonic() < ends:
            self._waiting.popleft()()

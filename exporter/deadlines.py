"""One timer for everything that waits equally long: a timer of its own for each costs a call more
than reading its messages does."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol


class Waiting(Protocol):
    """What has a deadline."""

    def expire(self) -> None:
        """The deadline has passed."""


class Deadlines:
    """Expires what was added ``timeout`` seconds ago, in the order of its coming; 0 is never."""

    def __init__(self, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self._timeout = timeout
        self._loop = loop
        self._due: dict[Waiting, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiting: Waiting, now: float) -> None:
        """Its time runs, since ``now``."""
        if not self._timeout:
            return
        self._due[waiting] = now + self._timeout
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout, self._look)

    def discard(self, waiting: Waiting) -> None:
        """It does not wait any more."""
        self._due.pop(waiting, None)

    def close(self) -> None:
        """Expire nothing any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = monotonic()
        while self._due:
            waiting, due = next(iter(self._due.items()))
            if due > now:
                self._timer = self._loop.call_later(due - now, self._look)
                return
            del self._due[waiting]
            waiting.expire()

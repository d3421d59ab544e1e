"""One timer for everything that waits equally long: a timer each would cost a call more than
reading its messages does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Calls ``expired`` with what was added ``seconds`` ago, in the order in which it was added.

    With 0 seconds nothing expires.
    """

    def __init__(
        self, seconds: float, expired: Callable[[T], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._seconds = seconds
        self._expired = expired
        self._loop = loop
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, waiting: T, now: float) -> None:
        """Begin to count its time at ``now``."""
        if not self._seconds:
            return
        self._due[waiting] = now + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def discard(self, waiting: T) -> None:
        """Forget it: it does not wait any more."""
        self._due.pop(waiting, None)

    def close(self) -> None:
        """Cancel the timer and forget everything."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        # The timer that has just run stands until the end: what is added meanwhile sets no other.
        now = monotonic()
        try:
            self._expire(now)
        finally:
            self._timer = None
            for due in self._due.values():
                self._timer = self._loop.call_later(max(0.0, due - now), self._look)
                break

    def _expire(self, now: float) -> None:
        while self._due:
            waiting, due = next(iter(self._due.items()))
            if due > now:
                return
            del self._due[waiting]
            self._expired(waiting)

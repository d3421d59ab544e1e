"""One timer for everything that waits equally long: a timer each would cost a call more than
reading its messages does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Generic, TypeVar

from exporter.config.limits import Timeout
from exporter.transport.turn import SHARE

T = TypeVar("T")

_LOOKED_AT = 1000


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
        self.is_renewable = False
        """Whether ``renew`` does anything."""

    def add(self, waiting: T, now: float) -> None:
        """Begin to count its time at ``now``."""
        if not self._seconds:
            return
        self._due[waiting] = now + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._look)

    def renew(self, waiting: T, now: float) -> None:
        """It has made progress."""

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
        # Some at a time: all that a peer had begun at once would fill the turn. And not one by
        # one from the front, for what was taken out there is passed over each time.
        for waiting, due in list(islice(self._due.items(), _LOOKED_AT)):
            if due > now or monotonic() >= now + SHARE:
                return
            if self._due.get(waiting) == due:  # not discarded or renewed by one before
                del self._due[waiting]
                self._expired(waiting)


class RenewableDeadlines(Deadlines[T]):
    """Deadlines that progress renews: ``seconds`` more each time, up to ``total`` in all."""

    def __init__(
        self,
        seconds: float,
        total: float,
        expired: Callable[[T], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:

        def expire(waiting: T) -> None:
            self.discard(waiting)
            expired(waiting)

        super().__init__(seconds, expire, loop)
        self.is_renewable = True
        self._total = Deadlines(total, expire, loop)

    def add(self, waiting: T, now: float) -> None:
        """Its time runs, since ``now``."""
        super().add(waiting, now)
        self._total.add(waiting, now)

    def renew(self, waiting: T, now: float) -> None:
        """It has made progress: its time runs anew."""
        if waiting in self._due:
            super().discard(waiting)
            super().add(waiting, now)

    def discard(self, waiting: T) -> None:
        """It does not wait any more."""
        super().discard(waiting)
        self._total.discard(waiting)

    def close(self) -> None:
        """Expire nothing any more."""
        super().close()
        self._total.close()


def deadlines_of(
    timeout: Timeout, expired: Callable[[T], None], loop: asyncio.AbstractEventLoop
) -> Deadlines[T]:
    """Return the deadlines of requests with this timeout."""
    if timeout.total is None:
        return Deadlines(timeout.seconds, expired, loop)
    return RenewableDeadlines(timeout.seconds, timeout.total, expired, loop)

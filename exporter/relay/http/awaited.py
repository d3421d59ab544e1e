"""Requests whose HTTP response is over and whose reply comes on another stream of the session.

That is every request of the 2024-11-05 transport, and of the newer one what a server hung up on to
be asked for again. Their time runs on, and progress renews it.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from msgspec import UnsetType

from exporter.config.limits import Timeout
from exporter.protocol.jsonrpc import Id
from exporter.telemetry.exchange import Exchange, Pending
from exporter.telemetry.observer import Observer
from exporter.transport.deadlines import deadlines_of


class AwaitedReply:
    """One such request."""

    __slots__ = ("all", "exchange", "has_progressed", "pending", "token")

    def __init__(
        self, every: AwaitedReplies, exchange: Exchange, pending: Pending, token: Id | UnsetType
    ) -> None:
        self.all = every
        self.exchange = exchange
        self.pending = pending
        self.token = token
        self.has_progressed = False

    def progressed(self, now: float) -> None:
        """The server reported progress of it."""
        self.has_progressed = True
        self.all.renew(self, now)

    def expire(self) -> None:
        """It made none for too long."""
        self.all.expire(self)


class AwaitedReplies:
    """Those of one server. Only where progress counts: else their session ends what is overdue."""

    def __init__(
        self, timeout: Timeout, observer: Observer, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._timeout = timeout
        self._observer = observer
        self._deadlines = deadlines_of(timeout, AwaitedReply.expire, loop)
        self._live: set[AwaitedReply] = set()

    def __len__(self) -> int:
        return len(self._live)

    def add(self, exchange: Exchange, pending: Pending, token: Id | UnsetType) -> None:
        """Wait on for the reply to a request, which may have a token for its progress."""
        if not self._deadlines.is_renewable or pending.done:
            return
        awaited = AwaitedReply(self, exchange, pending, token)
        self._live.add(awaited)
        self._deadlines.add(awaited, monotonic())
        if not isinstance(token, UnsetType):
            exchange.watch(token, awaited)

    def renew(self, awaited: AwaitedReply, now: float) -> None:
        """It has made progress."""
        self._deadlines.renew(awaited, now)

    def sweep(self) -> None:
        """Forget those that have ended."""
        for awaited in [each for each in self._live if each.pending.done]:
            self._deadlines.discard(awaited)
            self._forget(awaited)

    def close(self) -> None:
        """Expire nothing any more."""
        self._deadlines.close()
        self._live.clear()

    def expire(self, awaited: AwaitedReply) -> None:
        """Its time is over."""
        elapsed = monotonic() - awaited.pending.started
        spent = self._timeout.spent(elapsed, has_progressed=awaited.has_progressed)
        self._observer.time_out(awaited.exchange, (awaited.pending,), spent)
        self._forget(awaited)

    def _forget(self, awaited: AwaitedReply) -> None:
        self._live.discard(awaited)
        if not isinstance(awaited.token, UnsetType):
            awaited.exchange.unwatch(awaited.token, awaited)

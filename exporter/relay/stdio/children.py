"""The children of one stdio server: started, with a pause where that keeps failing, and stopped."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from exporter.config.model import Server
from exporter.protocol import errors
from exporter.protocol.failures import Fault
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.relay.stdio.host import ChildHost, StartChild
from exporter.relay.stdio.trial import Trial
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.transport.http.request import Request
from exporter.transport.process.child import Child, ChildOwner, ProcessObserver
from exporter.transport.process.reaper import Reaper
from exporter.transport.process.stderr import StderrLog

log = logging.getLogger(__name__)


class Children:
    """Starts and stops the children of one server."""

    def __init__(
        self, server: Server, observer: Observer, processes: ProcessObserver, reaper: Reaper
    ) -> None:
        self._server = server
        self._observer = observer
        self._processes = processes
        self._reaper = reaper
        self._stderr_log = StderrLog(server)
        self._backoff = Backoff()
        self._trial: Trial | None = None
        self._is_closed = False
        self._stopping: set[asyncio.Task[None]] = set()
        self._replaced: set[asyncio.Task[None]] = set()
        """Those of the stopping ones that leave no place: it is given to another, or a trial's."""

    @property
    def stopping_count(self) -> int:
        """Places of children that are about to end, and of which no other waits for one's."""
        return len(self._stopping) - len(self._replaced)

    def starter(self, use: str, *, replaces_stopping: bool = False) -> StartChild:
        """What starts a child for ``use``; one that takes the place of a stopping one waits."""

        def start(owner: ChildOwner) -> Child:
            after = self._place() if replaces_stopping else None
            return Child(
                self._server,
                owner,
                self._processes,
                self._reaper,
                use,
                stderr_log=self._stderr_log,
                after=after,
            )

        return start

    def stop(self, host: ChildHost) -> None:
        """Stop the child of a host, and learn from how it fared."""
        if host.is_useful or host.has_failed:  # else its client left before anything could be said
            self._backoff.ended(host.is_useful, monotonic())
            self._try_start()
        self._wait_for(host.child.stop())

    async def close(self) -> None:
        """Wait until all that are stopping have ended; none is started any more."""
        self._is_closed = True
        if self._trial is not None:
            self._trial.cancel()
        if self._stopping:
            await asyncio.wait(self._stopping)

    def is_backing_off(self, request: Request, message: Message) -> bool:
        """Whether none may be started now; then the request is responded to."""
        wait = self._backoff.remaining(monotonic())
        if wait <= 0:
            return False
        text = f"server {self._server.name!r} keeps failing at start; next try in {wait:.0f} s"
        exchange = Exchange(self._observer.recorder)
        self._observer.client_sent(
            exchange, [message], len(request.body), request.received, request.traceparent
        )
        fault = Fault.EXIT.value
        self._observer.abandon(exchange, Outcome.UPSTREAM_ERROR, monotonic(), fault)
        reply = errors.error(errors.CONNECTION_LOST, text, message.id)
        request.respond(503, reply, errors.JSON, [(b"Retry-After", b"%d" % (wait + 1))])
        return True

    def _try_start(self) -> None:
        """Find out whether the server fails, or whether clients make it fail."""
        is_open = self._trial is None and not self._is_closed
        if is_open and self._backoff.is_in_doubt(monotonic()):
            self._trial = Trial(self.starter("trial"), self._tried)

    def _tried(self, child: Child, works: bool | None) -> None:
        """A trial is over; ``None`` says that it was given up."""
        self._trial = None
        task = child.stop()
        self._replaced.add(task)
        self._wait_for(task)
        if works is None:
            return
        self._backoff.tried(works, monotonic())
        extra = {"server": self._server.name}
        if works:
            log.info("children were lost, but the server starts as it should", extra=extra)
        else:
            log.warning("the server keeps failing at start", extra=extra)

    def _wait_for(self, task: asyncio.Task[None]) -> None:
        self._stopping.add(task)
        task.add_done_callback(self._stopped)

    def _place(self) -> asyncio.Task[None] | None:
        for task in self._stopping - self._replaced:
            self._replaced.add(task)
            return task
        return None

    def _stopped(self, task: asyncio.Task[None]) -> None:
        self._stopping.discard(task)
        self._replaced.discard(task)


class Backoff:
    """When a child may be started again that keeps failing before it was of any use.

    A client may be what makes its own child fail, and must not keep the others out with it: a
    trial, in which no client has a part, decides whether there is anything to wait for.
    """

    FIRST = 1.0
    LONGEST = 30.0
    TRUST = 5.0
    """Seconds after a trial that went well in which failures are none of the server's."""

    def __init__(self) -> None:
        self._failures = 0
        self._failed_trials = 0
        self._until = 0.0
        self._trusted_until = 0.0

    def ended(self, was_useful: bool, now: float) -> None:
        """A child of a client is gone."""
        if was_useful:
            self._failures = self._failed_trials = 0
        elif now >= self._trusted_until:
            self._failures += 1

    def is_in_doubt(self, now: float) -> bool:
        """Whether a trial has to tell whose fault it is: once may be chance."""
        return self._failures > 1 and self.remaining(now) <= 0

    def tried(self, works: bool, now: float) -> None:
        """A trial is over."""
        if works:
            self._failures = self._failed_trials = 0
            self._trusted_until = now + self.TRUST
            return
        self._failures = 1  # with the next one that fails there is doubt again
        self._until = now + min(self.LONGEST, self.FIRST * 2 ** min(self._failed_trials, 10))
        self._failed_trials += 1

    def remaining(self, now: float) -> float:
        """Seconds until the next start."""
        return max(0.0, self._until - now)

"""Sends encoded spans to a collector, from a thread of its own and within bounds.

Whatever the collector does, the relaying thread only appends to a queue, or drops. Each span that
was taken is counted once, as sent or as dropped.
"""

from __future__ import annotations

import logging
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from time import monotonic
from traceback import extract_tb
from typing import Protocol

from exporter.telemetry.spans.metrics import SpanMetrics

MOST_SLICES = 64
"""Slices that wait; 32 spans each."""

SLICES_A_POST = 16
PATIENCE = 1.0
"""Seconds after which what waits is sent, however little it is."""

TRIES = 3
LONGEST_WAIT = 30.0
"""Seconds between two tries, whatever the collector says."""

_AGAIN = frozenset({429, 502, 503, 504})
"""Statuses after which OTLP allows another try."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectorReply:
    """What a collector replied: ``retry_after`` in seconds, ``rejected`` spans of those sent."""

    status: int
    retry_after: float | None = None
    rejected: int = 0


class CollectorLostError(Exception):
    """A collector could not be reached, or was lost; the message is one line."""


class Collector(Protocol):
    """Where spans are sent."""

    def post(self, body: bytes, timeout: float) -> CollectorReply:
        """Send one request. Raises ``CollectorLostError``."""


class SpanSender:
    """A bounded queue of slices, and the thread that empties it."""

    def __init__(
        self,
        collector: Collector,
        metrics: SpanMetrics,
        timeout: float,
        *,
        clock: Callable[[], float] = monotonic,
        random: Random | None = None,
    ) -> None:
        self._collector = collector
        self._metrics = metrics
        self._timeout = timeout
        self._clock = clock
        self._random = random or Random()  # noqa: S311 - jitter, no secret
        self._slices: deque[tuple[bytes, int]] = deque()
        self._wake = Event()
        self._stopping = Event()
        self._deadline = float("inf")
        self._lock = Lock()
        self._is_closed = False
        self._in_flight = 0
        self._is_failing = False
        self._thread = Thread(target=self.run, name="spans", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another slice."""
        return len(self._slices) >= MOST_SLICES

    def put(self, data: bytes, count: int) -> None:
        """Take a slice of so many spans; it is dropped where there is no room."""
        if self._stopping.is_set():
            self._metrics.dropped["stopping"].inc(count)
        elif self.is_full:
            self._metrics.dropped["queue_full"].inc(count)
        else:
            self._slices.append((data, count))
            if len(self._slices) >= SLICES_A_POST:
                self._wake.set()

    def stop(self, seconds: float) -> None:
        """Send what is left within so many seconds."""
        self._deadline = self._clock() + seconds
        self._stopping.set()
        self._wake.set()

    def join(self, seconds: float) -> None:
        """Wait for the thread at most so long, and count what it has not sent by then."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        with self._lock:
            self._is_closed = True
            left = self._in_flight + sum(count for _, count in self._slices)
            self._slices.clear()
            self._in_flight = 0
            self._metrics.dropped["stopping"].inc(left)

    # On the thread

    def run(self) -> None:
        """Send until it is to stop, and then what is left."""
        while not self._stopping.is_set():
            self._wake.wait(PATIENCE)
            self._wake.clear()
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while self._slices and self._left() > 0:
            taken = self._take()
            if taken is None:
                return
            self._settle(*self._send(*taken))

    def _take(self) -> tuple[bytes, int] | None:
        """What one request is to bear; the slices themselves are kept no longer."""
        with self._lock:
            if self._is_closed:
                return None
            number = min(len(self._slices), SLICES_A_POST)
            slices = [self._slices.popleft() for _ in range(number)]
            self._in_flight = count = sum(each for _, each in slices)
        return b"".join(data for data, _ in slices), count

    def _send(self, body: bytes, count: int) -> tuple[int, str]:
        """Return how many of the spans were taken, and why the others were dropped."""
        reason = ""
        for attempt in range(TRIES):
            wait = 2.0**attempt * (0.5 + self._random.random())
            try:
                reply = self._post(body)
            except CollectorLostError as error:
                reason = str(error)
            else:
                if 200 <= reply.status < 300:
                    self._worked()
                    return count - min(max(0, reply.rejected), count), "rejected"
                reason = f"HTTP {reply.status}"
                if reply.status not in _AGAIN:
                    self._failed(reason)
                    return 0, "rejected"
                wait = wait if reply.retry_after is None else reply.retry_after
            self._failed(reason)
            if attempt == TRIES - 1 or self._left() <= 0:
                break
            self._stopping.wait(min(max(wait, 0.0), LONGEST_WAIT))
        return 0, "unreachable"

    def _post(self, body: bytes) -> CollectorReply:
        began = self._clock()
        timeout = max(0.05, min(self._timeout, self._left()))
        try:
            return self._collector.post(body, timeout)
        except CollectorLostError:
            raise
        except Exception as error:  # a thread that ends would drop all that comes
            log.error("spans could not be sent", extra={"reason": _place(error)})
            raise CollectorLostError(type(error).__name__) from error
        finally:
            self._metrics.export_duration.observe(self._clock() - began)

    def _settle(self, taken: int, reason: str) -> None:
        with self._lock:
            if self._is_closed:  # counted already
                return
            count, self._in_flight = self._in_flight, 0
            self._metrics.sent.inc(taken)
            if taken < count:
                self._metrics.dropped[reason].inc(count - taken)

    def _left(self) -> float:
        return self._deadline - self._clock()

    def _failed(self, reason: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            log.warning("spans cannot be sent", extra={"reason": reason})

    def _worked(self) -> None:
        if self._is_failing:
            self._is_failing = False
            log.info("spans are sent again")


def _place(error: Exception) -> str:
    """What was raised, and where: its own words may have the collector's address in them."""
    last = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def gzipped(body: bytes) -> bytes:
    """The body compressed; meanwhile the interpreter is free."""
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(body) + packer.flush()

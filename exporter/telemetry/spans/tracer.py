"""Spans as tuples: one for each request that is kept, encoded by the thread that relays.

A second thread that encoded would quarrel with the relaying one about the interpreter, which
costs more than the work. Here nothing is known of the library that writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from time import monotonic, time
from typing import Protocol

from msgspec import Struct

from exporter.config.model import TracingSettings
from exporter.protocol import trace_context
from exporter.telemetry.call import Call
from exporter.telemetry.spans.details import TraceDetails, fit
from exporter.telemetry.spans.metrics import SpanMetrics

BATCH = 32
"""Spans that are encoded at once: two calls' worth of time."""

PING = "ping"

_REMOTE_PARENT = 0x300
_NO_REMOTE_PARENT = 0x100
_SAMPLED = 0x01
_RANDOM = 0x02
"""Flags of a span: those of W3C Trace Context, and whether its parent is elsewhere."""


class SpanSeries(Struct, frozen=True, gc=False):
    """What the spans of one kind have in common: they are written from one template."""

    server: str
    method: str
    tool: str | None
    """As the client named it; ``is_listed`` where the server has one of this name."""
    is_listed: bool
    prompt: str | None
    outcome: str
    code: float | None
    version: str | None
    client: str | None
    is_piped: bool


class SpanRecord(Struct, frozen=True, gc=False):
    """One finished span; ``start`` is on the monotonic clock, ids are hexadecimal."""

    series: SpanSeries
    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    start: float
    seconds: float
    request_id: str | None
    size: int | None
    links: Sequence[str]
    """Trace contexts of other spans that it has to do with."""


class SpanQueue(Protocol):
    """Where encoded spans go."""

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another slice."""

    def put(self, data: bytes, count: int) -> None:
        """Take a slice of so many spans."""


Encode = Callable[[Sequence[SpanRecord], float], bytes]
"""Writes spans; the offset makes wall time of monotonic time."""


class Tracer:
    """Decides which requests leave a span, and collects them. All on the relaying thread."""

    def __init__(
        self,
        settings: TracingSettings,
        encode: Encode,
        queue: SpanQueue,
        metrics: SpanMetrics,
        random: Random | None = None,
    ) -> None:
        self._settings = settings
        self._is_parent = settings.context == "parent"
        self._encode = encode
        self._queue = queue
        self._metrics = metrics
        self._random = random or Random()  # noqa: S311 - ids, no secrets
        self._records: list[SpanRecord] = []
        self._second = 0.0
        self._left = 0

    def keeps(self, call: Call) -> bool:
        """Whether a finished request is to leave a span; counts where its context came from."""
        details = call.details
        if details is None or call.method == PING:
            return False
        self._metrics.contexts[details.source].inc()
        context = call.traceparent
        if context is not None and self._is_parent:
            return trace_context.is_sampled(context)
        return self._is_kept(call)

    def record(
        self, server: str, method: str, tool: str | None, client: str | None, call: Call
    ) -> str | None:
        """Note a request that is kept; return ``trace-span``, or ``None`` without room for it.

        ``method`` and ``client`` are admitted labels, ``tool`` is one where the server lists it.
        """
        details = call.details
        if details is None:
            return None
        self._metrics.recorded.inc()
        if not self._has_room(details.started + call.seconds):
            return None
        context = None if self._settings.context == "ignore" else call.traceparent
        record = self._record(_series(server, method, tool, client, call), call, details, context)
        self._records.append(record)
        if len(self._records) >= BATCH:
            self.flush()
        return f"{record.trace_id}-{record.span_id}"

    def flush(self) -> None:
        """Encode what waits."""
        records, self._records = self._records, []
        if not records:
            return
        data = b""
        try:
            data = self._encode(records, time() - monotonic())
        finally:
            if data:
                self._queue.put(data, len(records))
            else:
                self._metrics.dropped["unwritable"].inc(len(records))

    def _is_kept(self, call: Call) -> bool:
        settings = self._settings
        if call.outcome in settings.always:
            return True
        if settings.slower_than and call.seconds > settings.slower_than:
            return True
        return settings.sample >= 1 or self._random.random() < settings.sample

    def _has_room(self, now: float) -> bool:
        most = self._settings.per_second
        if now >= self._second:
            self._second, self._left = now + 1.0, most
        if most and self._left <= 0:
            self._metrics.dropped["rate"].inc()
            return False
        self._left -= 1
        if self._queue.is_full:
            self._metrics.dropped["queue_full"].inc()
            return False
        return True

    def _record(
        self, series: SpanSeries, call: Call, details: TraceDetails, context: str | None
    ) -> SpanRecord:
        span_id = f"{self._random.getrandbits(64) or 1:016x}"
        links = [details.link] if details.link is not None and context is not None else []
        if context is not None and self._is_parent:
            trace_id = trace_context.trace_id(context)
            parent_id = trace_context.parent_id(context)
            flags = _REMOTE_PARENT | trace_context.flags(context)
        else:
            trace_id, parent_id = f"{self._random.getrandbits(128) or 1:032x}", ""
            flags = _NO_REMOTE_PARENT | _SAMPLED | _RANDOM
            links = links if context is None else [context, *links]
        return SpanRecord(
            series,
            trace_id,
            span_id,
            parent_id,
            flags,
            details.started,
            call.seconds,
            details.request_id,
            call.result_bytes,
            links,
        )


def _series(
    server: str, method: str, tool: str | None, client: str | None, call: Call
) -> SpanSeries:
    details = call.details
    return SpanSeries(
        server,
        method,
        fit(call.tool),
        tool is not None,
        None if details is None else details.prompt,
        call.outcome.value,
        call.code,
        None if details is None else details.version,
        client,
        details is not None and details.is_piped,
    )

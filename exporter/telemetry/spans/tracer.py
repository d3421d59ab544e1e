"""Spans as tuples: one for each request that is kept, encoded by the thread that relays.

A second thread that encoded would quarrel with the relaying one about the interpreter, which
costs more than the work. Here nothing is known of the library that writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf
from random import Random
from time import monotonic, time
from typing import Protocol

from msgspec import Struct

from exporter.config.model import TracingSettings
from exporter.protocol import trace_context
from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.spans.details import UNTRACED, Join, Peer, TraceDetails, TraceNotes, fit
from exporter.telemetry.spans.metrics import SpanMetrics

BATCH = 32
"""Spans that are encoded at once: two calls' worth of time."""

IDS_A_PAGE = 128

REMOTE_PARENT = 0x300
NO_REMOTE_PARENT = 0x100
_SAMPLED = 0x01
_RANDOM = 0x02
"""Flags of a span: those of W3C Trace Context, and whether its parent is elsewhere."""


class SpanSeries(Struct, frozen=True, gc=False, cache_hash=True):
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
    fault: str | None = None
    """Why there was no reply."""


class SpanRecord(Struct, frozen=True, gc=False):
    """One finished request: its span, and where a server was told, the one below it.

    ``start`` is on the monotonic clock, ids are hexadecimal.
    """

    series: SpanSeries
    trace_id: str
    span_id: str
    parent_id: str
    flags: int
    start: float
    seconds: float
    request_id: str | None
    size: int | None
    links: tuple[str, ...]
    """Trace contexts of other spans that it has to do with."""
    session: str | None = None
    state: str | None = None
    join: Join | None = None
    """What the server was told: the exporter's span as its client begins and ends with it."""


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
        self.propagates = settings.propagate
        """Whether servers that say nothing of it are told of the spans here."""
        self._is_parent = settings.context == "parent"
        self._encode = encode
        self._queue = queue
        self._metrics = metrics
        self._recorded = metrics.recorded
        self._contexts = metrics.contexts
        self._no_context = metrics.contexts["none"]
        self._always = settings.always
        self._slowest = settings.slower_than or inf
        self._share = settings.sample
        self._random = random or Random()  # noqa: S311 - ids, no secrets
        self._ids = _ids(self._random)
        self._records: list[SpanRecord] = []
        self._waiting = 0
        self._second = 0.0
        self._left = 0

    def join(self, context: str | None, peer: Peer) -> Join | None:
        """What a server is to be told of a request with this context; ``None`` for nothing.

        Without a context a trace begins, whose flag is decided now: the server goes by it.
        """
        if not self._is_parent:
            return None
        if context is None:
            flags = _RANDOM | (_SAMPLED if self._is_in_sample() else 0)
            told = f"00-{self._new_trace()}-{next(self._ids)}-{flags:02x}"
        elif trace_context.is_sampled(context):
            told = trace_context.with_parent(context, next(self._ids))
        else:
            return None
        return Join(told, next(self._ids), monotonic(), peer, context is None)

    def keeps(
        self,
        method: str,
        outcome: Outcome,
        seconds: float,
        context: str | None,
        notes: TraceNotes | None,
    ) -> bool:
        """Whether a finished request is to leave a span; counts where its context came from."""
        if method in UNTRACED:
            return False
        if notes is None:
            if context is not None:  # it came before spans were wanted
                return False
            self._no_context.value += 1
        else:
            self._contexts[notes.source].value += 1
            if context is not None and self._is_parent:
                return trace_context.is_sampled(context)
        # What is kept whatever the share of the others.
        if outcome in self._always or seconds > self._slowest:
            return True
        if notes is not None and notes.join is not None:
            return trace_context.is_sampled(notes.join.context)
        return self._share > 0 and self._is_in_sample()

    def record(
        self, server: str, method: str, tool: str | None, client: str | None, call: Call
    ) -> str | None:
        """Note a request that is kept; return ``trace-span``, or ``None`` without room for it.

        ``method`` and ``client`` are admitted labels, ``tool`` is one where the server lists it.
        """
        details = call.details
        if details is None:
            return None
        count = 1 if details.notes.join is None else 2
        self._recorded.value += count
        if not self._has_room(details.started + call.seconds, count):
            return None
        record = self._record(_series(server, method, tool, client, call, details), call, details)
        self._records.append(record)
        self._waiting += count
        if self._waiting >= BATCH:
            self.flush()
        return f"{record.trace_id}-{record.span_id}"

    def flush(self) -> None:
        """Encode what waits."""
        records, self._records = self._records, []
        count, self._waiting = self._waiting, 0
        if not records:
            return
        data = b""
        try:
            data = self._encode(records, time() - monotonic())
        finally:
            if data:
                self._queue.put(data, count)
            else:
                self._metrics.dropped["unwritable"].inc(count)

    def _is_in_sample(self) -> bool:
        return self._share >= 1 or self._random.random() < self._share

    def _new_trace(self) -> str:
        return next(self._ids) + next(self._ids)

    def _has_room(self, now: float, count: int) -> bool:
        most = self._settings.per_second
        if now >= self._second:
            self._second, self._left = now + 1.0, most
        if most and self._left <= 0:
            self._metrics.dropped["rate"].inc(count)
            return False
        self._left -= count
        if self._queue.is_full:
            self._metrics.dropped["queue_full"].inc(count)
            return False
        return True

    def _record(self, series: SpanSeries, call: Call, details: TraceDetails) -> SpanRecord:
        notes = details.notes
        join = notes.join
        links: tuple[str, ...] = ()
        context = None if self._settings.context == "ignore" else call.traceparent
        if context is not None and notes.link is not None:
            links = (notes.link,)
        if context is not None and self._is_parent:
            trace_id, parent_id, flags = trace_context.parts(context)
            flags |= REMOTE_PARENT
        else:
            told = join.context if join is not None and join.is_begun else None
            trace_id = self._new_trace() if told is None else trace_context.trace_id(told)
            parent_id, flags = "", NO_REMOTE_PARENT | _SAMPLED | _RANDOM
            links = links if context is None else (context, *links)
        return SpanRecord(
            series,
            trace_id,
            next(self._ids) if join is None else join.span_id,
            parent_id,
            flags,
            details.started,
            call.seconds,
            details.request_id,
            call.result_bytes,
            links,
            details.session,
            notes.state if parent_id else None,
            join,
        )


def _ids(random: Random) -> Iterator[str]:
    """Ids of spans. A page of them is drawn at once, for each draw takes as long as all the rest.

    All zeros would be no id; that comes less than once in 10**19.
    """
    while True:
        page = random.randbytes(IDS_A_PAGE * 8).hex()
        for at in range(0, len(page), 16):
            yield page[at : at + 16]


def _series(
    server: str,
    method: str,
    tool: str | None,
    client: str | None,
    call: Call,
    details: TraceDetails,
) -> SpanSeries:
    notes = details.notes
    return SpanSeries(
        server,
        method,
        fit(call.tool),
        tool is not None,
        notes.prompt,
        call.outcome,
        call.code,
        details.version,
        client,
        details.is_piped,
        notes.fault,
    )

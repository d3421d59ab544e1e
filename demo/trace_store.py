"""Traces as they come over OTLP, the newest of them kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from threading import Lock

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

MOST_SPANS = 10_000
MOST_SPANS_OF_A_TRACE = 200
MOST_ATTRIBUTES = 64
LONGEST_TEXT = 500
FIRST_TRACES_KEPT = 32
"""They stay whatever comes: the demo says the address of one of them."""

_KINDS = {
    SpanMessage.SPAN_KIND_CLIENT: "client",
    SpanMessage.SPAN_KIND_SERVER: "server",
    SpanMessage.SPAN_KIND_PRODUCER: "producer",
    SpanMessage.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True)
class Span:
    """One step of a trace. Ids are hexadecimal, times nanoseconds since 1970."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start: int
    end: int
    is_error: bool
    attributes: Mapping[str, str]
    links: tuple[str, ...] = ()
    """The other traces that it is linked to."""

    @property
    def duration(self) -> int:
        return max(0, self.end - self.start)


Trace = tuple[Span, ...]
"""The spans of one trace in the order in which they begin."""


class TraceStore:
    """What came, up to a bound; of a trace that goes, all spans go. For several threads."""

    def __init__(self, most_spans: int = MOST_SPANS, first_kept: int = FIRST_TRACES_KEPT) -> None:
        self._most_spans = most_spans
        self._first_kept = first_kept
        self._first: dict[str, dict[str, Span]] = {}
        self._later: dict[str, dict[str, Span]] = {}
        self._later_spans = 0
        self._lock = Lock()

    def add(self, spans: Iterable[Span]) -> None:
        """Take spans in; one that is sent again takes the place of itself."""
        with self._lock:
            for span in spans:
                self._add(span)

    def trace(self, trace_id: str) -> Trace:
        """The spans of a trace that came so far; empty where it is not kept."""
        with self._lock:
            return _in_order(self._first.get(trace_id) or self._later.get(trace_id) or {})

    def newest(self, count: int) -> list[Trace]:
        with self._lock:
            newest_first = chain(reversed(self._later.values()), reversed(self._first.values()))
            return [_in_order(each) for each in islice(newest_first, count)]

    def _add(self, span: Span) -> None:
        kept = self._trace_for(span.trace_id)
        if span.span_id not in kept:
            if len(kept) >= MOST_SPANS_OF_A_TRACE:
                return
            self._later_spans += span.trace_id in self._later
        kept[span.span_id] = span
        while self._later_spans > self._most_spans and len(self._later) > 1:
            self._later_spans -= len(self._later.pop(next(iter(self._later))))

    def _trace_for(self, trace_id: str) -> dict[str, Span]:
        if trace_id in self._first:
            return self._first[trace_id]
        has_room = trace_id not in self._later and len(self._first) < self._first_kept
        return (self._first if has_room else self._later).setdefault(trace_id, {})


def spans_of(body: bytes) -> list[Span]:
    """The spans of a message; raises ``google.protobuf.message.DecodeError`` where it is none.

    Those without the ids that OTLP wants are left out.
    """
    message = ExportTraceServiceRequest.FromString(body)
    return [
        _span(span, _text(service))
        for part in message.resource_spans
        for service in [_service(part.resource.attributes)]
        for scope in part.scope_spans
        for span in scope.spans
        if len(span.trace_id) == 16 and len(span.span_id) == 8
    ]


def _service(attributes: Iterable[KeyValue]) -> str:
    named = (each.value.string_value for each in attributes if each.key == "service.name")
    return next(named, "") or "unknown service"


def _span(span: SpanMessage, service: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=service,
        name=_text(span.name),
        kind=_KINDS.get(span.kind, "internal"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=dict(islice(_attributes(span.attributes), MOST_ATTRIBUTES)),
        links=tuple(link.trace_id.hex() for link in span.links[:MOST_ATTRIBUTES]),
    )


def _attributes(attributes: Iterable[KeyValue]) -> Iterator[tuple[str, str]]:
    for each in attributes:
        yield _text(each.key), _text(_value(each.value))


def _value(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return "" if kind is None else str(getattr(value, kind)).strip()


def _text(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _in_order(spans: Mapping[str, Span]) -> Trace:
    return tuple(sorted(spans.values(), key=lambda span: (span.start, -span.end)))

"""What becomes of spans, counted: each series is written by one thread alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from exporter.telemetry.series import Counter, Gauge, Histogram
from exporter.telemetry.spans.details import SOURCES

JOINS = ("joined", "ambiguous", "absent")
"""What became of a request whose server was to be told of the exporter's span."""

DROPPED = ("queue_full", "rate", "rejected", "unreachable", "stopping", "unwritable")
"""Why a span was not sent."""

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Family = TypeVar("Family", Counter, Gauge, Histogram)


class SpanMetrics:
    """The families of tracing; at zero where no spans are made."""

    def __init__(self, keep: Callable[[Any], Any]) -> None:
        self.recorded = keep(
            Counter("mcp_exporter_spans_recorded", "Spans of requests that were to be sent.")
        ).labels()
        self.sent = keep(
            Counter("mcp_exporter_spans_sent", "Spans that the collector took.")
        ).labels()
        dropped = keep(
            Counter("mcp_exporter_spans_dropped", "Spans that were not sent, by why.", ["reason"])
        )
        self.dropped = {reason: dropped.labels(reason) for reason in DROPPED}
        self.queued = keep(Gauge("mcp_exporter_spans_queued", "Spans that wait.")).labels()
        self.export_duration = keep(
            Histogram(
                "mcp_exporter_span_export_duration_seconds",
                "How long the collector took for one request with spans, retries apart.",
                (),
                _BUCKETS,
            )
        ).labels()
        contexts = keep(
            Counter(
                "mcp_exporter_trace_contexts",
                "Traced requests, by where their trace context came from.",
                ["source"],
            )
        )
        self.contexts = {source: contexts.labels(source) for source in SOURCES}
        joins = keep(
            Counter(
                "mcp_exporter_trace_joins",
                "Traced requests to servers with propagate, by whether the server was told.",
                ["result"],
            )
        )
        self.joins = {result: joins.labels(result) for result in JOINS}

    def update_queued(self) -> None:
        """Tell how many wait: those that were neither sent nor dropped."""
        gone = self.sent.value + sum(series.value for series in self.dropped.values())
        self.queued.set(max(0.0, self.recorded.value - gone))

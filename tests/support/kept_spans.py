"""A tracer whose spans a test can look at before they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from exporter.config.model import TracingSettings
from exporter.protocol import trace_context
from exporter.protocol.label_values import Outcome
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.spans.details import UNTRACED
from exporter.telemetry.spans.tracer import SpanRecord, Tracer

CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class KeptSpans:
    """Spans are made from now on, and kept here."""

    is_full = False

    def __init__(self, metrics: Metrics, **settings: Any) -> None:
        self._metrics = metrics
        self._records: list[SpanRecord] = []
        wanted = TracingSettings("http://collector/v1/traces", per_second=0, **settings)
        self.tracer = Tracer(wanted, self._write, self, metrics.spans, Random(1))
        metrics.tracing.tracer = self.tracer

    @property
    def records(self) -> list[SpanRecord]:
        self.tracer.flush()
        return self._records

    @property
    def told(self) -> str:
        """The span that the server was told of with the last request."""
        join = self.records[-1].join
        assert join is not None
        return trace_context.parent_id(join.context)

    @property
    def joins(self) -> Mapping[str, float]:
        """How many requests were joined, and were not."""
        joins = self._metrics.spans.joins
        return {result: series.value for result, series in joins.items() if series.value}

    def put(self, data: bytes, count: int) -> None:
        """They are kept already."""

    def _write(self, records: Sequence[SpanRecord], offset: float) -> bytes:  # noqa: ARG002
        self._records += records
        return b"x"


class SpanAccount:
    """Spans that are switched on and off while requests end, against what was counted meanwhile."""

    def __init__(self, metrics: Metrics, **settings: Any) -> None:
        self._metrics = metrics
        self._kept = KeptSpans(metrics, **settings)
        self._expected: Counter[tuple[str, str]] = Counter()
        self._before = self._counted()

    def switch(self, is_on: bool) -> None:
        """Make spans from now on, or none."""
        self._settle()
        self._metrics.tracing.tracer = self._kept.tracer if is_on else None

    @property
    def meta(self) -> dict[str, str]:
        """The context of a request; none while no spans are made, for that one leaves none."""
        return {"traceparent": CONTEXT} if self._metrics.tracing.tracer is not None else {}

    def check(self) -> None:
        """Each request that was counted while spans were made has one, with its outcome."""
        self._settle()
        records = self._kept.records
        found = Counter((each.series.method, each.series.outcome) for each in records)
        assert found == self._expected
        spans = sum(1 if each.join is None else 2 for each in records)
        assert self._metrics.spans.recorded.value == spans

    def _settle(self) -> None:
        now = self._counted()
        if self._metrics.tracing.tracer is not None:
            self._expected += now - self._before
        self._before = now

    def _counted(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        families = self._metrics.registry.restricted_registry(["mcp_requests_total"]).collect()
        for sample in (sample for family in families for sample in family.samples):
            method, outcome = sample.labels["method"], sample.labels["outcome"]
            if sample.value and method not in UNTRACED and outcome != Outcome.REJECTED:
                found[method, outcome] += int(sample.value)
        return found

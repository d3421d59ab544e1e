"""A tracer whose spans a test can look at before they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from exporter.config.model import TracingSettings
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.spans.tracer import SpanRecord, Tracer


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
    def joins(self) -> Mapping[str, float]:
        """How many requests were joined, and were not."""
        joins = self._metrics.spans.joins
        return {result: series.value for result, series in joins.items() if series.value}

    def put(self, data: bytes, count: int) -> None:
        """They are kept already."""

    def _write(self, records: Sequence[SpanRecord], offset: float) -> bytes:  # noqa: ARG002
        self._records += records
        return b"x"

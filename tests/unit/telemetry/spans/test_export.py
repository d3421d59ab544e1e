"""Sending begins, changes and ends with the configuration."""

from __future__ import annotations

import asyncio

from exporter.config.model import TracingSettings, Values
from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.spans.details import TraceDetails
from exporter.telemetry.spans.export import SpanExport
from tests.support.fakes import Telemetry
from tests.support.trace_receiver import TraceReceiver, receiving


def settings(receiver: TraceReceiver, **resource: str) -> TracingSettings:
    return TracingSettings(f"{receiver.url}/v1/traces", resource=Values(resource))


def call(telemetry: Telemetry) -> None:
    details = TraceDetails(1.0) if telemetry.metrics.tracing.tracer is not None else None
    telemetry.recorder.began(to_server=True)
    telemetry.recorder.finished(Call("tools/list", Outcome.OK, 0.1, details=details))


def test_a_configuration_begins_changes_and_ends_it() -> None:
    telemetry = Telemetry()

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(telemetry.metrics)
        export.apply(None)
        call(telemetry)
        export.apply(settings(receiver))
        tracer = telemetry.metrics.tracing.tracer
        call(telemetry)
        export.apply(settings(receiver))
        assert telemetry.metrics.tracing.tracer is tracer
        export.apply(settings(receiver, team="files"))
        assert telemetry.metrics.tracing.tracer is not tracer
        call(telemetry)
        export.apply(None)
        assert telemetry.metrics.tracing.tracer is None
        call(telemetry)
        await export.close()

    with receiving() as receiver:
        asyncio.run(run(receiver))
        assert len(receiver.of("mcp-exporter")) == 2
    spans = telemetry.metrics.spans
    assert (spans.recorded.value, spans.sent.value, spans.queued.value) == (2, 2, 0)
    assert telemetry.in_flight == 0


def test_what_waits_is_sent_after_a_second() -> None:
    telemetry = Telemetry()

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(telemetry.metrics)
        export.apply(settings(receiver))
        call(telemetry)
        await asyncio.to_thread(receiver.wait_for, "mcp-exporter")
        await export.close()

    with receiving() as receiver:
        asyncio.run(run(receiver))


def test_an_exemplar_leads_to_its_span() -> None:
    telemetry = Telemetry()

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(telemetry.metrics)
        export.apply(settings(receiver))
        call(telemetry)
        await export.close()

    with receiving() as receiver:
        asyncio.run(run(receiver))
        (span,) = receiver.spans
    text = b"".join(
        telemetry.metrics.exposition().render("application/openmetrics-text")[0]
    ).decode()
    assert f'# {{span_id="{span.span_id}",trace_id="{span.trace_id}"}} 0.1 ' in text

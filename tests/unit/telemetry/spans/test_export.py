"""Sending begins, changes and ends with the configuration."""

from __future__ import annotations

import asyncio

from exporter.config.model import TracingSettings, Values
from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.spans.details import TraceDetails
from exporter.telemetry.spans.export import SpanExport
from tests.support.fakes import Books
from tests.support.trace_receiver import TraceReceiver, receiving


def settings(receiver: TraceReceiver, **resource: str) -> TracingSettings:
    return TracingSettings(f"{receiver.url}/v1/traces", resource=Values(resource))


def call(books: Books) -> None:
    details = TraceDetails(1.0) if books.metrics.tracing.tracer is not None else None
    books.recorder.began(to_server=True)
    books.recorder.finished(Call("tools/list", Outcome.OK, 0.1, details=details))


def test_a_configuration_begins_changes_and_ends_it() -> None:
    books = Books()

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(books.metrics)
        export.apply(None)
        call(books)
        export.apply(settings(receiver))
        tracer = books.metrics.tracing.tracer
        call(books)
        export.apply(settings(receiver))
        assert books.metrics.tracing.tracer is tracer
        export.apply(settings(receiver, team="files"))
        assert books.metrics.tracing.tracer is not tracer
        call(books)
        export.apply(None)
        assert books.metrics.tracing.tracer is None
        call(books)
        await export.close()

    with receiving() as receiver:
        asyncio.run(run(receiver))
        assert len(receiver.of("mcp-exporter")) == 2
    spans = books.metrics.spans
    assert (spans.recorded.value, spans.sent.value, spans.queued.value) == (2, 2, 0)
    assert books.in_flight == 0


def test_what_waits_is_sent_after_a_second() -> None:
    books = Books()

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(books.metrics)
        export.apply(settings(receiver))
        call(books)
        await asyncio.to_thread(receiver.wait_for, "mcp-exporter")
        await export.close()

    with receiving() as receiver:
        asyncio.run(run(receiver))


def test_an_exemplar_leads_to_its_span() -> None:
    books = Books()

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(books.metrics)
        export.apply(settings(receiver))
        call(books)
        await export.close()

    with receiving() as receiver:
        asyncio.run(run(receiver))
        (span,) = receiver.spans
    text = b"".join(books.metrics.exposition().render("application/openmetrics-text")[0]).decode()
    assert f'# {{span_id="{span.span_id}",trace_id="{span.trace_id}"}} 0.1 ' in text

"""Sending begins, changes and ends with the configuration."""

from __future__ import annotations

import asyncio
import socket
from threading import current_thread
from unittest.mock import patch

import pytest

from exporter.config.model import TracingSettings, Values
from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.spans.collector import HttpCollector
from exporter.telemetry.spans.details import TraceDetails
from exporter.telemetry.spans.export import SpanExport
from exporter.telemetry.spans.sender import CollectorReply
from exporter.telemetry.spans.tracer import BATCH
from tests.support.fakes import Telemetry
from tests.support.trace_receiver import Misbehave, TraceReceiver, receiving


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


def _hang(connection: socket.socket) -> None:
    connection.recv(1)


def _gigabyte(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def _says(text: bytes) -> Misbehave:
    return lambda connection: connection.sendall(text)


LIES = {
    "hangs": (_hang, {"stopping", "unreachable"}),
    "resets": (lambda connection: connection.close(), {"stopping", "unreachable"}),
    "answers a gigabyte": (_gigabyte, {"sent"}),
    "took more than there was": (
        _says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x0a\x03\x08\xff\x7f"),
        {"rejected"},
    ),
    "took less than nothing": (
        _says(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n\x0a\x0b\x08" + b"\xff" * 9 + b"\x01"),
        {"sent"},
    ),
    "is full": (_says(b"HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n"), {"rejected"}),
    "finds it too large": (_says(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"), {"rejected"}),
    "is no collector": (_says(b"\x00" * 100), {"stopping", "unreachable"}),
}


@pytest.mark.parametrize("how", LIES)
def test_whatever_a_collector_does_each_span_is_sent_or_dropped(how: str) -> None:
    telemetry = Telemetry()
    misbehave, becomes = LIES[how]

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(telemetry.metrics)
        export.apply(settings(receiver))
        for _ in range(100):
            call(telemetry)
        await export.close()

    with receiving() as receiver:
        receiver.misbehave = misbehave
        asyncio.run(run(receiver))
    spans = telemetry.metrics.spans
    counts = {"sent": spans.sent.value} | {
        reason: series.value for reason, series in spans.dropped.items()
    }
    assert spans.recorded.value == sum(counts.values()) == 100
    assert {name for name, value in counts.items() if value} <= becomes
    assert spans.queued.value == 0


def test_nothing_is_sent_on_the_thread_that_relays() -> None:
    telemetry = Telemetry()
    threads = set()
    post = HttpCollector.post

    def noted(collector: HttpCollector, body: bytes, timeout: float) -> CollectorReply:
        threads.add(current_thread().name)
        return post(collector, body, timeout)

    async def run(receiver: TraceReceiver) -> None:
        export = SpanExport(telemetry.metrics)
        export.apply(settings(receiver))
        for _ in range(20 * BATCH):
            call(telemetry)
        await asyncio.to_thread(receiver.wait_for, "mcp-exporter")
        await export.close()

    with receiving() as receiver, patch.object(HttpCollector, "post", noted):
        asyncio.run(run(receiver))
        assert len(receiver.spans) == 20 * BATCH
    assert threads == {"spans"}

"""Runs a module with OpenTelemetry's SDK set up, which is all that the MCP SDK needs to make spans.

python -m demo.instrument SERVICE MODULE [ARGUMENT...]

Spans go where OpenTelemetry's own variables say.
"""

from __future__ import annotations

import runpy
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

MILLISECONDS_BETWEEN_MESSAGES = 200


def set_up(service: str) -> None:
    """Make the spans of this process ones of ``service``; the rest is sent when it exits."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    exporter = OTLPSpanExporter()
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=MILLISECONDS_BETWEEN_MESSAGES)
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)


def main() -> None:
    service, module, *arguments = sys.argv[1:]
    set_up(service)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

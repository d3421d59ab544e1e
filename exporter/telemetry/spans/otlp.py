"""Spans in OTLP, by the conventions of OpenTelemetry for MCP; the only user of its library.

What the spans of one series have in common is written once and merged into each: attribute by
attribute a span would cost eight times as much. Slices that stand one after the other are one
valid message, so that the sender joins them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from exporter.protocol import trace_context
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CALL_TOOL
from exporter.telemetry.spans.tracer import SpanRecord, SpanSeries

SCOPE = "mcp-exporter"

CONVENTIONS = "0.1.0"
"""The release of open-telemetry/semantic-conventions-genai that the names below are of. Its
``mcp`` and ``gen_ai`` names are in development; there is no address of their schema yet."""

METHOD = "mcp.method.name"
PROTOCOL_VERSION = "mcp.protocol.version"
OPERATION = "gen_ai.operation.name"
TOOL = "gen_ai.tool.name"
PROMPT = "gen_ai.prompt.name"
REQUEST_ID = "jsonrpc.request.id"
STATUS_CODE = "rpc.response.status_code"
ERROR_TYPE = "error.type"
TRANSPORT = "network.transport"
NETWORK_PROTOCOL = "network.protocol.name"
NETWORK_VERSION = "network.protocol.version"
SERVER = "mcp_exporter.server"
OUTCOME = "mcp_exporter.outcome"
CLIENT = "mcp_exporter.client"
SESSION = "mcp_exporter.session"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
RESPONSE_SIZE = "mcp_exporter.response.size"

MOST_SERIES = 4096

_CLIENTS_FAULTS = frozenset({-32700, -32600, -32601, -32602, -32002})
"""Codes that are the client's fault: on a server's span they are no errors."""

_ERRORS = frozenset(
    {Outcome.TOOL_ERROR, Outcome.PROTOCOL_ERROR, Outcome.TIMEOUT, Outcome.UPSTREAM_ERROR}
)


class OtlpEncoder:
    """Writes slices of spans for one resource."""

    def __init__(self, resource: Mapping[str, str], version: str) -> None:
        self._empty = ResourceSpans()
        for name, value in resource.items():
            attribute = self._empty.resource.attributes.add(key=name)
            attribute.value.string_value = value
        scope = self._empty.scope_spans.add().scope
        scope.name, scope.version = SCOPE, version
        self._templates: dict[SpanSeries, Span] = {}

    def __call__(self, records: Sequence[SpanRecord], offset: float) -> bytes:
        """The records as one message; ``offset`` makes wall time of monotonic time."""
        message = ExportTraceServiceRequest()
        part = message.resource_spans.add()
        part.CopyFrom(self._empty)
        spans = part.scope_spans[0].spans
        for record in records:
            _fill(spans.add(), self._template(record.series), record, offset)
        return bytes(message.SerializeToString())

    def _template(self, series: SpanSeries) -> Span:
        template = self._templates.get(series)
        if template is None:
            if len(self._templates) >= MOST_SERIES:
                self._templates.clear()
            template = self._templates[series] = _template(series)
        return template


def rejected(body: bytes) -> int:
    """How many spans a collector says that it did not take, although it took the message."""
    try:
        reply = ExportTraceServiceResponse.FromString(body)
    except DecodeError:  # what it wrote is no answer to this; its status counts
        return 0
    return int(reply.partial_success.rejected_spans)


def _fill(span: Span, template: Span, record: SpanRecord, offset: float) -> None:
    span.MergeFrom(template)
    span.trace_id = bytes.fromhex(record.trace_id)
    span.span_id = bytes.fromhex(record.span_id)
    span.parent_span_id = bytes.fromhex(record.parent_id)
    span.flags = record.flags
    start = int((record.start + offset) * 1e9)
    span.start_time_unix_nano = start
    span.end_time_unix_nano = start + int(record.seconds * 1e9)
    if record.state is not None:
        span.trace_state = record.state
    attributes = span.attributes
    if record.session is not None:
        attributes[2].value.string_value = record.session
    else:
        del attributes[2]
    if record.size is not None:
        attributes[1].value.int_value = record.size
    else:
        del attributes[1]
    if record.request_id is not None:
        attributes[0].value.string_value = record.request_id
    else:
        del attributes[0]
    for context in record.links:
        span.links.add(
            trace_id=bytes.fromhex(trace_context.trace_id(context)),
            span_id=bytes.fromhex(trace_context.parent_id(context)),
            flags=0x300 | trace_context.flags(context),
        )


def _template(series: SpanSeries) -> Span:
    is_asked = series.peer is None
    span = Span(
        name=_name(series), kind=Span.SPAN_KIND_SERVER if is_asked else Span.SPAN_KIND_CLIENT
    )
    for name in (REQUEST_ID, RESPONSE_SIZE, SESSION):  # what differs comes first, to be filled in
        span.attributes.add(key=name)
    for name, value in _attributes(series).items():
        if value is not None:
            span.attributes.add(key=name).value.string_value = value
    if series.peer is not None and series.peer.port is not None:
        span.attributes.add(key=SERVER_PORT).value.int_value = series.peer.port
    error = _error_type(series)
    if error is not None:
        span.attributes.add(key=ERROR_TYPE).value.string_value = error
        span.status.code = Status.STATUS_CODE_ERROR
    return span


def _name(series: SpanSeries) -> str:
    return f"{series.method} {series.tool}" if series.tool and series.is_listed else series.method


def _attributes(series: SpanSeries) -> Mapping[str, str | None]:
    peer = series.peer
    is_piped = series.is_piped if peer is None else peer.address is None
    return {
        METHOD: series.method,
        SERVER: series.server,
        OUTCOME: series.outcome,
        TRANSPORT: "pipe" if is_piped else "tcp",
        NETWORK_PROTOCOL: None if is_piped else "http",
        NETWORK_VERSION: None if is_piped else "1.1",
        SERVER_ADDRESS: None if peer is None else peer.address,
        OPERATION: "execute_tool" if series.method == CALL_TOOL else None,
        TOOL: series.tool,
        PROMPT: series.prompt,
        PROTOCOL_VERSION: series.version,
        CLIENT: series.client,
        STATUS_CODE: None if series.code is None else _code(series.code),
    }


def _error_type(series: SpanSeries) -> str | None:
    if series.outcome not in _ERRORS:
        return None
    if series.outcome == Outcome.PROTOCOL_ERROR and series.code is not None:
        is_excused = series.peer is None and series.code in _CLIENTS_FAULTS
        return None if is_excused else _code(series.code)
    if series.outcome == Outcome.UPSTREAM_ERROR and series.fault is not None:
        return series.fault
    return series.outcome


def _code(code: float) -> str:
    return f"{code:.0f}" if code == code // 1 else str(code)

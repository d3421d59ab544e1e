"""Spans in OTLP, by the conventions of OpenTelemetry for MCP; the only user of its library.

What the spans of one series have in common is written once, by the library; what differs is put
behind it as bytes, for the fields of a message may come in any order. Field by field a span would
cost twelve times as much. Slices that stand one after the other are one valid message, so that the
sender joins them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct as Layout

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from exporter.protocol import trace_context
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CALL_TOOL
from exporter.telemetry.spans.details import Peer
from exporter.telemetry.spans.tracer import (
    NO_REMOTE_PARENT,
    REMOTE_PARENT,
    SpanRecord,
    SpanSeries,
)
from exporter.telemetry.spans.wire import AttributeField, delimited, varint

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


_RESOURCE_SPANS, _SCOPE_SPANS = b"\n", b"\x12"
_SCOPE, _SPAN, _LINK, _STATE = b"\n", b"\x12", b"j", b"\x1a"
"""Tags of messages and texts within messages: the number of the field times eight, plus two."""

_TRACE_ID, _SPAN_ID, _PARENT_ID = "0a10", "1208", "2208"
"""Tags and lengths of the ids, in hexadecimal as these are."""

_START, _END, _FLAGS = 0x39, 0x41, b"\x85\x01"
_fixed = Layout("<BQBQ2sI").pack
"""Start, end and flags, each behind its tag."""

_ATTRIBUTE = b"J"
_REQUEST_ID = AttributeField(_ATTRIBUTE, REQUEST_ID)
_RESPONSE_SIZE = AttributeField(_ATTRIBUTE, RESPONSE_SIZE)
_SESSION = AttributeField(_ATTRIBUTE, SESSION)


class _Templates:
    """What all spans of one series say: the exporter's as a server, and as a client of ``peer``."""

    __slots__ = ("_asked", "_peer", "_series", "own")

    def __init__(self, series: SpanSeries) -> None:
        self._series = series
        self._peer: Peer | None = None
        self._asked = b""
        self.own: bytes = _template(series, None).SerializeToString()

    def asked(self, peer: Peer) -> bytes:
        """The one as a client; a series has one server, whose address seldom changes."""
        if peer != self._peer:
            self._peer, self._asked = peer, _template(self._series, peer).SerializeToString()
        return self._asked


class OtlpEncoder:
    """Writes slices of spans for one resource."""

    def __init__(self, resource: Mapping[str, str], version: str) -> None:
        start = ResourceSpans()
        for name, value in resource.items():
            start.resource.attributes.add(key=name).value.string_value = value
        self._start: bytes = start.SerializeToString()
        scope = InstrumentationScope(name=SCOPE, version=version)
        self._scope = delimited(_SCOPE, scope.SerializeToString())
        self._templates: dict[SpanSeries, _Templates] = {}

    def __call__(self, records: Sequence[SpanRecord], offset: float) -> bytes:
        """The records as one message; ``offset`` makes wall time of monotonic time."""
        # Whole nanoseconds: as seconds, wall time is exact to 240 of them alone.
        shift = int(offset * 1e9)
        spans = [self._scope]
        for record in records:
            self._write(record, shift, spans)
        return delimited(_RESOURCE_SPANS, self._start + delimited(_SCOPE_SPANS, b"".join(spans)))

    def _write(self, record: SpanRecord, shift: int, spans: list[bytes]) -> None:
        # Each kept request passes here: the parts of a span are joined once, with all others.
        templates = self._templates.get(record.series) or self._new(record.series)
        trace, own, join = record.trace_id, record.span_id, record.join
        parent = _PARENT_ID + record.parent_id if record.parent_id else ""
        start = int(record.start * 1e9) + shift
        end = start + int(record.seconds * 1e9)
        template, said = templates.own, _said(record)
        ids = bytes.fromhex(f"{_TRACE_ID}{trace}{_SPAN_ID}{own}{parent}")
        fixed = _fixed(_START, start, _END, end, _FLAGS, record.flags)
        links = b"".join(map(_link, record.links)) if record.links else b""
        size = len(template) + len(ids) + len(fixed) + len(said) + len(links)
        spans += (_SPAN, varint(size), template, ids, fixed, said, links)
        if join is None:
            return
        start = min(int(join.departed * 1e9) + shift, end)
        flags = NO_REMOTE_PARENT | record.flags & 0xFF
        template, asked = templates.asked(join.peer), trace_context.parent_id(join.context)
        ids = bytes.fromhex(f"{_TRACE_ID}{trace}{_SPAN_ID}{asked}{_PARENT_ID}{own}")
        fixed = _fixed(_START, start, _END, end, _FLAGS, flags)
        size = len(template) + len(ids) + len(fixed) + len(said)
        spans += (_SPAN, varint(size), template, ids, fixed, said)

    def _new(self, series: SpanSeries) -> _Templates:
        if len(self._templates) >= MOST_SERIES:
            self._templates.clear()
        self._templates[series] = templates = _Templates(series)
        return templates


def rejected(body: bytes) -> int:
    """How many spans a collector says that it did not take, although it took the message."""
    try:
        reply = ExportTraceServiceResponse.FromString(body)
    except DecodeError:  # what it wrote is no answer to this; its status counts
        return 0
    return int(reply.partial_success.rejected_spans)


def _said(record: SpanRecord) -> bytes:
    """What the spans of a request do not share with the others of its series, but for times."""
    said = b""
    if record.request_id is not None:
        said += _REQUEST_ID.text(record.request_id)
    if record.size is not None:
        said += _RESPONSE_SIZE.number(record.size)
    if record.session is not None:
        said += _SESSION.text(record.session)
    if record.state is not None:
        said += delimited(_STATE, record.state.encode())
    return said


def _link(context: str) -> bytes:
    trace_id, span_id, flags = trace_context.parts(context)
    link = Span.Link(
        trace_id=bytes.fromhex(trace_id),
        span_id=bytes.fromhex(span_id),
        flags=REMOTE_PARENT | flags,
    )
    return delimited(_LINK, link.SerializeToString())


def _template(series: SpanSeries, peer: Peer | None) -> Span:
    """What all spans of the series say; ``peer`` is who was asked, where the exporter asks."""
    kind = Span.SPAN_KIND_SERVER if peer is None else Span.SPAN_KIND_CLIENT
    span = Span(name=_name(series), kind=kind)
    for name, value in _attributes(series, peer).items():
        if value is not None:
            span.attributes.add(key=name).value.string_value = value
    if peer is not None and peer.port is not None:
        span.attributes.add(key=SERVER_PORT).value.int_value = peer.port
    error = _error_type(series, peer)
    if error is not None:
        span.attributes.add(key=ERROR_TYPE).value.string_value = error
        span.status.code = Status.STATUS_CODE_ERROR
    return span


def _name(series: SpanSeries) -> str:
    return f"{series.method} {series.tool}" if series.tool and series.is_listed else series.method


def _attributes(series: SpanSeries, peer: Peer | None) -> Mapping[str, str | None]:
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


def _error_type(series: SpanSeries, peer: Peer | None) -> str | None:
    if series.outcome not in _ERRORS:
        return None
    if series.outcome == Outcome.PROTOCOL_ERROR and series.code is not None:
        is_excused = peer is None and series.code in _CLIENTS_FAULTS
        return None if is_excused else _code(series.code)
    if series.outcome == Outcome.UPSTREAM_ERROR and series.fault is not None:
        return series.fault
    return series.outcome


def _code(code: float) -> str:
    return f"{code:.0f}" if code == code // 1 else str(code)

"""Spans as they are written, read back by the library of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from exporter.protocol.label_values import Outcome
from exporter.telemetry.spans.details import Join, Peer
from exporter.telemetry.spans.otlp import MOST_SERIES, OtlpEncoder, rejected
from exporter.telemetry.spans.tracer import SpanRecord, SpanSeries

TRACE, OURS, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "0123456789abcdef", "00f067aa0ba902b7"
THEIRS = "fedcba9876543210"
SERIES = SpanSeries(
    *("files", "tools/call", "act", True, None, "ok", None, "2026-07-28", "inspector", False)
)
RECORD = SpanRecord(SERIES, TRACE, OURS, PARENT, 0x301, 10.0, 0.25, "7", 120, ())


def read(*slices: bytes) -> list[Span]:
    message = ExportTraceServiceRequest.FromString(b"".join(slices))
    return [span for part in message.resource_spans for span in part.scope_spans[0].spans]


def written(record: SpanRecord) -> Span:
    (span,) = read(OtlpEncoder({}, "1")([record], 1000.0))
    return span


def attributes(span: Span) -> Mapping[str, Any]:
    found = {}
    for each in span.attributes:
        assert each.key not in found
        found[each.key] = getattr(each.value, str(each.value.WhichOneof("value")))
    return found


def test_a_span_says_all_that_is_known() -> None:
    span = written(RECORD)
    assert (span.name, span.kind) == ("tools/call act", Span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.span_id.hex()) == (TRACE, OURS)
    assert (span.parent_span_id.hex(), span.flags) == (PARENT, 0x301)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        1_010_000_000_000,
        1_010_250_000_000,
    )
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert attributes(span) == {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-07-28",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "act",
        "jsonrpc.request.id": "7",
        "network.transport": "tcp",
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "mcp_exporter.server": "files",
        "mcp_exporter.outcome": "ok",
        "mcp_exporter.client": "inspector",
        "mcp_exporter.response.size": 120,
    }


def test_what_is_not_known_is_not_said() -> None:
    bare = SpanSeries("files", "_other", None, False, None, "ok", None, None, None, True)
    span = written(SpanRecord(bare, TRACE, OURS, "", 0x103, 0.0, 0.0, None, None, ()))
    assert span.name == "_other"
    assert span.parent_span_id == b""
    assert attributes(span) == {
        "mcp.method.name": "_other",
        "network.transport": "pipe",
        "mcp_exporter.server": "files",
        "mcp_exporter.outcome": "ok",
    }


def test_a_tool_that_is_not_listed_names_no_span() -> None:
    span = written(replace(RECORD, series=replace(SERIES, is_listed=False)))
    assert span.name == "tools/call"
    assert attributes(span)["gen_ai.tool.name"] == "act"


def test_a_prompt_is_named() -> None:
    series = replace(SERIES, method="prompts/get", tool=None, is_listed=False, prompt="greet")
    assert attributes(written(replace(RECORD, series=series)))["gen_ai.prompt.name"] == "greet"


@pytest.mark.parametrize(
    ("outcome", "code", "error", "status"),
    [
        (Outcome.OK, None, None, None),
        (Outcome.INPUT_REQUIRED, None, None, None),
        (Outcome.TOOL_ERROR, None, "tool_error", None),
        (Outcome.PROTOCOL_ERROR, -32603.0, "-32603", "-32603"),
        (Outcome.PROTOCOL_ERROR, 1.5, "1.5", "1.5"),
        (Outcome.PROTOCOL_ERROR, None, "protocol_error", None),
        *(
            (Outcome.PROTOCOL_ERROR, float(code), None, str(code))
            for code in (-32700, -32600, -32601, -32602, -32002)
        ),
        (Outcome.TIMEOUT, None, "timeout", None),
        (Outcome.UPSTREAM_ERROR, None, "upstream_error", None),
        (Outcome.UNAUTHORIZED, None, None, None),
        (Outcome.CANCELLED, None, None, None),
        (Outcome.CLIENT_GONE, None, None, None),
    ],
)
def test_every_outcome_has_its_status(
    outcome: Outcome, code: float | None, error: str | None, status: str | None
) -> None:
    series = replace(SERIES, outcome=outcome.value, code=code)
    span = written(replace(RECORD, series=series))
    found = attributes(span)
    assert found.get("error.type") == error
    assert found.get("rpc.response.status_code") == status
    assert found["mcp_exporter.outcome"] == outcome.value
    assert (span.status.code == Status.STATUS_CODE_ERROR) is (error is not None)


def test_links_name_the_other_span() -> None:
    (link,) = written(replace(RECORD, links=(f"00-{TRACE[::-1]}-{PARENT}-01",))).links
    assert (link.trace_id.hex(), link.span_id.hex()) == (TRACE[::-1], PARENT)
    assert link.flags == 0x301


def test_slices_that_are_joined_are_one_message_of_one_resource() -> None:
    encode = OtlpEncoder({"service.name": "mcp-exporter", "team": "files"}, "1.2.3")
    slices = [encode([RECORD] * 2, 0.0), encode([RECORD], 0.0)]
    assert len(read(*slices)) == 3
    for part in ExportTraceServiceRequest.FromString(b"".join(slices)).resource_spans:
        pairs = {each.key: each.value.string_value for each in part.resource.attributes}
        assert pairs == {"service.name": "mcp-exporter", "team": "files"}
        scope = part.scope_spans[0].scope
        assert (scope.name, scope.version) == ("mcp-exporter", "1.2.3")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), max_size=30))
def test_a_template_never_says_what_another_record_said(picks: list[tuple[str, int]]) -> None:
    records = [
        replace(
            RECORD,
            series=replace(SERIES, tool=tool),
            request_id=str(number) if number else None,
            size=number or None,
        )
        for tool, number in picks
    ]
    spans = read(OtlpEncoder({}, "1")(records, 0.0))
    for (tool, number), span in zip(picks, spans, strict=True):
        found = attributes(span)
        assert found["gen_ai.tool.name"] == tool
        assert found.get("jsonrpc.request.id") == (str(number) if number else None)
        assert found.get("mcp_exporter.response.size") == (number or None)


def test_templates_are_bounded() -> None:
    encode = OtlpEncoder({}, "1")
    for number in range(MOST_SERIES + 10):
        encode([replace(RECORD, series=replace(SERIES, tool=str(number)))], 0.0)
    assert len(encode._templates) == 10


def test_a_reply_says_what_was_not_taken() -> None:
    reply = ExportTraceServiceResponse()
    assert rejected(reply.SerializeToString()) == 0
    reply.partial_success.rejected_spans = 3
    assert rejected(reply.SerializeToString()) == 3
    assert rejected(b"\xff" * 20) == 0


def asked(record: SpanRecord, peer: Peer, departed: float = 10.1) -> tuple[Span, Span]:
    """The spans of a request whose server was told of the second."""
    join = Join(f"00-{TRACE}-{THEIRS}-01", OURS, departed, peer)
    first, second = read(OtlpEncoder({}, "1")([replace(record, join=join)], 1000.0))
    assert first == written(record)
    return first, second


def test_the_span_of_what_is_asked_is_below_and_ends_with_that_of_the_request() -> None:
    other = f"00-{TRACE[::-1]}-{PARENT}-01"
    first, second = asked(replace(RECORD, session="5", state="a=1", links=(other,)), Peer())
    assert (second.trace_id, second.span_id.hex()) == (first.trace_id, THEIRS)
    assert (second.parent_span_id, second.flags) == (first.span_id, 0x101)
    assert second.start_time_unix_nano == 1_010_100_000_000
    assert second.end_time_unix_nano == first.end_time_unix_nano
    assert second.trace_state == first.trace_state == "a=1"
    assert len(second.links) == 0
    for name in ("mcp_exporter.session", "jsonrpc.request.id", "mcp_exporter.response.size"):
        assert attributes(second)[name] == attributes(first)[name]


@given(st.floats(0, 1e7), st.floats(0, 1e4), st.floats(0, 1))
def test_what_the_server_is_asked_lies_within_what_the_client_asked(
    start: float, seconds: float, share: float
) -> None:
    record = replace(RECORD, start=start, seconds=seconds)
    first, second = asked(record, Peer(), start + share * seconds)
    assert first.start_time_unix_nano <= second.start_time_unix_nano
    # A nanosecond later, and Jaeger takes the two for spans of machines whose clocks differ.
    assert second.start_time_unix_nano <= second.end_time_unix_nano <= first.end_time_unix_nano


def test_the_span_of_what_is_asked_says_of_whom() -> None:
    _, span = asked(RECORD, Peer("up", 8000))
    assert (span.name, span.kind) == ("tools/call act", Span.SPAN_KIND_CLIENT)
    found = attributes(span)
    assert (found["server.address"], found["server.port"]) == ("up", 8000)
    assert (found["network.transport"], found["mcp_exporter.server"]) == ("tcp", "files")
    piped = attributes(asked(RECORD, Peer())[1])
    assert piped["network.transport"] == "pipe"
    assert piped.keys().isdisjoint({"server.address", "server.port", "network.protocol.name"})


def test_for_who_asked_a_fault_of_the_client_is_an_error() -> None:
    series = replace(SERIES, outcome="protocol_error", code=-32602.0)
    first, second = asked(replace(RECORD, series=series), Peer())
    assert "error.type" not in attributes(first)
    assert attributes(second)["error.type"] == "-32602"
    assert second.status.code == Status.STATUS_CODE_ERROR


@pytest.mark.parametrize("fault", ["503", "connect_error", "process_exit"])
def test_a_failure_upstream_has_the_type_of_its_fault(fault: str) -> None:
    series = replace(SERIES, outcome="upstream_error", fault=fault)
    span = written(replace(RECORD, series=series))
    assert attributes(span)["error.type"] == fault
    assert span.status.code == Status.STATUS_CODE_ERROR
    unblamed = replace(SERIES, outcome="unauthorized", fault="401")
    assert "error.type" not in attributes(written(replace(RECORD, series=unblamed)))


def test_its_session_and_the_state_of_its_trace_are_said() -> None:
    span = written(replace(RECORD, session="0123456789abcdef", state="a=1"))
    assert attributes(span)["mcp_exporter.session"] == "0123456789abcdef"
    assert span.trace_state == "a=1"

"""What happens on a server becomes exactly the samples that the contract names."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.health import State, Transition
from tests.support.fakes import Telemetry

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def call(
    outcome: Outcome = Outcome.OK, tool: str = "read_file", traceparent: str | None = None
) -> Call:
    return Call("tools/call", outcome, 0.03, tool=tool, result_bytes=100, traceparent=traceparent)


def finish(telemetry: Telemetry, *calls: Call) -> None:
    for each in calls:
        telemetry.recorder.began(each.to_server)
        telemetry.recorder.finished(each)


def test_a_request_is_in_flight_until_it_has_ended() -> None:
    telemetry = Telemetry()
    telemetry.recorder.began(to_server=True)
    assert telemetry.in_flight == 1
    telemetry.recorder.finished(Call("ping", Outcome.OK, 0.5))
    assert telemetry.in_flight == 0


def test_a_request_is_counted_and_timed_once() -> None:
    telemetry = Telemetry()
    finish(telemetry, Call("tools/list", Outcome.OK, 0.5), Call("invented", Outcome.TIMEOUT, 30.0))
    labels = {"method": "tools/list", "outcome": "ok"}
    assert telemetry.value("mcp_requests_total", **labels) == 1
    assert telemetry.value("mcp_request_duration_seconds_sum", **labels) == 0.5
    labels = {"method": "_other", "outcome": "timeout"}
    assert telemetry.value("mcp_requests_total", **labels) == 1
    assert telemetry.value("mcp_request_duration_seconds_sum", **labels) == 30.0


def test_how_long_a_client_listens_is_not_timed() -> None:
    telemetry = Telemetry()
    finish(telemetry, Call("subscriptions/listen", Outcome.OK, 3600.0))
    labels = {"method": "subscriptions/listen", "outcome": "ok"}
    assert telemetry.value("mcp_requests_total", **labels) == 1
    assert not telemetry.total("mcp_request_duration_seconds_count")


def test_an_error_reply_is_counted_by_its_code() -> None:
    telemetry = Telemetry()
    finish(
        telemetry,
        Call("tools/list", Outcome.PROTOCOL_ERROR, 0.1, code=-32601),
        Call("tools/list", Outcome.PROTOCOL_ERROR, 0.1, code=12345),
    )
    errors = "mcp_protocol_errors_total"
    assert telemetry.value(errors, method="tools/list", code="-32601") == 1
    assert telemetry.value(errors, method="tools/list", code="other") == 1


def test_a_call_of_a_listed_tool_is_counted_under_its_name() -> None:
    telemetry = Telemetry()
    telemetry.clock.now = 1_700_000_000.0
    telemetry.recorder.listed({"read_file": b"{}"})
    finish(telemetry, call(Outcome.TOOL_ERROR))
    labels = {"tool": "read_file", "outcome": "tool_error"}
    assert telemetry.value("mcp_tool_calls_total", **labels) == 1
    assert telemetry.value("mcp_tool_call_duration_seconds_count", **labels) == 1
    last = telemetry.value("mcp_tool_call_last_timestamp_seconds", tool="read_file")
    assert last == 1_700_000_000.0
    assert telemetry.value("mcp_tool_result_bytes_sum", tool="read_file") == 100


def test_calls_and_failed_ones_can_be_asked_for() -> None:
    telemetry = Telemetry()
    assert telemetry.recorder.call_counts() == (0, 0)
    outcomes = (Outcome.OK, Outcome.OK, Outcome.TOOL_ERROR, Outcome.TIMEOUT, Outcome.CANCELLED)
    for outcome in outcomes:
        telemetry.recorder.finished(Call("tools/call", outcome, 0.5, tool="invented"))
    telemetry.recorder.finished(Call("ping", Outcome.TIMEOUT, 0.5))
    assert telemetry.recorder.call_counts() == (5, 2)


def test_a_call_of_an_unlisted_tool_is_counted_as_other() -> None:
    telemetry = Telemetry()
    finish(telemetry, call(tool="invented"), Call("tools/call", Outcome.OK, 0.1))
    assert telemetry.value("mcp_tool_calls_total", tool="_other", outcome="ok") == 2
    assert b"invented" not in generate_latest(telemetry.metrics.registry)


def test_a_call_without_a_reply_has_no_size() -> None:
    telemetry = Telemetry()
    finish(telemetry, Call("tools/call", Outcome.TIMEOUT, 0.1, tool="x"))
    assert not telemetry.total("mcp_tool_result_bytes_count")


def test_a_listed_tool_starts_at_zero_so_that_its_first_failure_is_an_increase() -> None:
    telemetry = Telemetry()
    telemetry.recorder.listed({"read_file": b"{}"})
    for outcome in ("ok", "tool_error", "protocol_error", "timeout", "upstream_error"):
        assert telemetry.value("mcp_tool_calls_total", tool="read_file", outcome=outcome) == 0
    assert telemetry.value("mcp_tool_calls_total", tool="read_file", outcome="cancelled") is None


def test_a_request_of_the_server_is_counted_apart() -> None:
    telemetry = Telemetry()
    asked = Call("sampling/createMessage", Outcome.OK, 1.0, to_server=False)
    finish(telemetry, asked, Call("tools/call", Outcome.CLIENT_GONE, 1.0, to_server=False))
    requests = "mcp_server_requests_total"
    assert telemetry.value(requests, method="sampling/createMessage", outcome="ok") == 1
    assert telemetry.value(requests, method="tools/call", outcome="client_gone") == 1
    assert telemetry.in_flight == 0
    assert not telemetry.total("mcp_requests_total")
    assert not telemetry.total("mcp_tool_calls_total")


def exemplars_of(telemetry: Telemetry) -> list[str]:
    text = generate_openmetrics(telemetry.metrics.registry).decode()  # type: ignore[no-untyped-call]
    return sorted(line for line in text.split("\n") if TRACE in line)


def test_a_trace_is_the_exemplar_of_its_call() -> None:
    telemetry = Telemetry()
    finish(telemetry, call(traceparent=TRACEPARENT))
    of_request, of_tool = exemplars_of(telemetry)
    assert of_request.startswith('mcp_request_duration_seconds_bucket{le="0.05"')
    assert of_tool.startswith('mcp_tool_call_duration_seconds_bucket{le="0.05"')


def test_a_trace_is_the_exemplar_of_any_request() -> None:
    telemetry = Telemetry()
    finish(telemetry, Call("prompts/list", Outcome.OK, 0.03, traceparent=TRACEPARENT))
    (of_request,) = exemplars_of(telemetry)
    assert of_request.startswith('mcp_request_duration_seconds_bucket{le="0.05"')


def test_a_trace_that_nobody_keeps_is_no_exemplar() -> None:
    telemetry = Telemetry()
    finish(telemetry, call(traceparent=TRACEPARENT[:-2] + "00"))
    assert exemplars_of(telemetry) == []
    assert telemetry.value("mcp_tool_calls_total", tool="_other", outcome="ok") == 1


def test_notifications_are_counted_by_method_and_direction() -> None:
    telemetry = Telemetry()
    telemetry.recorder.notified("notifications/progress", to_server=False)
    telemetry.recorder.notified("notifications/progress", to_server=False)
    telemetry.recorder.notified("notifications/invented", to_server=True)
    count = "mcp_notifications_total"
    assert telemetry.value(count, method="notifications/progress", direction="to_client") == 2
    assert telemetry.value(count, method="_other", direction="to_server") == 1


def test_bytes_are_counted_by_direction() -> None:
    telemetry = Telemetry()
    telemetry.recorder.carried(10, to_server=True)
    telemetry.recorder.carried(7, to_server=False)
    assert telemetry.value("mcp_message_bytes_total", direction="to_server") == 10
    assert telemetry.value("mcp_message_bytes_total", direction="to_client") == 7


def test_sessions_are_counted_and_timed() -> None:
    telemetry = Telemetry()
    telemetry.recorder.session_started("inspector", "2025-11-25")
    telemetry.recorder.session_started("inspector", None)
    assert telemetry.value("mcp_sessions") == 2
    telemetry.recorder.session_ended(90.0)
    assert telemetry.value("mcp_sessions") == 1
    assert telemetry.value("mcp_session_duration_seconds_sum") == 90.0
    started = "mcp_sessions_started_total"
    assert telemetry.value(started, client="inspector", protocol_version="2025-11-25") == 1
    assert telemetry.value(started, client="inspector", protocol_version="_other") == 1


def test_overhead_is_counted_by_transport() -> None:
    telemetry = Telemetry(transport="stdio")
    telemetry.recorder.spent(0.0001)
    assert telemetry.own("mcp_exporter_relay_overhead_seconds_sum", transport="stdio") == 0.0001


def test_processes_are_counted_while_they_live_and_by_how_they_ended() -> None:
    telemetry = Telemetry(transport="stdio")
    assert telemetry.value("mcp_server_process_exits_total", reason="killed") == 0
    telemetry.recorder.process_started(7)
    telemetry.recorder.process_started(8)
    telemetry.recorder.process_exited(7, "signal")
    assert telemetry.value("mcp_server_processes") == 1
    assert telemetry.value("mcp_server_process_starts_total") == 2
    assert telemetry.value("mcp_server_process_exits_total", reason="signal") == 1


def test_a_server_without_processes_has_no_series_of_them() -> None:
    assert Telemetry(transport="http").value("mcp_server_processes") is None


def test_exactly_one_state_is_one() -> None:
    telemetry = Telemetry()
    for state, up in [("unknown", 0), ("ok", 1), ("degraded", 1), ("error", 0)]:
        telemetry.recorder.state_is(State(state), 3)
        assert telemetry.value("mcp_server_health_state", state=state) == 1
        assert telemetry.total("mcp_server_health_state") == 1
        assert telemetry.value("mcp_server_up") == up
        assert telemetry.value("mcp_server_consecutive_failures") == 3


def test_a_new_server_is_unknown_and_down() -> None:
    telemetry = Telemetry()
    assert telemetry.value("mcp_server_health_state", state="unknown") == 1
    assert telemetry.value("mcp_server_up") == 0
    assert telemetry.value("mcp_server_last_success_timestamp_seconds") == 0
    assert telemetry.value("mcp_probes_total", result="timeout") == 0


def test_transitions_successes_and_probes_are_counted() -> None:
    telemetry = Telemetry()
    telemetry.clock.now = 77.0
    telemetry.recorder.changed(Transition(State.OK, State.DEGRADED))
    telemetry.recorder.succeeded()
    telemetry.recorder.probed("timeout", 5.0)
    transitions = "mcp_server_health_transitions_total"
    assert telemetry.value(transitions, **{"from": "ok", "to": "degraded"}) == 1
    assert telemetry.value("mcp_server_last_success_timestamp_seconds") == 77.0
    assert telemetry.value("mcp_probes_total", result="timeout") == 1
    assert telemetry.value("mcp_probe_duration_seconds_sum") == 5.0


def test_what_a_server_says_it_is_replaces_what_it_said_before() -> None:
    telemetry = Telemetry()
    telemetry.recorder.is_known_as("files", "1.0", "2025-11-25")
    telemetry.recorder.is_known_as("files", "1.0", "2025-11-25")
    telemetry.recorder.is_known_as("files", "2.0", "2026-07-28")
    assert telemetry.total("mcp_server_info") == 1
    labels = {"transport": "http", "server_name": "files", "server_version": "2.0"}
    assert telemetry.value("mcp_server_info", **labels, protocol_version="2026-07-28") == 1


def test_what_a_server_says_it_is_is_bounded() -> None:
    telemetry = Telemetry()
    telemetry.recorder.is_known_as("x" * 65, "1\n", "3000-01-01")
    labels = {"transport": "http", "server_name": "_other", "server_version": "_other"}
    assert telemetry.value("mcp_server_info", **labels, protocol_version="_other") == 1


def test_the_size_of_a_tool_list_is_what_its_definitions_weigh() -> None:
    telemetry = Telemetry()
    telemetry.recorder.set_tools(2, 8)
    telemetry.recorder.tools_changed("modified", 1)
    assert telemetry.value("mcp_server_tools") == 2
    assert telemetry.value("mcp_server_tool_definition_bytes") == 8
    assert telemetry.value("mcp_server_tool_changes_total", change="modified") == 1


def test_what_is_rejected_or_not_understood_is_counted() -> None:
    telemetry = Telemetry()
    telemetry.recorder.rejected("tools/call", "bad_origin")
    telemetry.recorder.unparsed("not_json")
    telemetry.recorder.failed("server_sent")
    assert telemetry.value("mcp_requests_total", method="tools/call", outcome="rejected") == 1
    assert telemetry.own("mcp_exporter_rejected_requests_total", reason="bad_origin") == 1
    assert telemetry.value("mcp_exporter_unparsed_messages_total", reason="not_json") == 1
    assert telemetry.own("mcp_exporter_internal_errors_total", where="server_sent") == 1


def test_a_server_that_is_removed_takes_its_series_and_tools_along() -> None:
    telemetry = Telemetry()
    telemetry.recorder.listed({"read_file": b"{}"})
    finish(telemetry, call())
    telemetry.recorder.forget()
    assert b'server="files"' not in generate_latest(telemetry.metrics.registry)
    assert telemetry.recorder.tools.label("read_file") == "_other"

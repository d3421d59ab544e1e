"""What happens on a server becomes exactly the samples that the contract names."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.health import State, Transition
from tests.support.fakes import Books

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def call(
    outcome: Outcome = Outcome.OK, tool: str = "read_file", traceparent: str | None = None
) -> Call:
    return Call("tools/call", outcome, 0.03, tool=tool, result_bytes=100, traceparent=traceparent)


def finish(books: Books, *calls: Call) -> None:
    for each in calls:
        books.recorder.began(each.to_server)
        books.recorder.finished(each)


def test_a_request_is_in_flight_until_it_has_ended() -> None:
    books = Books()
    books.recorder.began(to_server=True)
    assert books.in_flight == 1
    books.recorder.finished(Call("ping", Outcome.OK, 0.5))
    assert books.in_flight == 0


def test_a_request_is_counted_and_timed_once() -> None:
    books = Books()
    finish(books, Call("tools/list", Outcome.OK, 0.5), Call("invented", Outcome.TIMEOUT, 30.0))
    labels = {"method": "tools/list", "outcome": "ok"}
    assert books.value("mcp_requests_total", **labels) == 1
    assert books.value("mcp_request_duration_seconds_sum", **labels) == 0.5
    labels = {"method": "_other", "outcome": "timeout"}
    assert books.value("mcp_requests_total", **labels) == 1
    assert books.value("mcp_request_duration_seconds_sum", **labels) == 30.0


def test_how_long_a_client_listens_is_not_timed() -> None:
    books = Books()
    finish(books, Call("subscriptions/listen", Outcome.OK, 3600.0))
    labels = {"method": "subscriptions/listen", "outcome": "ok"}
    assert books.value("mcp_requests_total", **labels) == 1
    assert not books.total("mcp_request_duration_seconds_count")


def test_an_error_reply_is_counted_by_its_code() -> None:
    books = Books()
    finish(
        books,
        Call("tools/list", Outcome.PROTOCOL_ERROR, 0.1, code=-32601),
        Call("tools/list", Outcome.PROTOCOL_ERROR, 0.1, code=12345),
    )
    errors = "mcp_protocol_errors_total"
    assert books.value(errors, method="tools/list", code="-32601") == 1
    assert books.value(errors, method="tools/list", code="other") == 1


def test_a_call_of_a_listed_tool_is_counted_under_its_name() -> None:
    books = Books()
    books.clock.now = 1_700_000_000.0
    books.recorder.listed({"read_file": b"{}"})
    finish(books, call(Outcome.TOOL_ERROR))
    labels = {"tool": "read_file", "outcome": "tool_error"}
    assert books.value("mcp_tool_calls_total", **labels) == 1
    assert books.value("mcp_tool_call_duration_seconds_count", **labels) == 1
    last = books.value("mcp_tool_call_last_timestamp_seconds", tool="read_file")
    assert last == 1_700_000_000.0
    assert books.value("mcp_tool_result_bytes_sum", tool="read_file") == 100


def test_calls_and_failed_ones_can_be_asked_for() -> None:
    books = Books()
    assert books.recorder.call_counts() == (0, 0)
    outcomes = (Outcome.OK, Outcome.OK, Outcome.TOOL_ERROR, Outcome.TIMEOUT, Outcome.CANCELLED)
    for outcome in outcomes:
        books.recorder.finished(Call("tools/call", outcome, 0.5, tool="invented"))
    books.recorder.finished(Call("ping", Outcome.TIMEOUT, 0.5))
    assert books.recorder.call_counts() == (5, 2)


def test_a_call_of_an_unlisted_tool_is_counted_as_other() -> None:
    books = Books()
    finish(books, call(tool="invented"), Call("tools/call", Outcome.OK, 0.1))
    assert books.value("mcp_tool_calls_total", tool="_other", outcome="ok") == 2
    assert b"invented" not in generate_latest(books.metrics.registry)


def test_a_call_without_a_reply_has_no_size() -> None:
    books = Books()
    finish(books, Call("tools/call", Outcome.TIMEOUT, 0.1, tool="x"))
    assert not books.total("mcp_tool_result_bytes_count")


def test_a_listed_tool_starts_at_zero_so_that_its_first_failure_is_an_increase() -> None:
    books = Books()
    books.recorder.listed({"read_file": b"{}"})
    for outcome in ("ok", "tool_error", "protocol_error", "timeout", "upstream_error"):
        assert books.value("mcp_tool_calls_total", tool="read_file", outcome=outcome) == 0
    assert books.value("mcp_tool_calls_total", tool="read_file", outcome="cancelled") is None


def test_a_request_of_the_server_is_counted_apart() -> None:
    books = Books()
    asked = Call("sampling/createMessage", Outcome.OK, 1.0, to_server=False)
    finish(books, asked, Call("tools/call", Outcome.CLIENT_GONE, 1.0, to_server=False))
    requests = "mcp_server_requests_total"
    assert books.value(requests, method="sampling/createMessage", outcome="ok") == 1
    assert books.value(requests, method="tools/call", outcome="client_gone") == 1
    assert books.in_flight == 0
    assert not books.total("mcp_requests_total")
    assert not books.total("mcp_tool_calls_total")


def exemplars_of(books: Books) -> list[str]:
    text = generate_openmetrics(books.metrics.registry).decode()  # type: ignore[no-untyped-call]
    return sorted(line for line in text.split("\n") if TRACE in line)


def test_a_trace_is_the_exemplar_of_its_call() -> None:
    books = Books()
    finish(books, call(traceparent=TRACEPARENT))
    of_request, of_tool = exemplars_of(books)
    assert of_request.startswith('mcp_request_duration_seconds_bucket{le="0.05"')
    assert of_tool.startswith('mcp_tool_call_duration_seconds_bucket{le="0.05"')


def test_a_trace_is_the_exemplar_of_any_request() -> None:
    books = Books()
    finish(books, Call("prompts/list", Outcome.OK, 0.03, traceparent=TRACEPARENT))
    (of_request,) = exemplars_of(books)
    assert of_request.startswith('mcp_request_duration_seconds_bucket{le="0.05"')


def test_a_trace_that_nobody_keeps_is_no_exemplar() -> None:
    books = Books()
    finish(books, call(traceparent=TRACEPARENT[:-2] + "00"))
    assert exemplars_of(books) == []
    assert books.value("mcp_tool_calls_total", tool="_other", outcome="ok") == 1


def test_notifications_are_counted_by_method_and_direction() -> None:
    books = Books()
    books.recorder.notified("notifications/progress", to_server=False)
    books.recorder.notified("notifications/progress", to_server=False)
    books.recorder.notified("notifications/invented", to_server=True)
    count = "mcp_notifications_total"
    assert books.value(count, method="notifications/progress", direction="to_client") == 2
    assert books.value(count, method="_other", direction="to_server") == 1


def test_bytes_are_counted_by_direction() -> None:
    books = Books()
    books.recorder.carried(10, to_server=True)
    books.recorder.carried(7, to_server=False)
    assert books.value("mcp_message_bytes_total", direction="to_server") == 10
    assert books.value("mcp_message_bytes_total", direction="to_client") == 7


def test_sessions_are_counted_and_timed() -> None:
    books = Books()
    books.recorder.session_started("inspector", "2025-11-25")
    books.recorder.session_started("inspector", None)
    assert books.value("mcp_sessions") == 2
    books.recorder.session_ended(90.0)
    assert books.value("mcp_sessions") == 1
    assert books.value("mcp_session_duration_seconds_sum") == 90.0
    started = "mcp_sessions_started_total"
    assert books.value(started, client="inspector", protocol_version="2025-11-25") == 1
    assert books.value(started, client="inspector", protocol_version="_other") == 1


def test_overhead_is_counted_by_transport() -> None:
    books = Books(transport="stdio")
    books.recorder.spent(0.0001)
    assert books.own("mcp_exporter_relay_overhead_seconds_sum", transport="stdio") == 0.0001


def test_processes_are_counted_while_they_live_and_by_how_they_ended() -> None:
    books = Books(transport="stdio")
    assert books.value("mcp_server_process_exits_total", reason="killed") == 0
    books.recorder.process_started(7)
    books.recorder.process_started(8)
    books.recorder.process_exited(7, "signal")
    assert books.value("mcp_server_processes") == 1
    assert books.value("mcp_server_process_starts_total") == 2
    assert books.value("mcp_server_process_exits_total", reason="signal") == 1


def test_a_server_without_processes_has_no_series_of_them() -> None:
    assert Books(transport="http").value("mcp_server_processes") is None


def test_exactly_one_state_is_one() -> None:
    books = Books()
    for state, up in [("unknown", 0), ("ok", 1), ("degraded", 1), ("error", 0)]:
        books.recorder.state_is(State(state), 3)
        assert books.value("mcp_server_health_state", state=state) == 1
        assert books.total("mcp_server_health_state") == 1
        assert books.value("mcp_server_up") == up
        assert books.value("mcp_server_consecutive_failures") == 3


def test_a_new_server_is_unknown_and_down() -> None:
    books = Books()
    assert books.value("mcp_server_health_state", state="unknown") == 1
    assert books.value("mcp_server_up") == 0
    assert books.value("mcp_server_last_success_timestamp_seconds") == 0
    assert books.value("mcp_probes_total", result="timeout") == 0


def test_transitions_successes_and_probes_are_counted() -> None:
    books = Books()
    books.clock.now = 77.0
    books.recorder.changed(Transition(State.OK, State.DEGRADED))
    books.recorder.succeeded()
    books.recorder.probed("timeout", 5.0)
    transitions = "mcp_server_health_transitions_total"
    assert books.value(transitions, **{"from": "ok", "to": "degraded"}) == 1
    assert books.value("mcp_server_last_success_timestamp_seconds") == 77.0
    assert books.value("mcp_probes_total", result="timeout") == 1
    assert books.value("mcp_probe_duration_seconds_sum") == 5.0


def test_what_a_server_says_it_is_replaces_what_it_said_before() -> None:
    books = Books()
    books.recorder.is_known_as("files", "1.0", "2025-11-25")
    books.recorder.is_known_as("files", "1.0", "2025-11-25")
    books.recorder.is_known_as("files", "2.0", "2026-07-28")
    assert books.total("mcp_server_info") == 1
    labels = {"transport": "http", "server_name": "files", "server_version": "2.0"}
    assert books.value("mcp_server_info", **labels, protocol_version="2026-07-28") == 1


def test_what_a_server_says_it_is_is_bounded() -> None:
    books = Books()
    books.recorder.is_known_as("x" * 65, "1\n", "3000-01-01")
    labels = {"transport": "http", "server_name": "_other", "server_version": "_other"}
    assert books.value("mcp_server_info", **labels, protocol_version="_other") == 1


def test_the_size_of_a_tool_list_is_what_its_definitions_weigh() -> None:
    books = Books()
    books.recorder.set_tools(2, 8)
    books.recorder.tools_changed("modified", 1)
    assert books.value("mcp_server_tools") == 2
    assert books.value("mcp_server_tool_definition_bytes") == 8
    assert books.value("mcp_server_tool_changes_total", change="modified") == 1


def test_what_is_refused_or_not_understood_is_counted() -> None:
    books = Books()
    books.recorder.rejected("tools/call", "bad_origin")
    books.recorder.unparsed("not_json")
    books.recorder.failed("server_sent")
    assert books.value("mcp_requests_total", method="tools/call", outcome="rejected") == 1
    assert books.own("mcp_exporter_rejected_requests_total", reason="bad_origin") == 1
    assert books.value("mcp_exporter_unparsed_messages_total", reason="not_json") == 1
    assert books.own("mcp_exporter_internal_errors_total", where="server_sent") == 1


def test_a_server_that_is_removed_takes_its_series_and_tools_along() -> None:
    books = Books()
    books.recorder.listed({"read_file": b"{}"})
    finish(books, call())
    books.recorder.forget()
    assert b'server="files"' not in generate_latest(books.metrics.registry)
    assert books.recorder.tools.label("read_file") == "_other"

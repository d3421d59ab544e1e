"""What wrapped servers report is counted, admitted and bounded."""

from __future__ import annotations

import json
from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from exporter.protocol.label_values import UNPARSED, Outcome
from exporter.telemetry.observer import Observer
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.spans.session_digits import session_digits
from exporter.wrap.report import Finished, Page, Report, Session
from exporter.wrap.wrapped_server import Names, WrappedServer
from tests.support.fakes import FakeEvents, Telemetry
from tests.support.kept_spans import KeptSpans, SpanAccount

CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

TOOLS = json.dumps({"id": 1, "result": {"tools": [{"name": "act"}]}}).encode()


class Setup:
    """Telemetry in which ``files`` is configured, and connections of wrapped servers."""

    def __init__(self, limit: int = 2) -> None:
        self.telemetry = Telemetry()
        self.configured: dict[str, Observer] = {"files": self.telemetry.observer}
        self.names = Names(self.telemetry.metrics, self.configured.get, self._make, limit)

    def connection(self) -> WrappedServer:
        return WrappedServer(self.names, self.telemetry.metrics)

    def value(self, name: str, server: str = "files", **labels: str) -> float | None:
        return self.telemetry.value(name, **{"server": server, **labels})

    def _make(self, name: str) -> Observer:
        recorder = ServerRecorder(self.telemetry.metrics, name, "stdio")
        return Observer(recorder, FakeEvents(recorder))


def opening(server: str = "files", *, is_first: bool = True, **members: object) -> Report:
    return Report(server, pid=4000, is_first=is_first, **members)  # type: ignore[arg-type]


def called(outcome: Outcome = Outcome.OK) -> Finished:
    return Finished("tools/call", outcome, 0.1, tool="act", result_bytes=10)


def test_a_call_of_a_listed_tool_counts_as_that_tool() -> None:
    setup = Setup()
    connection = setup.connection()
    connection.report(opening(pages=[Page(None, Raw(TOOLS))]))
    connection.report(Report("files", calls=[called()]))
    assert setup.value("mcp_tool_calls_total", tool="act", outcome="ok") == 1
    assert setup.value("mcp_requests_in_flight") == 0


def test_a_tool_that_the_server_does_not_list_is_other() -> None:
    setup = Setup()
    setup.connection().report(opening(calls=[called()]))
    assert setup.value("mcp_tool_calls_total", tool="_other", outcome="ok") == 1


def test_sessions_and_processes_come_and_go() -> None:
    setup = Setup()
    connection = setup.connection()
    connection.report(opening())
    connection.report(Report("files", session=Session("Claude", "2025-11-25", 1.0), waiting=2))
    assert setup.value("mcp_sessions") == 1
    assert setup.value("mcp_server_processes") == 1
    assert setup.value("mcp_requests_in_flight") == 2
    started = {"client": "Claude", "protocol_version": "2025-11-25"}
    assert setup.value("mcp_sessions_started_total", **started) == 1
    connection.report(Report("files", exit="error"))
    connection.leave()
    assert setup.value("mcp_sessions") == 0
    assert setup.value("mcp_server_processes") == 0
    assert setup.value("mcp_requests_in_flight") == 0
    assert setup.value("mcp_server_process_exits_total", reason="error") == 1
    assert setup.value("mcp_session_duration_seconds_count") == 1


def test_who_comes_again_is_no_new_session() -> None:
    setup = Setup()
    session = Session("Claude", "2025-11-25", 60.0)
    setup.connection().report(opening(is_first=False, session=session))
    assert setup.value("mcp_sessions") == 1
    assert setup.value("mcp_server_processes") == 1
    assert setup.value("mcp_server_process_starts_total") in (None, 0)


def test_what_was_dropped_is_counted_and_zero_before() -> None:
    setup = Setup()
    connection = setup.connection()
    connection.report(opening())
    assert setup.value("mcp_exporter_wrap_dropped_total") == 0
    connection.report(Report("files", dropped=7))
    assert setup.value("mcp_exporter_wrap_dropped_total") == 7


def test_names_beside_the_configured_ones_are_bounded() -> None:
    setup = Setup(limit=2)
    for name in ("a", "b", "c", "_mine", "x" * 200, "new\nline", ""):
        setup.connection().report(opening(name, calls=[called()]))
    found = {
        sample.labels["server"]
        for family in setup.telemetry.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "mcp_requests_total" and sample.value
    }
    assert found == {"a", "b", "_other"}
    assert setup.telemetry.own("mcp_exporter_label_overflow_total", label="server") == 5


def test_a_connection_keeps_the_name_that_it_came_with() -> None:
    setup = Setup()
    connection = setup.connection()
    connection.report(opening("a"))
    connection.report(Report("b", calls=[called()]))
    assert setup.value("mcp_requests_total", "a", method="tools/call", outcome="ok") == 1


def test_a_new_configuration_takes_the_session_along() -> None:
    setup = Setup()
    connection = setup.connection()
    connection.report(opening(is_first=False, session=Session(None, None, 1.0)))
    other = Telemetry()
    setup.configured["files"] = other.observer
    connection.report(Report("files", calls=[called()], waiting=1))
    assert setup.value("mcp_sessions") == 0
    assert setup.value("mcp_server_processes") == 0
    assert other.value("mcp_sessions") == 1
    assert other.in_flight == 1


def test_hostile_numbers_do_no_harm() -> None:
    setup = Setup()
    connection = setup.connection()
    connection.report(Report("files", pid=-1, dropped=-5, bytes_to_server=-3, exit="invented"))
    connection.report(
        Report("files", calls=[Finished("invented", Outcome.OK, -5.0, result_bytes=-1)])
    )
    assert setup.value("mcp_server_processes") in (None, 0)
    assert setup.value("mcp_request_duration_seconds_sum", method="_other", outcome="ok") == 0


def test_replies_and_losses_are_signs_for_the_servers_health() -> None:
    setup = Setup()
    connection = setup.connection()
    connection.report(opening(calls=[called(), called(Outcome.TOOL_ERROR)]))
    connection.report(Report("files", calls=[called(Outcome.UPSTREAM_ERROR)]))
    events = setup.telemetry.events
    assert events.signs_of_life == 1
    assert events.losses == ["the wrapped server ended before it had replied"]


@pytest.mark.parametrize("reason", UNPARSED)
def test_what_a_wrapped_server_did_not_understand_is_counted_by_its_reason(reason: str) -> None:
    setup = Setup()
    setup.connection().report(Report("files", unparsed={reason: 2, "invented": 1}))
    assert setup.value("mcp_exporter_unparsed_messages_total", reason=reason) == 2
    assert setup.value("mcp_exporter_unparsed_messages_total", reason="_other") == 1


def test_the_span_of_a_call_says_what_was_reported_of_it() -> None:
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics)
    connection = setup.connection()
    told = Finished(
        *("prompts/get", Outcome.OK, 0.1, True, None, None, 10, CONTEXT, time()),
        *("seven", "greet", "2025-11-25", "a=1"),
    )
    lost = Finished("tools/list", Outcome.UPSTREAM_ERROR, 0.1, request_id="\u202e", state="é")
    connection.report(opening(calls=[told, lost]))
    first, second = kept.records
    assert (first.request_id, first.state) == ("seven", "a=1")
    assert (first.series.prompt, first.series.version) == ("greet", "2025-11-25")
    assert (second.request_id, second.state) == (None, None)
    assert (first.series.fault, second.series.fault) == (None, "process_exit")
    assert first.session == second.session == session_digits(b"files 4000")


def test_where_a_context_came_from_is_counted() -> None:
    setup = Setup()
    KeptSpans(setup.telemetry.metrics)
    call = ("tools/list", Outcome.OK, 0.1)
    calls = [Finished(*call, traceparent=CONTEXT), Finished(*call, is_invalid=True), called()]
    setup.connection().report(opening(calls=calls))
    contexts = setup.telemetry.metrics.spans.contexts
    assert {source: series.value for source, series in contexts.items() if series.value} == {
        "meta": 1,
        "invalid": 1,
        "none": 1,
    }


def test_without_spans_nothing_of_them_is_noted() -> None:
    setup = Setup()
    setup.connection().report(opening(calls=[called()]))
    assert setup.telemetry.metrics.spans.recorded.value == 0


ENDED = st.builds(
    Finished,
    st.sampled_from(["tools/call", "tools/list", "ping", "subscriptions/listen", "x"]),
    st.sampled_from([each for each in Outcome if each != Outcome.REJECTED]),
    st.floats(0, 10),
    st.booleans(),
)


@given(st.lists(st.tuples(st.booleans(), st.lists(ENDED, max_size=4)), max_size=8))
def test_whatever_is_reported_each_request_that_is_counted_leaves_one_span(
    reports: list[tuple[bool, list[Finished]]],
) -> None:
    setup = Setup()
    spans = SpanAccount(setup.telemetry.metrics, propagate=True)
    connection = setup.connection()
    connection.report(opening())
    for is_on, calls in reports:
        spans.switch(is_on)
        connection.report(Report("files", calls=calls))
        spans.check()

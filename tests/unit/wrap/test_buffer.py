"""What is not told yet is kept within a bound, and told once."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from exporter.protocol.jsonrpc import VERSION_KEY
from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.wrap import report
from exporter.wrap.buffer import CALLS_A_REPORT, ReportBuffer
from exporter.wrap.report import Report
from tests.support.fakes import encoded, parsed, request, result

if TYPE_CHECKING:
    from exporter.telemetry.recorder import ServerRecorder

CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def finish(buffer: ReportBuffer, count: int, **members: str) -> None:
    for _ in range(count):
        buffer.began(to_server=True)
        buffer.finished(Call("tools/call", Outcome.OK, 0.1, **members))  # type: ignore[arg-type]


def collect_all(buffer: ReportBuffer) -> list[Report]:
    found = []
    while (each := buffer.collect()) is not None:
        found.append(each)
    return found


def test_nothing_new_is_nothing_to_tell() -> None:
    buffer = ReportBuffer("files", 7)
    assert buffer.collect() is None
    finish(buffer, 1)
    assert len(collect_all(buffer)) == 1
    assert buffer.collect() is None


def test_many_calls_are_told_in_small_reports() -> None:
    buffer = ReportBuffer("files", 7)
    finish(buffer, 2 * CALLS_A_REPORT + 1)
    assert [len(each.calls) for each in collect_all(buffer)] == [100, 100, 1]


def test_past_the_bound_the_oldest_calls_are_dropped_and_counted_once() -> None:
    buffer = ReportBuffer("files", 7, max_calls=3)
    for method in ("ping", "tools/list", "prompts/list", "resources/list", "initialize"):
        buffer.finished(Call(method, Outcome.OK, 0.1))
    first = buffer.collect()
    assert first is not None
    assert [each.method for each in first.calls] == ["prompts/list", "resources/list", "initialize"]
    assert first.dropped == 2
    finish(buffer, 1)
    assert [each.dropped for each in collect_all(buffer)] == [0]


def test_a_report_that_nobody_takes_counts_as_dropped() -> None:
    buffer = ReportBuffer("files", 7, max_calls=3)
    finish(buffer, 5)
    lost = buffer.collect()
    assert lost is not None
    buffer.drop(lost)
    (told,) = collect_all(buffer)
    assert (told.calls, told.dropped) == ([], 5)


def test_the_end_is_told_last() -> None:
    buffer = ReportBuffer("files", 7)
    finish(buffer, CALLS_A_REPORT + 1)
    buffer.exited("clean")
    assert [each.exit for each in collect_all(buffer)] == [None, "clean"]


def test_a_second_introduction_tells_the_tools_again_but_begins_nothing_anew() -> None:
    buffer = ReportBuffer("files", 7)
    reply = b'{"id":1,"result":{"tools":[]}}'
    buffer.tools_listed(reply, None)
    assert buffer.opening().is_first
    buffer.opened()
    again = buffer.opening()
    assert not again.is_first
    assert [bytes(page.reply) for page in again.pages] == [reply]
    assert report.decode(report.encode(again)).pages == again.pages


def test_hostile_texts_are_cut_and_can_be_written() -> None:
    buffer = ReportBuffer("files", 7)
    finish(buffer, 1, tool="\ud800" + "x" * 10_000)
    told = buffer.collect()
    assert told is not None
    (finished,) = report.decode(report.encode(told)).calls
    assert len(finished.tool or "") == 257


def test_a_list_of_tools_that_is_too_large_is_not_kept() -> None:
    buffer = ReportBuffer("files", 7)
    buffer.tools_listed(b" " * 2_000_000, None)
    assert buffer.opening().pages == []


@pytest.mark.parametrize(("given", "is_valid"), [(CONTEXT, True), (CONTEXT.upper(), False)])
def test_what_the_exporter_s_spans_say_is_told(given: str, is_valid: bool) -> None:
    buffer = ReportBuffer("files", 7)
    observer = Observer(cast("ServerRecorder", buffer), buffer)
    exchange = Exchange(buffer)
    meta = {"traceparent": given, "tracestate": "a=1", VERSION_KEY: "2026-07-28"}
    asked = parsed(request("seven", "prompts/get", name="greet", _meta=meta))
    observer.client_sent(exchange, [asked], 1, 0.0)
    observer.server_sent(exchange, encoded(result("seven")), (), 1.0)
    (told,) = (call for each in collect_all(buffer) for call in each.calls)
    assert (told.request_id, told.prompt, told.version) == ("seven", "greet", "2026-07-28")
    context = (told.traceparent, told.state, told.is_invalid)
    assert context == ((CONTEXT, "a=1", False) if is_valid else (None, None, True))


def test_a_call_ended_when_its_reply_passed_by_not_when_that_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("exporter.wrap.buffer.time", lambda: 1_800_000_000.0)
    monkeypatch.setattr("exporter.wrap.buffer.monotonic", lambda: 10.0)
    buffer = ReportBuffer("files", 7)
    observer = Observer(cast("ServerRecorder", buffer), buffer)
    exchange = Exchange(buffer)
    observer.client_sent(exchange, [parsed(request(1, "tools/list"))], 1, 8.5)
    observer.server_sent(exchange, encoded(result(1)), (), 9.25)
    (told,) = (call for each in collect_all(buffer) for call in each.calls)
    assert (told.ended, told.seconds) == (1_800_000_000.0 - 0.75, 0.75)

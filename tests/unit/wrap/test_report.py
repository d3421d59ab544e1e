"""What is written on the socket can be read on the other side, and nothing else."""

from __future__ import annotations

import pytest
from msgspec import Raw

from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.wrap import report
from exporter.wrap.report import Finished, Page, Report, Session

FULL = Report(
    "files",
    pid=7,
    is_first=True,
    session=Session("desk", "2025-11-25", 1.5),
    pages=[Page("next", Raw(b'{"id":1}'))],
    is_list_changed=True,
    calls=[Finished("tools/call", Outcome.OK, 0.5, True, "act", None, 10, None)],
    notified=[("notifications/progress", False, 3)],
    bytes_to_server=1,
    bytes_to_client=2,
    unparsed={"not_json": 1},
    failed={"client_sent": 1},
    waiting=1,
    dropped=2,
    exit="clean",
)


def test_a_report_is_one_line_and_comes_back_as_it_was() -> None:
    line = report.encode(FULL)
    assert line.count(b"\n") == 1
    assert report.decode(line) == FULL


def test_a_call_comes_back_as_it_was() -> None:
    call = Call("tools/call", Outcome.TOOL_ERROR, 0.5, tool="act", code=-32603.0, result_bytes=3)
    told = Finished(call.method, call.outcome, call.seconds, True, call.tool, call.code, 3)
    (again,) = report.decode(report.encode(Report("files", calls=[told]))).calls
    assert again.call() == call


@pytest.mark.parametrize(
    ("seconds", "size", "kept"),
    [(1e300, 10**30, (30 * 86_400.0, 2**53)), (-1.0, -1, (0.0, 0)), (0.5, 7, (0.5, 7))],
)
def test_no_measurement_is_beyond_what_can_be_written(
    seconds: float, size: int, kept: tuple[float, int]
) -> None:
    line = report.encode(
        Report("files", calls=[Finished("ping", Outcome.OK, seconds, result_bytes=size)])
    )
    (call,) = (each.call() for each in report.decode(line).calls)
    assert (call.seconds, call.result_bytes) == kept


@pytest.mark.parametrize(
    "line", [b"", b"[]", b'{"server":1}', b'{"server":"x","calls":[["a","no"]]}']
)
def test_what_is_no_report_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        report.decode(line)


@pytest.mark.parametrize("traceparent", ["y" * 10_000, "00-1-2-3", "", "\n"])
def test_what_is_no_trace_context_is_not_read(traceparent: str) -> None:
    assert Finished("ping", Outcome.OK, 0.1, traceparent=traceparent).call().traceparent is None

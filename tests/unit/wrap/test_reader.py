"""What a wrapped server and its client say is cut into lines, read, and noted down."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest

from exporter.protocol.label_values import Outcome
from exporter.wrap import reader
from exporter.wrap.buffer import CALLS_A_REPORT
from exporter.wrap.reader import MAX_LINE, MAX_UNREAD, MAX_UNREAD_BYTES, READ_TIME, CopyReader
from exporter.wrap.report import Report


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def call(request_id: int, tool: str = "act") -> bytes:
    return line(id=request_id, method="tools/call", params={"name": tool})


def reply(request_id: int, **result: Any) -> bytes:
    return line(id=request_id, result=result)


class Observed:
    """A reader whose buffer is read by the test; its threads are not started."""

    def __init__(self) -> None:
        self.reader = CopyReader("files", 7, "")

    def client(self, data: bytes, now: float = 0.0) -> None:
        self.reader.take(data, now, to_server=True)

    def server(self, data: bytes, now: float = 0.0) -> None:
        self.reader.take(data, now, to_server=False)

    def end(self, code: int, was_asked: bool = False) -> None:
        self.reader.end(code, was_asked, timeout=0)

    def report(self) -> Report:
        self.reader.read(60.0)
        report = self.reader._buffer.collect()
        assert report is not None
        return report

    def outcomes(self) -> list[str]:
        return [each.outcome for each in self.report().calls]


def test_a_call_is_noted_with_its_time_tool_and_size() -> None:
    observed = Observed()
    observed.client(call(1), now=10.0)
    observed.server(reply(1, content=[]), now=10.5)
    (finished,) = observed.report().calls
    assert (finished.tool, finished.outcome, finished.seconds) == ("act", "ok", 0.5)
    assert finished.result_bytes == len(reply(1, content=[])) - 1


def test_a_message_may_come_in_pieces() -> None:
    observed = Observed()
    for at in range(len(call(1))):
        observed.client(call(1)[at : at + 1])
    observed.server(reply(1, isError=True))
    assert observed.outcomes() == [Outcome.TOOL_ERROR]


def test_a_server_that_dies_fails_what_waited_for_it() -> None:
    observed = Observed()
    observed.client(call(1))
    observed.end(70)
    report = observed.report()
    assert [each.outcome for each in report.calls] == [Outcome.UPSTREAM_ERROR]
    assert (report.exit, report.waiting) == ("error", 0)


def test_a_client_that_leaves_does_not_blame_the_server() -> None:
    observed = Observed()
    observed.client(call(1))
    observed.client(b"")
    observed.end(1)
    report = observed.report()
    assert [each.outcome for each in report.calls] == [Outcome.CLIENT_GONE]
    assert report.exit == "clean"


def test_a_reply_after_the_clients_last_word_still_counts() -> None:
    observed = Observed()
    observed.client(call(1))
    observed.client(b"")
    observed.server(reply(1))
    assert observed.outcomes() == [Outcome.OK]


@pytest.mark.parametrize(
    ("code", "was_asked", "reason"),
    [
        (0, False, "clean"),
        (3, False, "error"),
        (-11, False, "signal"),
        (-9, True, "killed"),
        (-15, True, "clean"),
    ],
)
def test_how_a_server_ended_has_a_word(code: int, was_asked: bool, reason: str) -> None:
    observed = Observed()
    observed.end(code, was_asked)
    assert observed.report().exit == reason


def test_what_is_not_understood_is_counted_and_the_next_message_read() -> None:
    observed = Observed()
    observed.client(b"\xff\xfe nonsense\n\n  \n")
    observed.client(call(1))
    observed.server(b"hello\n")
    observed.server(reply(1))
    report = observed.report()
    assert report.unparsed == {"not_json": 2}
    assert [each.outcome for each in report.calls] == [Outcome.OK]


def test_the_client_is_known_by_its_first_request() -> None:
    observed = Observed()
    client = {"clientInfo": {"name": "Claude"}, "protocolVersion": "2025-11-25"}
    observed.client(line(id=0, method="initialize", params=client) + call(1))
    session = observed.report().session
    assert session is not None
    assert (session.client, session.version) == ("Claude", "2025-11-25")


def test_an_observer_that_fails_is_counted() -> None:
    observed = Observed()
    observed.reader._exchange = None  # type: ignore[assignment]
    observed.client(call(1))
    assert observed.report().failed == {"client_sent": 1}


def test_a_call_wakes_nobody_and_many_do() -> None:
    watch = CopyReader("files", 7, "")
    watch.take(call(1), 0.0, to_server=True)
    watch.copied(100)
    assert not watch._wake.is_set()
    for number in range(2, 20):
        watch.take(call(number), 0.0, to_server=True)
        watch.copied(100)
    assert watch._wake.is_set()


def test_what_is_long_is_read_at_once() -> None:
    observed = Observed()
    observed.client(call(1))
    observed.server(reply(1, text="x" * 20_000))
    observed.reader.copied(20_000)
    report = observed.reader._buffer.collect()
    assert report is not None
    assert [each.outcome for each in report.calls] == ["ok"]


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("order", [("id", "content"), ("content", "id")])
def test_a_reply_that_is_too_long_to_be_read_ends_its_request(
    order: tuple[str, str], error: bool
) -> None:
    observed = Observed()
    observed.client(call(1) + call(2), now=10.0)
    text = "x" * (MAX_LINE + 1)
    name, content = ("error", {"message": text}) if error else ("result", {"text": text})
    members: dict[str, dict[str, Any]] = {"id": {"id": 1}, "content": {name: content}}
    long = line(**members[order[0]], **members[order[1]])
    for start in range(0, len(long), 1_000_000):
        observed.server(long[start : start + 1_000_000], now=11.0)
    report = observed.report()
    (finished,) = report.calls
    assert (finished.outcome, finished.seconds) == ("protocol_error" if error else "ok", 1.0)
    assert (report.waiting, report.unparsed) == (1, {"too_large": 1})
    assert report.bytes_to_client == len(long) - 1


def test_a_reply_of_the_client_that_is_too_long_ends_the_servers_request() -> None:
    observed = Observed()
    observed.server(line(id=1, method="sampling/createMessage", params={}), now=1.0)
    observed.client(call(1), now=1.0)
    observed.client(reply(1, text="x" * MAX_LINE), now=2.0)
    report = observed.report()
    (finished,) = report.calls
    assert (finished.to_server, finished.outcome) == (False, "ok")
    assert report.waiting == 1


def test_an_id_that_comes_back_as_another_type_is_that_requests() -> None:
    observed = Observed()
    observed.client(call(1) + line(id="2", method="tools/call", params={"name": "act"}))
    observed.server(line(id="1", result={}) + line(id=2, result={}))
    report = observed.report()
    assert [each.outcome for each in report.calls] == ["ok", "ok"]
    assert (report.waiting, report.unparsed) == (0, {})


def test_ids_that_are_two_stay_two() -> None:
    observed = Observed()
    observed.client(call(1) + line(id="1", method="tools/list"))
    observed.server(line(id="1", result={"tools": []}))
    report = observed.report()
    assert [each.method for each in report.calls] == ["tools/list"]
    assert report.waiting == 1


def test_a_flood_is_passed_over_in_time_and_counted() -> None:
    observed = Observed()
    observed.client(call(1), now=1.0)
    noise = b"1\n" * 32_768
    began = process_time()
    for _ in range(1000):
        observed.server(noise)
        observed.reader.copied(len(noise))
    assert process_time() - began < 1000 * 5 * READ_TIME
    assert sum(map(len, (data for data, _, _ in observed.reader._unread))) <= MAX_UNREAD_BYTES
    observed.end(0)
    report = observed.report()
    assert report.unparsed["too_large"] > 0
    assert sum(report.unparsed.values()) == 1000 * 32_768
    assert [each.outcome for each in report.calls] == ["upstream_error"]


def test_what_is_left_of_a_copy_is_read_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1000))
    monkeypatch.setattr(reader, "monotonic", lambda: float(next(ticks)))
    observed = Observed()
    observed.client(b"".join(call(number) for number in range(5)), now=1.0)
    observed.server(reply(0) + reply(1), now=2.0)
    observed.reader.read(1.5)
    assert len(observed.reader._exchange) == 2
    while observed.reader._unread or observed.reader._current:
        observed.reader.read(1.5)
    report = observed.report()
    assert [each.seconds for each in report.calls] == [1.0, 1.0]
    assert report.waiting == 3


def test_calls_that_come_fast_are_all_read() -> None:
    observed = Observed()
    for number in range(3 * MAX_UNREAD):
        observed.client(call(number))
        observed.reader.copied(100)
        observed.server(reply(number))
        observed.reader.copied(100)
    report = observed.report()
    assert report.unparsed == {}
    assert len(report.calls) == CALLS_A_REPORT

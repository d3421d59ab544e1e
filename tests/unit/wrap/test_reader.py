"""What a wrapped server and its client say is cut into lines, read, and noted down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.protocol.label_values import Outcome
from exporter.wrap.reader import CopyReader
from exporter.wrap.report import Report


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"


def call(request_id: int, tool: str = "act") -> bytes:
    return line(id=request_id, method="tools/call", params={"name": tool})


def reply(request_id: int, **result: Any) -> bytes:
    return line(id=request_id, result=result)


class Watched:
    """A watch whose buffer is read by the test; its threads are not started."""

    def __init__(self) -> None:
        self.watch = CopyReader("files", 7, "")

    def client(self, data: bytes, now: float = 0.0) -> None:
        self.watch.take(data, now, to_server=True)

    def server(self, data: bytes, now: float = 0.0) -> None:
        self.watch.take(data, now, to_server=False)

    def end(self, code: int, was_asked: bool = False) -> None:
        self.watch.end(code, was_asked, timeout=0)

    def report(self) -> Report:
        self.watch.read()
        report = self.watch._buffer.collect()
        assert report is not None
        return report

    def outcomes(self) -> list[str]:
        return [each.outcome for each in self.report().calls]


def test_a_call_is_noted_with_its_time_tool_and_size() -> None:
    watched = Watched()
    watched.client(call(1), now=10.0)
    watched.server(reply(1, content=[]), now=10.5)
    (finished,) = watched.report().calls
    assert (finished.tool, finished.outcome, finished.seconds) == ("act", "ok", 0.5)
    assert finished.result_bytes == len(reply(1, content=[])) - 1


def test_a_message_may_come_in_pieces() -> None:
    watched = Watched()
    for at in range(len(call(1))):
        watched.client(call(1)[at : at + 1])
    watched.server(reply(1, isError=True))
    assert watched.outcomes() == [Outcome.TOOL_ERROR]


def test_a_server_that_dies_fails_what_waited_for_it() -> None:
    watched = Watched()
    watched.client(call(1))
    watched.end(70)
    report = watched.report()
    assert [each.outcome for each in report.calls] == [Outcome.UPSTREAM_ERROR]
    assert (report.exit, report.waiting) == ("error", 0)


def test_a_client_that_leaves_does_not_blame_the_server() -> None:
    watched = Watched()
    watched.client(call(1))
    watched.client(b"")
    watched.end(1)
    report = watched.report()
    assert [each.outcome for each in report.calls] == [Outcome.CLIENT_GONE]
    assert report.exit == "clean"


def test_a_reply_after_the_clients_last_word_still_counts() -> None:
    watched = Watched()
    watched.client(call(1))
    watched.client(b"")
    watched.server(reply(1))
    assert watched.outcomes() == [Outcome.OK]


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
    watched = Watched()
    watched.end(code, was_asked)
    assert watched.report().exit == reason


def test_what_is_not_understood_is_counted_and_the_next_message_read() -> None:
    watched = Watched()
    watched.client(b"\xff\xfe nonsense\n\n  \n")
    watched.client(call(1))
    watched.server(b"hello\n")
    watched.server(reply(1))
    report = watched.report()
    assert report.unparsed == {"not_json": 2}
    assert [each.outcome for each in report.calls] == [Outcome.OK]


def test_the_client_is_known_by_its_first_request() -> None:
    watched = Watched()
    client = {"clientInfo": {"name": "Claude"}, "protocolVersion": "2025-11-25"}
    watched.client(line(id=0, method="initialize", params=client) + call(1))
    session = watched.report().session
    assert session is not None
    assert (session.client, session.version) == ("Claude", "2025-11-25")


def test_an_observer_that_fails_is_counted() -> None:
    watched = Watched()
    watched.watch._exchange = None  # type: ignore[assignment]
    watched.client(call(1))
    assert watched.report().failed == {"client_sent": 1}


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
    watched = Watched()
    watched.client(call(1))
    watched.server(reply(1, text="x" * 20_000))
    watched.watch.copied(20_000)
    report = watched.watch._buffer.collect()
    assert report is not None
    assert [each.outcome for each in report.calls] == ["ok"]

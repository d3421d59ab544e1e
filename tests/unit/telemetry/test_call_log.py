"""A line a request: who, what, how it ended and how long it took, and nothing of what was said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.protocol.jsonrpc import CLIENT_KEY
from exporter.telemetry import call_log
from exporter.telemetry.call_log import LoggingRecorder
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.telemetry.recorder import ServerRecorder
from tests.support.fakes import FakeEvents, Telemetry, encoded, error, parsed, request, result

SECRET = "s3cr3t-argument"


class Setup:
    """A conversation whose requests are logged, and the lines."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        self.telemetry = Telemetry()
        self.recorder = LoggingRecorder(self.telemetry.metrics, "files", "http")
        self.observer = Observer(self.recorder, FakeEvents(self.recorder))
        self.exchange = Exchange(self.recorder)
        self.now = 0.0

    def ask(self, sent: dict[str, object], answer: dict[str, object], seconds: float = 0.5) -> None:
        begun = self.observer.client_sent(self.exchange, [parsed(sent)], 10, self.now)
        self.now += seconds
        self.observer.server_sent(self.exchange, encoded(answer), begun or (), self.now)

    def lines(self) -> list[dict[str, Any]]:
        return list(self._lines())

    def _lines(self) -> Iterator[dict[str, Any]]:
        for record in self.caplog.records:
            if record.message == "call":
                plain = vars(logging.makeLogRecord({})).keys() | {"message"}
                yield {key: value for key, value in vars(record).items() if key not in plain}


@pytest.fixture
def setup(caplog: pytest.LogCaptureFixture) -> Setup:
    caplog.set_level(logging.INFO)
    return Setup(caplog)


def test_a_call_is_one_line(setup: Setup) -> None:
    info = {"name": "laptop", "version": "1"}
    setup.ask(request(1, "initialize", clientInfo=info), result(1))
    setup.ask(
        request(2, "tools/call", name="read", arguments={"x": SECRET}), result(2, text=SECRET)
    )
    setup.ask(request(3, "tools/call", name="read"), result(3, isError=True))
    assert setup.lines() == [
        {
            "server": "files",
            "method": "initialize",
            "outcome": "ok",
            "seconds": 0.5,
            "client": "laptop",
        },
        {
            "server": "files",
            "method": "tools/call",
            "tool": "read",
            "outcome": "ok",
            "seconds": 0.5,
            "client": "laptop",
        },
        {
            "server": "files",
            "method": "tools/call",
            "tool": "read",
            "outcome": "tool_error",
            "seconds": 0.5,
            "client": "laptop",
        },
    ]
    assert SECRET not in setup.caplog.text
    assert setup.telemetry.outcomes() == {"ok": 2, "tool_error": 1}


def test_an_error_bears_its_code_and_a_client_of_2026_names_itself(setup: Setup) -> None:
    meta = {CLIENT_KEY: {"name": "agent", "version": "2"}}
    setup.ask(request(1, "tools/list", _meta=meta), error(1, -32602))
    (line,) = setup.lines()
    assert (line["outcome"], line["code"], line["client"]) == ("protocol_error", -32602, "agent")


def test_a_request_of_the_server_says_so(setup: Setup) -> None:
    asked = encoded(request("s", "sampling/createMessage"))
    setup.observer.server_sent(setup.exchange, asked, (), 1.0)
    setup.observer.client_sent(setup.exchange, [parsed(result("s"))], 10, 3.0)
    (line,) = setup.lines()
    assert (line["direction"], line["seconds"]) == ("to_client", 2.0)


def test_names_that_peers_chose_are_short(setup: Setup) -> None:
    setup.ask(request(1, "m" * 1000), result(1))
    setup.ask(request(2, "tools/call", name="t" * 1000), result(2))
    for line in setup.lines():
        assert all(len(str(value)) <= 129 for value in line.values())


def test_a_rejection_says_why(setup: Setup) -> None:
    setup.recorder.rejected("tools/call", "body_too_large")
    call_log.log_rejection(None, None, "unauthorized")
    assert setup.lines() == [
        {
            "server": "files",
            "method": "tools/call",
            "outcome": "rejected",
            "reason": "body_too_large",
        },
        {"outcome": "rejected", "reason": "unauthorized"},
    ]
    assert setup.telemetry.outcomes() == {"rejected": 1}


def test_without_being_asked_for_there_are_no_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    setup = Setup(caplog)
    recorder = ServerRecorder(setup.telemetry.metrics, "quiet", "http")
    setup.observer, setup.exchange = Observer(recorder, FakeEvents(recorder)), Exchange(recorder)
    setup.ask(request(1, "ping"), result(1))
    recorder.rejected(None, "bad_request")
    assert caplog.records == []


def test_a_session_is_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    recorder = ServerRecorder(Telemetry().metrics, "files", "http")
    recorder.session_started("laptop\n", "2025-11-25")
    recorder.session_ended(1.23456)
    begin, end = caplog.records
    assert begin.message == "session started"
    assert vars(begin)["client"] == "_other"
    assert vars(begin)["protocol_version"] == "2025-11-25"
    assert (end.message, vars(end)["seconds"]) == ("session ended", 1.235)

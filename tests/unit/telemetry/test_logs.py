"""One event is one line, for people or for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest

from exporter.config.model import TracingSettings
from exporter.telemetry import logs
from exporter.telemetry.spans.collector import HttpCollector
from exporter.telemetry.spans.otlp import rejected
from exporter.telemetry.spans.sender import CollectorLostError
from tests.support.trace_receiver import receiving


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    quiet = {name: logging.getLogger(name).level for name in ("asyncio", "urllib3")}
    yield
    for name, before in quiet.items():
        logging.getLogger(name).setLevel(before)
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_a_line_of_text_has_time_level_message_and_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", "text")
    extra = {"server": "files", "reason": "no such file", "pid": 7, "empty": "", "q": 'a"b'}
    logging.getLogger("x").warning("child %s", "ended", extra=extra)
    (line,) = lines(capsys)
    time, rest = line.split(" ", 1)
    assert time.endswith("+00:00")
    assert rest == (
        'WARNING child ended server=files reason="no such file" pid=7 empty="" q="a\\"b"'
    )


def test_a_line_of_json_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("exporter.transport.process.child").info(
        "started", extra={"server": "files", "pid": 7}
    )
    (line,) = lines(capsys)
    event = json.loads(line)
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "level": "info",
        "message": "started",
        "logger": "exporter.transport.process.child",
        "server": "files",
        "pid": 7,
    }


@pytest.mark.parametrize("style", ["text", "json"])
def test_what_has_line_ends_is_one_line_all_the_same(
    style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("info", style)
    logging.getLogger("x").info("one\ntwo\r\nthree", extra={"a": "b\nc", "d": "e\rf"})
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("x").exception("failed")
    first, second = lines(capsys)
    assert "one" in first
    assert "three" in first
    assert "Traceback" in second
    assert "second" in second


def test_a_server_cannot_speak_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("x").info("stderr: %s", "\x1b[2J\x07 tab\t\x85 \u2028 \u202e é")
    (line,) = lines(capsys)
    assert "\\x1b[2J\\x07 tab\t\\x85 \\u2028 \\u202e é" in line


def test_a_value_that_is_no_json_is_written_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("x").info("odd", extra={"value": {1}, "text": "\ud83d"})
    (line,) = lines(capsys)
    assert json.loads(line)["value"] == "{1}"


def test_text_that_cannot_be_encoded_does_not_break_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", "text")
    logging.getLogger("x").info("half \ud83d", extra={"a": "\ud83d"})
    captured = capfd.readouterr()
    assert "half" in captured.err
    assert "Traceback" not in captured.err


def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "text")
    logging.getLogger("x").info("hidden")
    logging.getLogger("x").error("shown")
    assert ["shown" in line for line in lines(capsys)] == [True]


def test_asyncio_is_quiet_even_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "text")
    logging.getLogger("asyncio").debug("Using selector")
    logging.getLogger("exporter").debug("shown")
    assert ["shown" in line for line in lines(capsys)] == [True]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\na line without a colon\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"\x00garbage\r\n\r\n",
        b"",
    ],
)
def test_the_address_of_a_collector_is_in_no_line(
    reply: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("debug", "text")
    with receiving() as receiver, suppress(CollectorLostError):
        receiver.misbehave = lambda connection: connection.sendall(reply)
        settings = TracingSettings(f"{receiver.url}/token/v1/traces?key=token")
        HttpCollector(settings, "agent/1", rejected).post(b"", 5.0)
    assert receiver.headers
    assert lines(capsys) == []

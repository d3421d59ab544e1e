"""Standard error in the log: as much as the quota of a server allows."""

from __future__ import annotations

import logging

import pytest

from exporter.config.model import Server
from exporter.transport.process import stderr
from exporter.transport.process.stderr import StderrLog, StderrReader
from tests.support.fakes import FakeClock

SERVER = Server("demo", "stdio", command="x", env={"TOKEN": "very-secret-word"})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(stderr, "monotonic", clock)
    return clock


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return messages


@pytest.fixture(autouse=True)
def _every_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_all_children_of_a_server_share_its_quota(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    log = StderrLog(SERVER, lines_a_second=3)
    one, other = StderrReader(log), StderrReader(log)
    assert one.read(b"1\n2\n", pid=7) == [b"1", b"2"]
    assert other.read(b"3\n4\n5\n", pid=8) == [b"3"]
    assert one.read(b"6\n", pid=7) == []
    assert logged(caplog) == ["stderr: 1", "stderr: 2", "stderr: 3"]
    clock.advance(1)
    assert one.read(b"7\n", pid=7) == [b"7"]
    assert logged(caplog) == ["3 lines of its stderr were not logged", "stderr: 7"]


@pytest.mark.usefixtures("clock")
def test_a_line_may_come_in_pieces_and_bears_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    reader = StderrReader(StderrLog(SERVER))
    assert reader.read(b"the token is very-", pid=7) == []
    assert reader.read(b"secret-word\r\n", pid=7) == [b"the token is very-secret-word"]
    (text,) = logged(caplog)
    assert text.startswith("stderr: the token is")
    assert "very-secret-word" not in text


@pytest.mark.usefixtures("clock")
def test_a_line_that_is_too_long_is_not_logged_whole(caplog: pytest.LogCaptureFixture) -> None:
    reader = StderrReader(StderrLog(SERVER))
    reader.read(b"x" * (stderr.MAX_LINE + 1), pid=7)
    reader.read(b"\n" + b"y" * 5000 + b"\n", pid=7)
    too_long, cut = logged(caplog)
    assert too_long == "stderr: (a line that is too long)"
    assert len(cut) < 2100


def test_what_is_beyond_the_quota_is_passed_over_without_being_cut_into_lines(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    reader = StderrReader(StderrLog(SERVER, lines_a_second=1))
    reader.read(b"first\n", pid=7)
    reader.read(b"x\n" * 100_000, pid=7)
    clock.advance(1)
    reader.read(b"last\n", pid=7)
    assert logged(caplog)[1:] == ["100000 lines of its stderr were not logged", "stderr: last"]

"""What is told is told once to each exporter, and nobody waits for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.wrap import report, unix_socket
from exporter.wrap.buffer import ReportBuffer
from exporter.wrap.report import Report
from exporter.wrap.sender import ReportSender


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with unix_socket.listen(str(tmp_path / "s")) as opened:
        opened.settimeout(60)
        yield opened


class Host:
    """Takes one connection's reports, one by one."""

    def __init__(self, listener: socket.socket) -> None:
        self._socket, _ = listener.accept()
        self._socket.settimeout(60)
        self._file = self._socket.makefile("rb")

    def receive(self) -> Report:
        return report.decode(self._file.readline())

    def acknowledge(self) -> None:
        self._socket.sendall(report.ACKNOWLEDGED)

    def leave(self) -> None:
        self._file.close()
        self._socket.close()


def with_calls(count: int) -> ReportBuffer:
    buffer = ReportBuffer("files", 7)
    for _ in range(count):
        buffer.finished(Call("ping", Outcome.OK, 0.1))
    return buffer


def test_the_introduction_comes_first_then_the_news(
    listener: socket.socket, tmp_path: Path
) -> None:
    sender = ReportSender(str(tmp_path / "s"), with_calls(3))
    sender.start()
    host = Host(listener)
    first = host.receive()
    assert (first.server, first.pid, first.is_first, first.calls) == ("files", 7, True, [])
    host.acknowledge()
    assert len(host.receive().calls) == 3
    host.acknowledge()
    sender.close(timeout=60)
    host.leave()


def test_what_was_not_acknowledged_is_told_to_the_next(
    listener: socket.socket, tmp_path: Path
) -> None:
    sender = ReportSender(str(tmp_path / "s"), with_calls(3))
    sender.start()
    dying = Host(listener)
    dying.receive()
    dying.acknowledge()
    dying.receive()
    dying.leave()
    host = Host(listener)
    assert not host.receive().is_first
    host.acknowledge()
    assert len(host.receive().calls) == 3
    host.acknowledge()
    sender.close(timeout=60)
    host.leave()


def test_a_report_on_which_everybody_hangs_up_is_dropped_and_counted(
    listener: socket.socket, tmp_path: Path
) -> None:
    sender = ReportSender(str(tmp_path / "s"), with_calls(3))
    sender.start()
    for _ in range(3):
        host = Host(listener)
        host.receive()
        host.acknowledge()
        assert len(host.receive().calls) == 3
        host.leave()
    host = Host(listener)
    host.receive()
    host.acknowledge()
    last = host.receive()
    assert (last.calls, last.dropped) == ([], 3)
    host.acknowledge()
    sender.close(timeout=60)
    host.leave()


def test_the_end_does_not_wait_for_an_exporter_that_hangs(
    listener: socket.socket, tmp_path: Path
) -> None:
    sender = ReportSender(str(tmp_path / "s"), with_calls(3))
    sender.start()
    host = Host(listener)
    host.receive()
    sender.close(timeout=0.01)
    listener.close()
    host.leave()
    sender._thread.join(60)


def test_without_an_exporter_the_end_comes_at_once(tmp_path: Path) -> None:
    sender = ReportSender(str(tmp_path / "nobody"), with_calls(3))
    sender.start()
    sender.close(timeout=60)
    assert not sender._thread.is_alive()

"""`make demo` as a person meets it: it comes up, it tells the truth, and it leaves nothing."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import psutil
import pytest
import requests

from demo import addresses, report
from demo.__main__ import Demo, _addresses, _own
from demo.interrupt import Interrupt
from demo.processes import Processes
from demo.stack import ROOT, Stack
from tests.support.running import wait_for

pytestmark = pytest.mark.e2e

SECONDS_TO_COME_UP = 90
SECONDS_TO_END = 30
MARK = "MCP_EXPORTER_TEST_RUN"


class Run:
    """One run of the demo, with all the processes that come of it, and what it says."""

    def __init__(
        self, state: Path, *words: str, terminal: int | None = None, programs: str = ""
    ) -> None:
        self._mark = uuid.uuid4().hex
        self._out = (state.parent / f"{self._mark}.out").open("w+b")
        words = ("-m", "demo", "--free-ports", "--state", str(state), *words)
        self.process = subprocess.Popen(
            [sys.executable, *words],
            env={**os.environ, MARK: self._mark, "PATH": f"{programs}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=self._out if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: _become_as_from_a_terminal(terminal),
        )

    @property
    def said(self) -> str:
        return Path(self._out.name).read_text()

    def wait_for(self, words: str) -> str:
        """Wait until the demo has said that; returns all that it has said."""
        _eventually(
            lambda: words in self.said or self.process.poll() is not None, SECONDS_TO_COME_UP
        )
        assert words in self.said, self.said
        return self.said

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(SECONDS_TO_END)

    def alive(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self._mark
        except psutil.Error:
            return False

    def clean_up(self) -> None:
        self._out.close()
        for process in self.alive():
            process.kill()
        self.process.wait()


class Uninterrupted(Interrupt):
    """Leaves the signals of the test run alone."""

    def __init__(self) -> None:
        pass

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def _become_as_from_a_terminal(terminal: int | None) -> None:
    # A test run in the background ignores some of these, and so would what it starts.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if terminal is not None:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def _eventually(condition: Callable[[], bool], within: float) -> None:
    given_up = time.monotonic() + within
    while not condition():
        assert time.monotonic() < given_up
        time.sleep(0.1)


def _make_program(path: Path, source: str) -> None:
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)


GRAFANA = """
import http.server, os, sys
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{sys.argv[1:]} {dict(os.environ)}".encode())
address = (os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"]))
http.server.HTTPServer(address, Page).serve_forever()
"""

Start = Callable[..., Run]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A demo that is up, for those who only look. A stand-in takes Grafana's place."""
    folder = tmp_path_factory.mktemp("up")
    _make_program(folder / "grafana", GRAFANA)
    run = Run(folder / "state", programs=str(folder))
    try:
        run.wait_for("Up until Ctrl-C")
        yield run
    finally:
        run.clean_up()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a demo with its state below the test's folder; none outlives the test."""
    runs: list[Run] = []

    def started(*words: str, terminal: int | None = None) -> Run:
        runs.append(Run(tmp_path / "state", *words, terminal=terminal))
        return runs[-1]

    yield started
    for run in runs:
        run.clean_up()


def _prometheus(said: str) -> report.Prometheus:
    found = re.search(r"asked at (\S+):$", said, re.MULTILINE)
    assert found, said
    return report.Prometheus(found[1])


def test_once_makes_the_calls_finds_all_well_and_leaves_nothing(start: Start) -> None:
    run = start("--once")
    assert run.process.wait(SECONDS_TO_COME_UP) == 0, run.said
    lines = [" ".join(line.split()) for line in run.said.splitlines()]
    assert any(line.startswith("files list_files 5 100.0 %") for line in lines)
    assert any(line.startswith("files read_file 10 100.0 %") for line in lines)
    assert any(line.startswith("all 15 100.0 %") for line in lines)
    assert "echo ok up" in lines
    assert "files ok up" in lines
    assert any(re.fullmatch(r"trace of a call http://\S+/trace/[0-9a-f]{32}", ln) for ln in lines)
    assert run.alive() == []


def test_what_prometheus_stored_is_there_in_the_next_run(start: Start) -> None:
    first = start("--once")
    assert first.process.wait(SECONDS_TO_COME_UP) == 0, first.said
    second = start()
    prometheus = _prometheus(second.wait_for("Up until Ctrl-C"))
    calls = 'sum by (instance) (last_over_time(mcp_tool_calls_total{server="files"}[1h]))'
    assert [sample.value for sample in prometheus.query(calls)] == [15, 15]
    assert second.end(signal.SIGINT) == 0


def test_a_server_that_is_lost_and_comes_back_is_seen_by_prometheus(start: Start) -> None:
    run = start()
    said = run.wait_for("Up until Ctrl-C")
    prometheus = _prometheus(said)
    (pid,) = re.findall(r"^  kill (\d+) ", said, re.MULTILINE)
    (address,) = re.findall(r"-m mcp_servers.echo --http (\S+)", said)
    os.kill(int(pid), signal.SIGKILL)
    run.wait_for("echo server ended by SIGKILL")
    _wait_for_transition(prometheus, "ok", "degraded")
    _wait_for_transition(prometheus, "degraded", "error")
    _wait_for(prometheus, 'mcp_server_up{server="echo"} == 0')
    with subprocess.Popen([sys.executable, "-m", "mcp_servers.echo", "--http", address]) as echo:
        try:
            _wait_for_transition(prometheus, "error", "degraded")
            _wait_for_transition(prometheus, "degraded", "ok")
            _wait_for(prometheus, 'mcp_server_health_state{server="echo",state="ok"} == 1')
        finally:
            echo.terminate()
    assert run.end(signal.SIGINT) == 0


def _wait_for_transition(prometheus: report.Prometheus, before: str, after: str) -> None:
    # The state itself may last less than a scrape interval.
    labels = f'server="echo",from="{before}",to="{after}"'
    _wait_for(prometheus, f"mcp_server_health_transitions_total{{{labels}}} == 1")


def _wait_for(prometheus: report.Prometheus, expression: str) -> None:
    _eventually(lambda: bool(prometheus.query(expression)), SECONDS_TO_COME_UP)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_it_is_told_to_end_every_process_is_gone(start: Start, number: signal.Signals) -> None:
    run = start()
    run.wait_for("Up until Ctrl-C")
    wait_for(lambda: len(run.alive()) >= 7, 60, "every process runs")
    assert run.end(number) == 0
    assert "every process of the demo is gone" in run.said
    assert run.alive() == []


@pytest.mark.parametrize("stage", ["exporter ", "calls "])
def test_it_can_be_ended_at_every_stage_of_its_start(start: Start, stage: str) -> None:
    run = start("--once")
    run.wait_for(stage)
    assert run.end(signal.SIGTERM) == 130, run.said
    assert run.alive() == []


def test_when_its_terminal_is_closed_every_process_is_gone(start: Start, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    run = start(terminal=theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb", buffering=0) as screen:
        _read_until(screen, b"Up until Ctrl-C")
    assert run.process.wait(SECONDS_TO_END) == 0
    assert run.alive() == []
    assert (tmp_path / "state/logs").is_dir()


def _read_until(screen: IO[bytes], words: bytes) -> None:
    seen = b""
    while words not in seen:
        try:
            seen += screen.read(1024)
        except OSError as ended:  # nobody has the terminal open any more
            raise AssertionError(seen.decode()) from ended


def test_a_part_that_cannot_start_is_told_and_nothing_stays(start: Start, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/prometheus").write_text("not a folder")
    run = start("--once")
    assert run.process.wait(SECONDS_TO_COME_UP) == 1
    assert "The demo cannot go on: Prometheus ended at its start, with exit code" in run.said
    assert "not a directory" in run.said
    assert run.alive() == []


def test_every_port_is_on_loopback_alone(up: Run) -> None:
    listening = {
        connection.laddr.ip
        for process in up.alive()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_every_page_that_is_named_can_be_opened(up: Run) -> None:
    pages = re.findall(r"^  (?:[a-zA-Z ]+?) +(http://\S+)$", up.said, re.MULTILINE)
    assert len(pages) >= 5
    for page in pages:
        assert requests.get(page, timeout=60).ok, page


def test_the_runbook_that_alerts_name_is_served(up: Run) -> None:
    page = f"{_prometheus(up.said).url}/consoles/runbook.html"
    assert "MCPServerDown" in requests.get(page, timeout=60).text


def test_the_trace_of_a_call_has_the_spans_of_client_exporter_and_server(up: Run) -> None:
    (page,) = re.findall(r"^  trace of a call +(http://\S+)$", up.said, re.MULTILINE)
    wait_for(lambda: "files</bdi>" in requests.get(page, timeout=10).text, 30, "its server's span")
    text = requests.get(page, timeout=10).text
    assert all(f"{name}</bdi></b>" in text for name in ("assistant", "mcp-exporter", "files"))


def test_grafana_is_started_where_it_is_installed_with_our_dashboards(up: Run) -> None:
    (page,) = re.findall(r"^  Grafana +(http://\S+)$", up.said, re.MULTILINE)
    started_with = requests.get(page, timeout=60).text
    assert "['server', '--homepath'" in started_with
    assert f"'PROMETHEUS_URL': '{_prometheus(up.said).url}'" in started_with
    assert f"'DASHBOARDS_PATH': '{ROOT / 'grafana/dashboards'}'" in started_with


def test_a_grafana_that_does_not_start_is_told_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _make_program(tmp_path / "grafana", "raise SystemExit('no home')")
    monkeypatch.setenv("PATH", str(tmp_path))
    interrupt = Uninterrupted()
    with Processes(ROOT, tmp_path / "logs", interrupt) as processes:
        parts = ("exporter", "grafana", "prometheus", "traces")
        stack = Stack(addresses.choose(dict.fromkeys(parts, 0)), tmp_path)
        Demo(stack, processes, interrupt, tmp_path / "grafana")._start_grafana()
    said = capsys.readouterr().out
    assert "without Grafana: Grafana ended at its start, with exit code 1" in said
    assert "no home" in said


def test_a_usual_port_that_is_taken_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setitem(addresses.USUAL_PORTS, "echo", taken)
        chosen = _addresses({"Prometheus", "Alertmanager"}, free_ports=False)
    assert f"port {taken} is taken: echo listens at {chosen['echo']}" in capsys.readouterr().out


@pytest.mark.parametrize("products", [{"Prometheus"}, {"Prometheus", "Alertmanager"}])
def test_what_does_not_run_gets_no_port(products: set[str]) -> None:
    chosen = _addresses(products, free_ports=True)
    assert ("alertmanager" in chosen) == ("Alertmanager" in products)
    assert ("inbox" in chosen) == ("Alertmanager" in products)


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with _own(tmp_path / "demo") as first, _own(tmp_path / "demo") as second:
        assert first == tmp_path / "demo"
        assert second == tmp_path / "demo-2"
    with _own(tmp_path / "demo") as third:
        assert third == tmp_path / "demo"

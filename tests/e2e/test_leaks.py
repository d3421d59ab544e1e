"""However a session ends, nothing of it stays: no process, no file descriptor, no gauge."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support import raw_server
from tests.support.certificates import Authority
from tests.support.exporting import Exporter, exporter, is_running, scripted_stdio
from tests.support.paths import ROOT
from tests.support.raw_client import (
    ACCEPTED,
    PATIENCE,
    ask,
    call,
    initialize,
    legacy,
    modern,
    modern_call,
    open_reply,
    open_session,
    sent,
)
from tests.support.raw_server import HANG_UP, Received, head, whole
from tests.support.running import wait_for

SESSIONS = 200
SESSIONS_OF_A_CLIENT = 15
AT_A_TIME = 8
IDLE = "6s"
"""How long a session without its client lives: longer than a busy machine lets a request wait."""

GAUGES = ("mcp_sessions", "mcp_requests_in_flight", "mcp_server_processes")


@dataclass(frozen=True)
class Traces:
    """What an exporter holds on to."""

    processes: frozenset[int]
    descriptors: Counter[str]
    gauges: dict[str, float]

    @classmethod
    def of(cls, exporter: Exporter) -> Traces:
        """What it holds on to now."""
        scrape = exporter.scrape()
        gauges = {name: scrape.total(name) for name in GAUGES}
        return cls(frozenset(exporter.descendants()), exporter.descriptors(), gauges)

    def beyond(self, other: Traces) -> dict[str, object]:
        """What is here and was not there."""
        found: dict[str, object] = {
            "processes": sorted(self.processes - other.processes),
            "descriptors": dict(self.descriptors - other.descriptors),
            "gauges": {k: v for k, v in self.gauges.items() if v != other.gauges[k]},
        }
        return {what: left for what, left in found.items() if left}


def wait_until_nothing_is_left(exporter: Exporter, before: Traces) -> None:
    left: dict[str, object] = {}

    def look() -> bool:
        left.clear()
        left.update(Traces.of(exporter).beyond(before))
        return not left

    try:
        wait_for(look, PATIENCE, "all is as it was before")
    except AssertionError as late:
        raise AssertionError(f"left behind: {left}") from late


# The ways in which a session may end; each has begun, and some wait for a reply


def by_delete(url: str, session: str) -> None:
    assert ask(url, None, legacy(session), "DELETE").status == 200


def by_leaving_it_idle(url: str, session: str) -> None:
    assert ask(url, call(1, "ok"), legacy(session)).status == 200


def by_disconnecting_in_a_call(url: str, session: str) -> None:
    with sent(url, call(1, "wait"), legacy(session)):
        assert ask(url, call(2, "ok"), legacy(session)).status == 200


def by_disconnecting_in_a_stream(url: str, session: str) -> None:
    with open_reply(url, None, legacy(session), "GET") as stream:
        assert stream.status == 200


def by_delete_in_a_call(url: str, session: str) -> None:
    with sent(url, call(1, "wait"), legacy(session)), open_reply(url, None, legacy(session), "GET"):
        by_delete(url, session)


def by_death_of_the_server(url: str, session: str) -> None:
    with (
        sent(url, call(1, "wait"), legacy(session)),
        sent(url, call(2, "kill"), legacy(session)) as killing,
    ):
        assert killing.getresponse().status == 502


def by_leaving_before_it_begins(url: str, session: str) -> None:
    by_delete(url, session)
    with sent(url, initialize(), ACCEPTED):
        pass


def without_a_session(url: str, session: str) -> None:
    by_delete(url, session)
    headers = modern("tools/call", "act")
    with sent(url, modern_call(session, "wait"), headers):
        assert ask(url, modern_call(1, "ok"), headers).status == 200


WAYS: list[Callable[[str, str], None]] = [
    by_delete,
    by_leaving_it_idle,
    by_disconnecting_in_a_call,
    by_disconnecting_in_a_stream,
    by_delete_in_a_call,
    by_death_of_the_server,
    by_leaving_before_it_begins,
    without_a_session,
]


def open_and_drop(url: str, sessions: int) -> None:
    """So many sessions, a few at a time, each dropped in another way."""

    def one(way: Callable[[str, str], None]) -> None:
        way(url, open_session(url))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        list(pool.map(one, itertools.islice(itertools.cycle(WAYS), sessions)))


@contextmanager
def killed_client(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client process that has opened its sessions."""
    command = [sys.executable, "-m", "tests.support.killed_client", url, str(SESSIONS_OF_A_CLIENT)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"all are open\n"
            yield client
        finally:
            client.kill()


def kill_clients(url: str, number: int) -> None:
    for _ in range(number):
        with killed_client(url) as client:
            client.send_signal(signal.SIGKILL)


# An HTTP server with sessions


class SessionServer:
    """Opens sessions, and does what a call tells it to."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._over = threading.Event()

    def __call__(self, request: Received) -> Iterable[bytes]:
        if request.method == b"DELETE":
            return whole(200, b"")
        message = json.loads(request.body or b"{}")
        if request.method == b"GET" or _how(message) == "wait":
            return self._stream()
        if _how(message) == "kill":
            return [HANG_UP]
        if "id" not in message:
            return whole(202, b"")
        session = f"Mcp-Session-Id: {next(self._numbers)}"
        fields = [session] if message["method"] == "initialize" else []
        reply = {"jsonrpc": "2.0", "id": message["id"], "result": {}}
        return whole(200, json.dumps(reply).encode(), "Content-Type: application/json", *fields)

    def release(self) -> None:
        """End the streams."""
        self._over.set()

    def _stream(self) -> Iterator[bytes]:
        yield head(200, "Content-Type: text/event-stream", "Connection: close") + b": hello\n\n"
        self._over.wait(3 * PATIENCE)


def _how(message: Any) -> str:
    return str(message.get("params", {}).get("arguments", {}).get("how", ""))


@pytest.fixture
def http(tmp_path: Path) -> Iterator[Exporter]:
    script = SessionServer()
    with raw_server.serving(script) as server:
        servers = {"sessions": {"url": server.url}}
        with exporter(tmp_path, servers, idle_timeout=IDLE) as running:
            yield running
            script.release()


@pytest.fixture
def stdio(tmp_path: Path) -> Iterator[Exporter]:
    servers = {"sessions": scripted_stdio()}
    with exporter(tmp_path, servers, idle_timeout=IDLE) as running:
        yield running


@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_200_sessions_dropped_in_every_way_leave_nothing_behind(
    request: pytest.FixtureRequest, transport: str
) -> None:
    exporter: Exporter = request.getfixturevalue(transport)
    url = exporter.url("sessions")
    sockets = exporter.descriptors()["socket"]
    open_and_drop(url, len(WAYS))  # with the first child the reaper starts, which stays
    wait_until_quiet(exporter, sockets)
    before = Traces.of(exporter)
    clients = 3
    open_and_drop(url, SESSIONS - clients * SESSIONS_OF_A_CLIENT)
    kill_clients(url, clients)
    scrape = exporter.scrape()
    assert scrape.total("mcp_sessions_started_total") >= SESSIONS
    assert scrape.total("mcp_session_duration_seconds_count") > 0
    wait_until_nothing_is_left(exporter, before)
    scrape = exporter.scrape()
    started = scrape.total("mcp_sessions_started_total")
    assert scrape.total("mcp_session_duration_seconds_count") == started
    assert scrape.total("mcp_exporter_internal_errors_total") == 0


def wait_until_quiet(exporter: Exporter, sockets: int) -> None:
    """Until the gauges are at zero, and no connection is left."""

    def look() -> bool:
        traces = Traces.of(exporter)
        return not any(traces.gauges.values()) and traces.descriptors["socket"] <= sockets

    wait_for(look, PATIENCE, "the gauges are at zero, the connections closed")


# File descriptors

STRACE = ["strace", "-D", "-f", "-qq", "-e", "trace=close", "-e", "status=failed"]
STRACE += ["-e", "signal=none", "-o"]
"""Notes the closes that fail, and leaves the program its parent's child."""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_descriptor_is_closed_twice(tmp_path: Path) -> None:
    """Another thread may have been given its number meanwhile: what it reads or writes is cut."""
    authority = Authority(tmp_path)
    own = authority.issue("own")
    tls = {"cert_file": own.cert.name, "key_file": own.key.name}
    web_config = tmp_path / "web.yml"
    web_config.write_text(json.dumps({"tls_server_config": tls}))
    trace = tmp_path / "closed-twice"
    servers = {
        "sessions": {
            **scripted_stdio(),
            "probe": {"enabled": True, "interval": "1s", "timeout": "900ms"},
        }
    }
    flags = (f"--web.config.file={web_config}", f"--wrap.socket={tmp_path / 'wrap.sock'}")
    with exporter(tmp_path, servers, *flags, under=[*STRACE, str(trace)], idle_timeout=IDLE) as at:
        open_and_drop(at.url("sessions"), 2 * len(WAYS))
        for page in ("/metrics", "/probe?target=sessions", "/", "/config"):
            get(at, page, authority)
        for reload in range(1, 6):
            changed = {**servers, f"other-{reload}": scripted_stdio()}
            (tmp_path / "exporter.json").write_text(json.dumps({"servers": changed}))
            at.process.send_signal(signal.SIGHUP)
            wait_for(lambda: len(at.says("configuration loaded")) > reload, PATIENCE, "it reloads")  # noqa: B023
            get(at, "/metrics", authority)
        threads = {thread.name for thread in Path(f"/proc/{at.pid}/task").iterdir()}
    closed = [line for line in trace.read_text().splitlines() if line.split()[0] in threads]
    assert closed == []


def get(exporter: Exporter, page: str, authority: Authority) -> None:
    with requests.Session() as session:
        session.trust_env = False
        reply = session.get(exporter.web + page, verify=str(authority.file), timeout=60)
    assert reply.status_code == 200


SCRAPES = 10_000


def test_10000_scrapes_are_answered_while_children_come_and_go(stdio: Exporter) -> None:
    address = stdio.web.removeprefix("http://")
    over = threading.Event()

    def come_and_go() -> int:
        count = 0
        while not over.is_set():
            by_delete(stdio.url("sessions"), open_session(stdio.url("sessions")))
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        visitors = [pool.submit(come_and_go) for _ in range(2)]
        try:
            answers = Counter(scrape_once(address) for _ in range(SCRAPES))
        finally:
            over.set()
        children = sum(visitor.result() for visitor in visitors)
    assert answers == {200: SCRAPES}
    assert children > 20


def scrape_once(address: str) -> int | str:
    """The status, or what went wrong; each on a connection of its own."""
    connection = HTTPConnection(address, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics?name[]=mcp_sessions")
        reply = connection.getresponse()
        reply.read()
        return reply.status
    except OSError as error:
        return repr(error)
    finally:
        connection.close()


# Children


def tell(exporter: Exporter, session: str, how: str) -> int:
    """Have the child of a session do something; the process id that it replies with."""
    reply = ask(exporter.url("sessions"), call(how, how), legacy(session))
    return int(reply.document["result"]["content"][0]["text"])


def wait_until_gone(processes: Iterable[int]) -> None:
    alive = set(processes)
    try:
        wait_for(lambda: not any(map(is_running, alive)), PATIENCE, f"{alive} are gone")
    finally:
        for process in filter(is_running, alive):  # a test that fails leaves none either
            os.kill(process, signal.SIGKILL)


def test_clients_that_only_leave_keep_no_new_one_out(tmp_path: Path) -> None:
    """The session that is idle longest makes room, and its child ends before another starts."""
    limits = {"children_per_server": 4, "sessions_per_server": 4}
    with exporter(tmp_path, {"sessions": scripted_stdio()}, limits=limits) as running:
        url = running.url("sessions")
        most = 0
        for _ in range(12):
            last = open_session(url)
            most = max(most, len(running.descendants()))
        assert ask(url, call(1, "ok"), legacy(last)).status == 200
        assert most <= 4 + 1, "four children and the reaper"
        assert running.scrape().total("mcp_sessions") == 4


def test_kill_of_the_exporter_leaves_no_child_alive(stdio: Exporter) -> None:
    sessions = [open_session(stdio.url("sessions")) for _ in range(3)]
    indifferent = [tell(stdio, session, "fork") for session in sessions]
    stubborn = tell(stdio, sessions[0], "stubborn")
    shared = ask(stdio.url("sessions"), modern_call(1, "pid"), modern("tools/call", "act"))
    pid = int(shared.document["result"]["content"][0]["text"])
    family = stdio.descendants()
    assert {*indifferent, stubborn, pid} < family
    assert all(os.getpgid(process) != os.getpgid(stdio.pid) for process in family)
    stdio.process.kill()
    stdio.process.wait()
    wait_until_gone(family)


def test_the_end_of_the_exporter_is_the_end_of_every_child(stdio: Exporter) -> None:
    sessions = [open_session(stdio.url("sessions")) for _ in range(3)]
    indifferent = [tell(stdio, session, "fork") for session in sessions]
    tell(stdio, sessions[0], "stubborn")
    family = stdio.descendants()
    assert set(indifferent) < family
    stdio.process.terminate()
    assert stdio.process.wait(PATIENCE) == 0
    wait_until_gone(family)
    assert stdio.says("mcp-exporter has stopped")


def test_how_a_child_ended_is_counted_and_what_it_started_ends_with_it(stdio: Exporter) -> None:
    url = stdio.url("sessions")
    left = [tell(stdio, open_session(url), "fork")]
    session = open_session(url)
    left += [tell(stdio, session, "fork"), tell(stdio, session, "stubborn")]
    ask(url, None, legacy(session), "DELETE")
    for how in ("die", "kill"):
        session = open_session(url)
        left.append(tell(stdio, session, "fork"))
        assert ask(url, call(1, how), legacy(session)).status == 502
    wait_until_gone(left)

    def reasons() -> dict[str, float]:
        return stdio.scrape().by("reason", "mcp_server_process_exits_total", server="sessions")

    expected = {"clean": 1, "error": 1, "signal": 1, "killed": 1}
    wait_for(lambda: reasons() == expected, PATIENCE, "every end is counted")

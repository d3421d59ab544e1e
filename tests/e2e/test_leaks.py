"""However a session ends, nothing of it stays: no process, no file descriptor, no gauge."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_server
from tests.support.exporting import Exporter, exporter, is_running, obedient
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
def doomed_client(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A client process that has opened its sessions."""
    command = [sys.executable, "-m", "tests.support.doomed_client", url, str(SESSIONS_OF_A_CLIENT)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"all are open\n"
            yield client
        finally:
            client.kill()


def kill_clients(url: str, number: int) -> None:
    for _ in range(number):
        with doomed_client(url) as client:
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
    servers = {"sessions": obedient()}
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

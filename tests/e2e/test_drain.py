"""Stopping a real exporter: balancers notice, calls end, and the last counts are read."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from tests.support.exporting import Exporter, Scrape, exporter, is_running, scripted_stdio
from tests.support.raw_client import (
    ask,
    call,
    legacy,
    modern,
    modern_call,
    open_reply,
    open_session,
)
from tests.support.running import wait_for

SOON = 60.0
SERVER = "child"


def get(running: Exporter, path: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(running.web + path, timeout=SOON)


def is_refused(running: Exporter) -> bool:
    connection = HTTPConnection(*running.host, timeout=SOON)
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    finally:
        connection.close()
    return False


def terminate(running: Exporter) -> float:
    """Send SIGTERM; return when that was."""
    began = time.monotonic()
    os.kill(running.pid, signal.SIGTERM)
    wait_for(lambda: running.says("is stopping"), SOON, "it heeds the signal")
    return began


def test_balancers_notice_before_the_port_closes_and_the_last_counts_are_read(
    tmp_path: Path,
) -> None:
    flags = ("--drain.delay", "8s", "--drain.timeout", "60s")
    with (
        ThreadPoolExecutor() as pool,
        exporter(tmp_path, {SERVER: scripted_stdio()}, *flags) as running,
    ):
        url = running.url(SERVER)
        session = open_session(url)
        stream = pool.submit(ask, url, None, legacy(session), "GET")
        # The shared child starts now, for the delay must outlast what is asked meanwhile.
        assert ask(url, modern_call(1, "ok"), modern("tools/call", "act")).status == 200
        assert running.scrape().outcomes(SERVER) == {"ok": 2}
        slow = pool.submit(ask, url, call(1, "slow", seconds=10), legacy(session))
        began = terminate(running)

        # First: nobody new should come, but who does is served, and told to go.
        ready = get(running, "/-/ready")
        assert (ready.status_code, ready.text) == (
            503,
            "mcp-exporter is not ready: it is draining\n",
        )
        assert get(running, "/-/healthy").status_code == 200
        served = ask(url, modern_call(2, "ok"), modern("tools/call", "act"))
        assert (served.status, served.values("Connection")) == (200, ["close"])
        assert not stream.done()

        # Then: the port is closed, streams end, and calls may go on.
        wait_for(lambda: is_refused(running), SOON, "the port is closed")
        assert time.monotonic() - began >= 8
        assert stream.result(timeout=SOON).status == 200
        assert slow.result(timeout=SOON).document["result"]["content"][0]["text"] == "done"

        # Last: what was counted can still be read, once.
        assert _last_scrape(running).outcomes(SERVER) == {"ok": 4}
        assert running.process.wait(timeout=SOON) == 0


def _last_scrape(running: Exporter) -> Scrape:
    def look() -> Scrape | None:
        scrape = running.scrape()
        return scrape if scrape.total("mcp_requests_in_flight") == 0 else None

    found = wait_for(look, SOON, "nothing is in flight")
    assert found is not None
    return found


def test_where_nobody_is_connected_and_nobody_scrapes_nothing_is_waited_for(
    tmp_path: Path,
) -> None:
    flags = ("--drain.delay", "10m", "--drain.timeout", "10m")
    with exporter(tmp_path, {SERVER: scripted_stdio()}, *flags) as running:
        ask(running.url(SERVER), modern_call(1, "ok"), modern("tools/call", "act"))
        terminate(running)
        assert running.process.wait(timeout=SOON) == 0


def test_a_call_that_does_not_end_in_time_is_answered_and_counted(tmp_path: Path) -> None:
    with exporter(tmp_path, {SERVER: scripted_stdio()}, "--drain.timeout", "1s") as running:
        url, headers = running.url(SERVER), modern("tools/call", "act")
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(ask, url, modern_call(1, "wait"), headers)
            wait_for(
                lambda: running.scrape().total("mcp_requests_in_flight") == 1, SOON, "it waits"
            )
            terminate(running)
            assert waiting.result(timeout=SOON).status == 502
        assert running.process.wait(timeout=SOON) == 0


def test_a_second_signal_ends_it_at_once_and_its_children_with_it(tmp_path: Path) -> None:
    flags = ("--drain.delay", "10m", "--drain.timeout", "10m")
    with exporter(tmp_path, {SERVER: scripted_stdio()}, *flags) as running:
        session = open_session(running.url(SERVER))
        with open_reply(running.url(SERVER), None, legacy(session), "GET"):
            children = running.descendants()
            terminate(running)
            os.kill(running.pid, signal.SIGINT)
            assert running.process.wait(timeout=SOON) == 1
        assert running.says("told to stop again")
        wait_for(lambda: not any(map(is_running, children)), SOON, "its children are gone")


def test_an_exporter_whose_loop_hangs_is_unhealthy_until_it_turns_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = tmp_path / "go-on"
    monkeypatch.setenv("GO_ON", str(go_on))
    servers = {SERVER: scripted_stdio()}
    with exporter(tmp_path, servers, module="tests.support.stalling_exporter") as running:
        assert get(running, "/-/healthy").status_code == 200
        os.kill(running.pid, signal.SIGUSR1)

        def says(status: int) -> bool:
            return all(
                get(running, path).status_code == status for path in ("/-/healthy", "/-/ready")
            )

        wait_for(lambda: says(503), SOON, "it is neither healthy nor ready")
        assert "has not turned for" in get(running, "/-/healthy").text
        go_on.touch()
        wait_for(lambda: says(200), SOON, "it is healthy again")


def test_an_exporter_whose_loop_hangs_heeds_the_second_signal(tmp_path: Path) -> None:
    servers = {SERVER: scripted_stdio()}
    with exporter(tmp_path, servers, module="tests.support.stalling_exporter") as running:
        open_session(running.url(SERVER))
        children = running.descendants()
        os.kill(running.pid, signal.SIGUSR2)
        wait_for(lambda: get(running, "/-/healthy").status_code == 503, SOON, "it hangs")
        os.kill(running.pid, signal.SIGTERM)

        def has_ended() -> bool:
            """Whether a signal more ended it: while the first one is pending for the thread that
            hangs, the system gives the second one to another thread, which does not wake it."""
            os.kill(running.pid, signal.SIGINT)
            return running.process.poll() is not None

        wait_for(has_ended, SOON, "it ends")
        assert running.process.returncode == 1
        assert running.says("told to stop again")
        wait_for(lambda: not any(map(is_running, children)), SOON, "its children are gone")

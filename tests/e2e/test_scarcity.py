"""No room for the log, no file descriptors left: clients are served, or told so."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.support import raw_server
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.held_resources import HeldResources, wait_for_release
from tests.support.paths import ROOT
from tests.support.raw_client import (
    ACCEPTED,
    ask,
    call,
    dial,
    initialize,
    legacy,
    modern,
    modern_call,
    open_session,
)
from tests.support.raw_server import whole
from tests.support.running import free_address, wait_for

PATIENCE = 60.0
PING = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
PONG = b'{"jsonrpc":"2.0","id":"p","result":{}}'
LOST = -32000


@pytest.fixture
def server() -> Iterator[raw_server.RawServer]:
    """An HTTP server that hangs up after each reply, so that every request needs a descriptor."""

    def reply(_: object) -> list[bytes]:
        return whole(200, PONG, "Content-Type: application/json", "Connection: close")

    with raw_server.serving(reply) as found:
        yield found


# No room for the log


@contextmanager
def full_disk() -> Iterator[int]:
    """A file that takes nothing."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def nobody_reads() -> Iterator[int]:
    """A pipe that nobody reads from any more."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@pytest.mark.parametrize("sink", [full_disk, nobody_reads])
@pytest.mark.parametrize("style", ["text", "json"])
def test_a_log_that_cannot_be_written_costs_the_log_alone(
    tmp_path: Path, server: raw_server.RawServer, sink: Any, style: str
) -> None:
    config, mcp, web = tmp_path / "mcp.json", free_address(), free_address()
    servers = {"raw": {"url": server.url}, "child": scripted_stdio()}
    config.write_text(json.dumps({"servers": servers}))
    command = [sys.executable, "-m", "exporter", "serve", f"--config.file={config}"]
    command += [f"--mcp.listen-address={mcp}", f"--web.listen-address={web}"]
    command += [f"--log.format={style}", "--log.level=debug"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with sink() as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, env=env, stderr=stderr, stdin=subprocess.DEVNULL
        )
    try:
        wait_for(lambda: _is_ready(web), PATIENCE, "it is ready")
        assert ask(f"http://{mcp}/raw/mcp", PING, ACCEPTED).body == PONG
        url = f"http://{mcp}/child/mcp"
        session = open_session(url)
        assert ask(url, call(1, "shout", lines=50), legacy(session)).status == 200
        assert ask(url, call(2, "die"), legacy(session)).document["error"]["code"] == LOST
        assert requests.post(f"http://{web}/-/reload", timeout=30).status_code == 200
        scrape = requests.get(f"http://{web}/metrics", timeout=30).text
        assert 'mcp_requests_in_flight{server="child"} 0.0' in scrape
        assert "mcp_exporter_internal_errors_total{" in scrape
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def _is_ready(web: str) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.get(f"http://{web}/-/ready", timeout=60).status_code == 200
    return False


# No file descriptors left


@pytest.fixture
def running(tmp_path: Path, server: raw_server.RawServer) -> Iterator[Exporter]:
    servers = {"raw": {"url": server.url}, "child": scripted_stdio()}
    with exporter(tmp_path, servers, idle_timeout="2s") as found:
        assert ask(found.url("raw"), PING, ACCEPTED).body == PONG
        shared = modern_call(1, "ok"), modern("tools/call", "act")
        assert ask(found.url("child"), *shared).status == 200
        yield found


def test_without_descriptors_nobody_hangs_and_afterwards_all_is_well(running: Exporter) -> None:
    wait_for(lambda: not running.descendants() - reaper(running), PATIENCE, "no child is left")
    before = HeldResources.of(running)
    process = psutil.Process(running.pid)
    limits = process.rlimit(psutil.RLIMIT_NOFILE)
    few = max(map(int, os.listdir(f"/proc/{running.pid}/fd"))) + 4  # noqa: PTH208
    with ExitStack() as stack:
        kept = stack.enter_context(contextlib.closing(dial(running.host)))
        assert say(kept) == 200
        process.rlimit(psutil.RLIMIT_NOFILE, (few, limits[1]))

        def crowded() -> bool:
            """Whether there is none for the server, with one more client than before."""
            stack.enter_context(contextlib.closing(dial(running.host)))
            return say(kept) == 502

        wait_for(crowded, PATIENCE, "there is no descriptor left")
        assert say(kept, initialize(), b"/child/mcp") == 502
        begun = process.cpu_times()
        time.sleep(1)
        spent = process.cpu_times()
        assert sum(spent[:2]) - sum(begun[:2]) < 0.8  # it does not turn in circles
        assert process.is_running()
    wait_for(lambda: well(running), PATIENCE, "it serves again")
    process.rlimit(psutil.RLIMIT_NOFILE, limits)
    assert ask(running.url("child"), initialize(), ACCEPTED).status == 200
    assert wait_for_release(lambda: without_reserve(running), before, PATIENCE) == {}
    scrape = running.scrape()
    assert scrape.total("mcp_exporter_internal_errors_total") == 0
    assert scrape.outcomes("raw").keys() == {"ok", "upstream_error"}


def test_whatever_is_relayed_prometheus_is_answered(tmp_path: Path) -> None:
    under = ("sh", "-c", 'ulimit -n 128; exec "$@"', "sh")
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/mcp"
        servers = {"silent": {"url": url}, "child": scripted_stdio()}
        running = stack.enter_context(exporter(tmp_path, servers, under=under))
        kept, *clients = (
            stack.enter_context(contextlib.closing(dial(running.host))) for _ in range(61)
        )
        for client in clients:
            client.sendall(asked(PING, b"/silent/mcp"))
        # Each wants a second descriptor: those that would be of the reserve are refused.
        refused = wait_for(lambda: answered(clients, 30), PATIENCE, "30 are refused")
        assert all(client.recv(12) == b"HTTP/1.1 502" for client in refused)
        assert say(kept, initialize(), b"/child/mcp") == 502
        assert running.scrape().outcomes("silent")["upstream_error"] >= 30
        assert "Too many open files" in requests.get(running.web, timeout=PATIENCE).text


def answered(clients: list[socket.socket], most: int) -> list[socket.socket]:
    """Those that were sent something, once they are so many."""
    found, _, _ = select.select(clients, [], [], 0)
    return found if len(found) >= most else []


def without_reserve(running: Exporter) -> HeldResources:
    """What it holds, but for the descriptor that libuv keeps from then on, for such a time."""
    found = HeldResources.of(running)
    del found.counts["/"]
    return found


def reaper(running: Exporter) -> set[int]:
    """The process that ends what others leave behind; it stays."""
    found = running.descendants()
    return {pid for pid in found if "scripted_stdio_server" not in " ".join(words(pid))}


def words(pid: int) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).cmdline()
    return []


def say(kept: socket.socket, message: Any = PING, path: bytes = b"/raw/mcp") -> int:
    """Ask over a connection that stays; the status."""
    kept.sendall(asked(message, path))
    with kept.makefile("rb") as stream:
        status = int(stream.readline().split(b" ")[1])
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        stream.read(length)
    return status


def asked(message: Any, path: bytes) -> bytes:
    """The request for it."""
    body = json.dumps(message).encode()
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nAccept: application/json, text/event-stream\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)
    )


def well(running: Exporter) -> bool:
    """Whether a new client is served."""
    with contextlib.suppress(OSError, requests.RequestException):
        return ask(running.url("raw"), PING, ACCEPTED).status == 200
    return False

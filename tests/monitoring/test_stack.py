"""The exporter as Prometheus sees it: servers that die and return, and restarts of its own."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import requests

from tests.support.demo_servers import command
from tests.support.running import free_address, get, running, wait_for
from tests.support.tools import tool

pytestmark = pytest.mark.e2e

INTERVAL = 4.0
"""Seconds between probes here."""

PATIENCE = 60.0
"""Seconds until a test gives up; a loaded machine is slow."""

HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "echo",
}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass
class Stack:
    """An exporter in front of one HTTP server, and a Prometheus that scrapes it."""

    folder: Path
    server: str = field(default_factory=free_address)
    mcp: str = field(default_factory=free_address)
    web: str = field(default_factory=free_address)
    prometheus: str = field(default_factory=free_address)

    def __post_init__(self) -> None:
        config = {
            "mcpServers": {"echo": {"url": f"http://{self.server}/mcp"}},
            "probe": {"interval": f"{INTERVAL:g}s", "timeout": "3s"},
        }
        (self.folder / "mcp.json").write_text(json.dumps(config))
        scrape = (
            "global: {scrape_interval: 250ms, scrape_timeout: 250ms}\n"
            "scrape_configs:\n"
            "  - job_name: mcp-exporter\n"
            f"    static_configs: [{{targets: ['{self.web}']}}]\n"
        )
        (self.folder / "prometheus.yml").write_text(scrape)

    @contextmanager
    def echo(self) -> Iterator[None]:
        """The server runs."""
        words = command("echo", "--http", self.server)
        with (self.folder / "echo.log").open("ab") as log:
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=log)
        try:
            wait_for(lambda: _accepts(self.server), PATIENCE, "the server listens")
            yield
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def exporter(self) -> Iterator[None]:
        """The exporter runs."""
        words = [sys.executable, "-m", "exporter", "serve"]
        words += ["--config.file", str(self.folder / "mcp.json")]
        words += ["--mcp.listen-address", self.mcp, "--web.listen-address", self.web]
        with running(words, f"http://{self.web}/-/ready", self.folder / "exporter.log"):
            yield

    @contextmanager
    def scraped(self) -> Iterator[None]:
        """Prometheus runs, on the data that it has."""
        words = [
            tool("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.prometheus}",
        ]
        with running(words, f"http://{self.prometheus}/-/ready", self.folder / "prometheus.log"):
            yield

    def call(self, times: int) -> None:
        """Call the tool ``echo``."""
        for number in range(times):
            params = {"name": "echo", "arguments": {"text": "hello"}, "_meta": ENVELOPE}
            body = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
            url = f"http://{self.mcp}/echo/mcp"
            reply = requests.post(url, json=body, headers=HEADERS, timeout=30)
            assert "result" in reply.json()

    def query(self, text: str) -> float:
        """The value of an instant query; 0 without a sample."""
        found = get(f"http://{self.prometheus}/api/v1/query", query=text)["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0

    def growth(self, text: str) -> float:
        """By how much a counter grew in a range, to the one: from its samples, without a guess."""
        (series,) = get(f"http://{self.prometheus}/api/v1/query", query=text)["data"]["result"]
        values = [float(value) for _, value in series["values"]]
        return sum(
            after - before if after >= before else after for before, after in pairwise(values)
        )

    def transitions(self) -> list[str]:
        """The states that the exporter's log tells of, in order."""
        log = (self.folder / "exporter.log").read_text()
        return re.findall(r"server state changed.* to=(\w+)", log)

    def is_in(self, state: str) -> bool:
        """Whether Prometheus sees the server in this state."""
        return self.query(f'mcp_server_health_state{{server="echo",state="{state}"}}') == 1


def _accepts(address: str) -> bool:
    host, port = address.split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
        return True
    return False


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_a_server_that_dies_and_returns_shows_every_state_in_prometheus(stack: Stack) -> None:
    with stack.scraped(), stack.exporter():
        with stack.echo():
            wait_for(lambda: stack.is_in("ok"), PATIENCE, "the server is ok")
            before = len(stack.transitions())
        wait_for(lambda: len(stack.transitions()) >= before + 2, PATIENCE, "it is in error")
        wait_for(lambda: stack.is_in("error"), PATIENCE, "Prometheus sees it in error")
        with stack.echo():
            wait_for(lambda: stack.is_in("ok"), PATIENCE, "the server is ok again")
    assert stack.transitions()[before:] == ["degraded", "error", "degraded", "ok"]


def test_a_restart_of_the_exporter_loses_nothing(stack: Stack) -> None:
    with ExitStack() as stays:
        stays.enter_context(stack.scraped())
        stays.enter_context(stack.echo())
        calls = 'mcp_tool_calls_total{tool="echo",outcome="ok"}'
        with stack.exporter():
            wait_for(lambda: stack.query(f"{calls} + 1") == 1, PATIENCE, "the tool is at zero")
            stack.call(7)
            wait_for(lambda: stack.query(calls) == 7, PATIENCE, "seven calls are seen")
        with stack.exporter():
            wait_for(lambda: stack.query(f"{calls} + 1") == 1, PATIENCE, "it counts anew")
            stack.call(4)
            wait_for(lambda: stack.query(calls) == 4, PATIENCE, "four more are seen")
        seen = stack.query(f"max_over_time({calls}[10m])")
        resets = stack.query(f"resets({calls}[10m])")
        found = stack.growth(f"{calls}[10m]")
        increase = stack.query(f"sum(increase({calls}[10m]))")
    assert (seen, resets, found) == (7, 1, 11)
    # increase() extrapolates by up to a scrape on either side, and a busy machine misses some; had
    # it missed the restart, it would have found less than seven, and twice as much is eighteen.
    assert 10.99 < increase < 17


def test_prometheus_keeps_its_data_over_its_own_restart(stack: Stack) -> None:
    calls = 'mcp_tool_calls_total{tool="echo",outcome="ok"}'
    with stack.echo(), stack.exporter():
        with stack.scraped():
            wait_for(lambda: stack.query(f"{calls} + 1") == 1, PATIENCE, "the tool is at zero")
            stack.call(3)
            wait_for(lambda: stack.query(calls) == 3, PATIENCE, "three calls are seen")
        stack.call(2)
        with stack.scraped():
            wait_for(lambda: stack.query(calls) == 5, PATIENCE, "all five calls are seen")
            assert stack.query(f"count_over_time({calls}[10m])") > 2

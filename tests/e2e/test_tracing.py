"""Spans of a real client, the exporter and a real server are one trace without a secret."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.running import wait_for
from tests.support.trace_receiver import CLOCK_ERROR, ReceivedSpan, TraceReceiver, receiving

pytestmark = pytest.mark.e2e

PEER = [sys.executable, "-m", "tests.support.traced_peer"]
SECRET = "Bearer canary-token-0123456789"


@pytest.fixture
def receiver() -> Iterator[TraceReceiver]:
    with receiving() as receiver:
        yield receiver


def environ(receiver: TraceReceiver) -> dict[str, str]:
    place = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "PYTHONPATH": str(ROOT)}
    return {**os.environ, **place, "NO_PROXY": "127.0.0.1"}


def stdio_server(receiver: TraceReceiver) -> dict[str, Any]:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "PYTHONPATH": str(ROOT)}
    return {"command": PEER[0], "args": [*PEER[1:], "server", "stdio"], "env": env}


@contextmanager
def http_server(receiver: TraceReceiver, transport: str) -> Iterator[str]:
    command = [*PEER, "server", transport]
    with subprocess.Popen(
        command, env=environ(receiver), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            path = "sse" if transport == "sse" else "mcp"
            url = f"http://127.0.0.1:{port}/{path}"
            wait_for(lambda: _listens(url), 60, "the server listens")
            yield url
        finally:
            process.terminate()


def _listens(url: str) -> bool:
    with suppress(requests.ConnectionError), requests.Session() as session:
        session.trust_env = False
        session.get(url, timeout=5, stream=True).close()
        return True
    return False


def client(receiver: TraceReceiver, *words: str) -> None:
    command = [*PEER, "client", *words]
    subprocess.run(command, env=environ(receiver), cwd=ROOT, check=True, timeout=120)


def tracing(receiver: TraceReceiver, **more: Any) -> dict[str, Any]:
    return {"tracing": {"endpoint": receiver.url, **more}}


def the_call(receiver: TraceReceiver, service: str) -> ReceivedSpan:
    def found() -> ReceivedSpan | None:
        named = [each for each in receiver.of(service) if "tools/call" in each.span.name]
        return named[0] if named else None

    span = wait_for(found, 30, f"the call's span of {service}")
    assert span is not None
    return span


def check_chain(receiver: TraceReceiver, server: str, transport: str = "tcp") -> None:
    theirs, ours, servers = (
        the_call(receiver, name) for name in ("client", "mcp-exporter", "server")
    )
    assert theirs.trace_id == ours.trace_id == servers.trace_id
    assert ours.parent_id == servers.parent_id == theirs.span_id, "observed: siblings"
    assert ours.span.name == "tools/call act"
    told = ours.attributes
    assert told["mcp_exporter.server"] == server
    assert told["mcp_exporter.outcome"] == "ok"
    assert told["gen_ai.tool.name"] == "act"
    assert told["network.transport"] == transport
    assert b"canary" not in b"".join(receiver.bodies_of("mcp-exporter"))
    # The clock is the same for all three. A wrapped server's traffic is read from a copy, later.
    assert theirs.begins_before(ours)
    if transport == "tcp":
        assert ours.begins_before(servers)
        assert servers.span.end_time_unix_nano <= ours.span.end_time_unix_nano + CLOCK_ERROR


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_http_they_are_one_trace(receiver: TraceReceiver, tmp_path: Path, mode: str) -> None:
    with http_server(receiver, "streamable-http") as url:
        servers = {"traced": {"url": url}}
        with exporter(tmp_path, servers, **tracing(receiver)) as running:
            client(receiver, running.url("traced"), mode)
            check_chain(receiver, "traced")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_over_stdio_they_are_one_trace(receiver: TraceReceiver, tmp_path: Path, mode: str) -> None:
    servers = {"traced": stdio_server(receiver)}
    with exporter(tmp_path, servers, **tracing(receiver)) as running:
        client(receiver, running.url("traced"), mode)
        check_chain(receiver, "traced")


def test_over_sse_they_are_one_trace(receiver: TraceReceiver, tmp_path: Path) -> None:
    with http_server(receiver, "sse") as url:
        servers = {"traced": {"url": url, "type": "sse"}}
        with exporter(tmp_path, servers, **tracing(receiver)) as running:
            client(receiver, running.url("traced"), "sse")
            check_chain(receiver, "traced")


def test_a_wrapped_server_s_calls_are_in_the_trace(receiver: TraceReceiver, tmp_path: Path) -> None:
    socket = str(tmp_path / "wrap.sock")
    servers = {"other": scripted_stdio()}
    flags = ("--wrap.socket", socket)
    with exporter(tmp_path, servers, *flags, **tracing(receiver)):
        wrap = [sys.executable, "-m", "exporter", "wrap", "--wrap.socket", socket, "desk", "--"]
        client(receiver, "wrapped", *wrap, *PEER, "server", "stdio")
        check_chain(receiver, "desk", "pipe")


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "canary-client", "version": "1"},
}


def post(running: Exporter, **arguments: Any) -> requests.Response:
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "act",
        "Authorization": SECRET,
        "X-Canary": "canary-header",
    }
    params = {"name": "act", "arguments": arguments, "_meta": META}
    body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(running.url("files"), json=body, headers=headers, timeout=60)


def accounts(running: Exporter) -> tuple[float, float, float]:
    """How many spans were recorded, how many of them were sent or dropped, and how many wait."""
    scrape = running.scrape()
    names = ("recorded_total", "sent_total", "dropped_total", "queued")
    recorded, sent, dropped, queued = (scrape.total(f"mcp_exporter_spans_{name}") for name in names)
    return recorded, sent + dropped, queued


def settled(running: Exporter, count: int) -> None:
    wait_for(lambda: accounts(running) == (count, count, 0), 60, "every span is accounted for")


def test_nothing_that_is_said_is_in_a_span_a_log_or_a_page(
    receiver: TraceReceiver, tmp_path: Path
) -> None:
    headers = {"Authorization": "${CANARY}"}
    os.environ["CANARY"] = "canary-collector-token"
    try:
        with exporter(
            tmp_path, {"files": scripted_stdio()}, **tracing(receiver, headers=headers)
        ) as running:
            post(running, text="canary-argument")
            receiver.wait_for("mcp-exporter")
            pages = [
                requests.get(f"{running.web}/{page}", timeout=30).text
                for page in ("config", "metrics", "")
            ]
    finally:
        del os.environ["CANARY"]
    assert receiver.headers[0]["Authorization"] == "canary-collector-token"
    seen = [*(body.decode("latin-1") for body in receiver.bodies), running.log.read_text(), *pages]
    for text in seen:
        assert "canary" not in text.replace("canary-client", "")


@pytest.mark.parametrize("how", ["hangs", "resets", "refuses", "is gone"])
def test_whatever_a_collector_does_calls_and_the_end_are_as_fast(
    receiver: TraceReceiver, tmp_path: Path, how: str
) -> None:
    if how == "is gone":
        receiver.server_close()
    receiver.misbehave = {
        "hangs": lambda connection: connection.recv(1),
        "resets": lambda connection: connection.close(),
        "refuses": lambda connection: connection.sendall(b"HTTP/1.1 503 No\r\n\r\n"),
    }.get(how)
    with exporter(
        tmp_path, {"files": scripted_stdio()}, **tracing(receiver, timeout="1s")
    ) as running:
        for _ in range(100):
            assert post(running).status_code == 200
        settled(running, 100)
        assert post(running).status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < 15  # the two seconds of the last spans among them
    assert "spans cannot be sent" in running.log.read_text()

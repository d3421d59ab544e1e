"""Spans of a real client, the exporter and a real server are one trace without a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.foreign import Foreign
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.raw_client import ask, legacy, modern, open_session, request
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


def stdio_server(receiver: TraceReceiver, *words: str) -> dict[str, Any]:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, "PYTHONPATH": str(ROOT)}
    return {"command": PEER[0], "args": [*PEER[1:], *words], "env": env}


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
    subprocess.run([*PEER, *words], env=environ(receiver), cwd=ROOT, check=True, timeout=240)


def tracing(receiver: TraceReceiver, **more: Any) -> dict[str, Any]:
    return {"tracing": {"endpoint": receiver.url, **more}}


PLACES: dict[str, dict[str, Any]] = {"observed": {}, "joined": {"propagate": True}}
"""One server, configured twice."""

MODERN = "2026-07-28"  # said at once: a server that starts slowly seems to be of the older era
ERAS = {MODERN: MODERN, "legacy": "2025-11-25"}
SERVED, ASKED = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT


def found(receiver: TraceReceiver, what: str, choose: Callable[[ReceivedSpan], bool]) -> Any:
    def first() -> ReceivedSpan | None:
        calls = (each for each in receiver.spans if "tools/call" in each.span.name)
        return next(filter(choose, calls), None)

    return wait_for(first, 60, what)


def ours_of(receiver: TraceReceiver, server: str, version: str) -> ReceivedSpan:
    told = {"mcp_exporter.server": server, "mcp.protocol.version": version}.items()
    is_ours = lambda each: told <= each.attributes.items() and each.span.kind == SERVED  # noqa: E731
    span: ReceivedSpan = found(receiver, f"the exporter's span of {server} at {version}", is_ours)
    return span


def check_chain(
    receiver: TraceReceiver, server: str, version: str, transport: str = "tcp", tool: str = "act"
) -> ReceivedSpan:
    """The server's span is below ours where it is told of it, else beside it; return ours."""
    ours = ours_of(receiver, server, version)
    trace = [each for each in receiver.spans if each.trace_id == ours.trace_id]
    asked = [each for each in trace if each.parent_id == ours.span_id]
    is_joined = server == "joined"
    assert [each.span.kind for each in asked if each.service == "mcp-exporter"] == (
        [ASKED] if is_joined else []
    )
    parent = asked[0].span_id if is_joined else ours.parent_id
    servers = found(
        receiver, "the server's", lambda each: each.service == "server" and each.parent_id == parent
    )
    assert servers.trace_id == ours.trace_id
    assert ours.span.name == f"tools/call {tool}"
    told = ours.attributes
    assert told["mcp_exporter.outcome"] == "ok"
    assert told["gen_ai.tool.name"] == tool
    assert told["network.transport"] == transport
    has_session = version == ERAS["legacy"] or transport == "pipe"
    assert ("mcp_exporter.session" in told) is has_session
    # The clock is the same for all; a wrapped server's traffic is read from a copy, later.
    assert all(ours.begins_before(each) for each in (*asked, servers))
    assert servers.span.end_time_unix_nano <= ours.span.end_time_unix_nano + CLOCK_ERROR
    return ours


def check_client(receiver: TraceReceiver, ours: ReceivedSpan) -> None:
    theirs = found(receiver, "the client's", lambda each: each.span_id == ours.parent_id)
    assert (theirs.service, theirs.trace_id) == ("client", ours.trace_id)
    assert theirs.attributes["jsonrpc.request.id"] == ours.attributes["jsonrpc.request.id"]
    assert theirs.begins_before(ours)
    assert b"canary" not in b"".join(receiver.bodies_of("mcp-exporter"))


def check_all(receiver: TraceReceiver, running: Exporter) -> None:
    """Each era's client calls the server that is observed, and the one that is joined."""
    words = [(mode, running.url(server)) for server in PLACES for mode in ERAS]
    client(receiver, "client", *(word for pair in words for word in pair))
    for server in PLACES:
        for version in ERAS.values():
            check_client(receiver, check_chain(receiver, server, version))
    scrape = running.scrape()
    assert scrape.total("mcp_exporter_trace_joins_total") == scrape.total(
        "mcp_exporter_trace_joins_total", result="joined"
    )


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def check_strangers_call(receiver: TraceReceiver) -> None:
    """The one call with the context ``TRACE``: our two spans, and the server's below them."""

    def spans() -> list[ReceivedSpan]:
        return [each for each in receiver.spans if each.trace_id == TRACE[3:35]]

    wait_for(lambda: len(spans()) == 3, 60, "the spans of its trace")
    by_id = {each.span_id: each for each in spans()}
    (servers_own,) = (each for each in spans() if each.service == "server")
    asked = by_id[servers_own.parent_id]
    served = by_id[asked.parent_id]
    assert (asked.span.kind, served.span.kind) == (ASKED, SERVED)
    assert served.parent_id == TRACE[36:52]


def test_over_http_they_are_one_trace(receiver: TraceReceiver, tmp_path: Path) -> None:
    with http_server(receiver, "streamable-http") as url:
        servers = {name: {"url": url, **more} for name, more in PLACES.items()}
        with exporter(tmp_path, servers, **tracing(receiver)) as running:
            check_all(receiver, running)


def test_over_stdio_they_are_one_trace(receiver: TraceReceiver, tmp_path: Path) -> None:
    servers = {
        name: {**stdio_server(receiver, "server", "stdio"), **more} for name, more in PLACES.items()
    }
    with exporter(tmp_path, servers, **tracing(receiver)) as running:
        for server in PLACES:
            list_tools(running, server)  # the shared process knows what comes next by other ids
        check_all(receiver, running)
        # A client whose HTTP library makes traces, and which says nothing in the message.
        assert post(running, "joined", {"traceparent": TRACE}, word="x").status_code == 200
        check_strangers_call(receiver)


def test_over_sse_they_are_one_trace(receiver: TraceReceiver, tmp_path: Path) -> None:
    with http_server(receiver, "sse") as url:
        servers = {name: {"url": url, "type": "sse", **more} for name, more in PLACES.items()}
        with exporter(tmp_path, servers, **tracing(receiver)) as running:
            client(receiver, *("client", "sse", running.url("observed")))
            client(receiver, *("client", "sse", running.url("joined")))
            for server in PLACES:
                check_client(receiver, check_chain(receiver, server, ERAS["legacy"]))


def test_a_client_and_a_server_that_nobody_here_wrote_are_joined(
    receiver: TraceReceiver, tmp_path: Path, npm: Foreign
) -> None:
    server = {**stdio_server(receiver, "foreign"), "propagate": True}
    call = ["--method", "tools/call", "--tool-name", "get_current_time", "--tool-arg=timezone=UTC"]
    with exporter(tmp_path, {"time": server}, **tracing(receiver)) as running:
        list_tools(running, "time")  # a server that starts slowly seems to be of the older era
        subprocess.run(
            [
                *npm.inspector,
                "--cli",
                running.url("time"),
                "--protocol-era=modern",
                *call,
                *("--tool-metadata", f"traceparent={TRACE}"),
            ],
            env={**os.environ, "HOME": str(tmp_path), "PATH": npm.path},
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=240,
        )
        check_strangers_call(receiver)


@pytest.mark.parametrize("mode", ERAS)
def test_a_wrapped_server_s_calls_are_in_the_trace(
    receiver: TraceReceiver, tmp_path: Path, mode: str
) -> None:
    socket = str(tmp_path / "wrap.sock")
    flags = ("--wrap.socket", socket)
    with exporter(tmp_path, {"other": scripted_stdio()}, *flags, **tracing(receiver)):
        wrap = [sys.executable, "-m", "exporter", "wrap", "--wrap.socket", socket, "desk", "--"]
        client(receiver, "wrapped", mode, *wrap, *PEER, "server", "stdio")
        check_client(receiver, check_chain(receiver, "desk", ERAS[mode], "pipe"))


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "canary-client", "version": "1"},
}


def list_tools(running: Exporter, server: str) -> None:
    listing = request(9, "tools/list", _meta=META)
    assert ask(running.url(server), listing, modern("tools/list")).status == 200


def post(
    running: Exporter, server: str, more: Mapping[str, str], **arguments: Any
) -> requests.Response:
    headers = {
        **more,
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
        return session.post(running.url(server), json=body, headers=headers, timeout=60)


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
    endpoint = f"{receiver.url}/canary-path-0123456789?key=canary-query"
    os.environ["CANARY"] = "canary-collector-token"
    try:
        with exporter(
            tmp_path,
            {"files": scripted_stdio()},
            *("--log.level", "debug"),
            **tracing(receiver, headers=headers, endpoint=endpoint),
        ) as running:
            post(running, "files", {}, text="canary-argument")
            url = running.url("files")
            session = open_session(url)
            read = {"uri": "file:///canary-uri"}
            ask(url, request(2, "resources/read", **read), legacy(session))
            settled(running, 3)
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
        assert session not in text


def test_probes_notifications_and_what_is_rejected_leave_none(
    receiver: TraceReceiver, tmp_path: Path
) -> None:
    server = {**scripted_stdio(), "probe": {"enabled": True, "interval": "1s", "timeout": "900ms"}}
    with exporter(tmp_path, {"files": server}, **tracing(receiver)) as running:
        probed = {"server": "files", "result": "success"}
        wait_for(
            lambda: running.scrape().total("mcp_probes_total", **probed) > 1, 60, "it is probed"
        )
        url = running.url("files")
        own = legacy(open_session(url))
        notice = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        assert ask(url, notice, own).status == 202
        assert ask(url, request(2, "ping"), own).status == 200
        assert ask(url, request(3, "tools/list"), {"Origin": "http://elsewhere"}).status == 403
        assert ask(url, b"{not JSON", own).status == 400
        settled(running, 1)
    (span,) = receiver.of("mcp-exporter")
    assert span.span.name == "initialize"


def test_a_reload_begins_changes_and_ends_them(receiver: TraceReceiver, tmp_path: Path) -> None:
    config = tmp_path / "exporter.json"
    steps: list[tuple[dict[str, Any], int]] = [
        (tracing(receiver), 1),
        (tracing(receiver, propagate=True), 3),
        (tracing(receiver, sample=0), 3),
        ({}, 3),
        (tracing(receiver, resource={"service.name": "other"}), 4),
    ]
    with exporter(tmp_path, {"files": scripted_stdio()}) as running:
        untraced = json.loads(config.read_text())
        assert post(running, "files", {}).status_code == 200
        for settings, count in steps:
            config.write_text(json.dumps({**untraced, **settings}))
            assert requests.post(f"{running.web}/-/reload", timeout=60).ok
            assert post(running, "files", {}).status_code == 200
            settled(running, count)
        assert len(running.says("child started")) == 1, "the server notices nothing"
    assert [len(receiver.of(service)) for service in ("mcp-exporter", "other")] == [3, 1]


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
            assert post(running, "files", {}).status_code == 200
        settled(running, 100)
        assert post(running, "files", {}).status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < 15  # the two seconds of the last spans among them
    assert "spans cannot be sent" in running.log.read_text()


EXEMPLAR = re.compile(r'# \{span_id="([0-9a-f]{16})",trace_id="([0-9a-f]{32})"\} (\S+)')


def test_an_exemplar_s_span_is_at_the_collector_and_lasted_as_long(
    receiver: TraceReceiver, tmp_path: Path
) -> None:
    unsampled = TRACE.replace("4bf9", "0000")[:-1] + "0"
    with exporter(tmp_path, {"files": scripted_stdio()}, **tracing(receiver)) as running:
        for headers in ({"traceparent": TRACE}, {"traceparent": unsampled}, {}):
            assert post(running, "files", headers).status_code == 200
        settled(running, 2)
        page = requests.get(
            f"{running.web}/metrics",
            headers={"Accept": "application/openmetrics-text; version=1.0.0"},
            timeout=60,
        ).text
    exemplars = EXEMPLAR.findall(page)
    lasted = {
        (each.span_id, each.trace_id): each.span.end_time_unix_nano - each.span.start_time_unix_nano
        for each in receiver.of("mcp-exporter")
    }
    assert {(span_id, trace_id) for span_id, trace_id, _ in exemplars} == lasted.keys()
    assert TRACE[3:35] in {trace_id for _, trace_id in lasted}
    for span_id, trace_id, seconds in exemplars:
        assert float(seconds) == pytest.approx(lasted[span_id, trace_id] / 1e9, abs=1e-6)
    assert unsampled[3:35] not in page

"""Every rejection of the exporter, seen from outside: status, JSON-RPC error, and counter."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from exporter.protocol.label_values import REJECTIONS
from tests.support import raw_client, raw_server
from tests.support.exporting import Exporter, Scrape, exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.raw_client import PATIENCE, legacy, modern, modern_call, request
from tests.support.raw_server import Received
from tests.support.running import wait_for

TOKEN = "tok-6bb19a4f0c2d4e0e9d7f"
PASSWORD = "correct-horse"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(11)).decode()
BIG = 64 * 1024 * 1024
LIMITS = {
    "request_bytes": "1KiB",
    "header_bytes": "2KiB",
    "read_timeout": "1s",
    "requests_per_server": 3,
    "requests_total": 4,
    "streams_per_server": 2,
    "streams_total": 3,
    "sessions_per_server": 3,
    "children_per_server": 2,
    "connections": 12,
}
INVALID, NOT_JSON, BUSY, MISMATCH = -32600, -32700, -32000, -32020


@dataclass(frozen=True)
class Answer:
    """A whole reply."""

    status: int
    body: bytes

    @property
    def error(self) -> Any:
        return json.loads(self.body)["error"]


@dataclass
class Setup:
    """An exporter, and the connections that a rejection needs."""

    exporter: Exporter
    opened: ExitStack = field(default_factory=ExitStack)
    sessions: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def say(self, data: bytes) -> socket.socket:
        """Open a connection that stays, and say this on it."""
        connection = self.opened.enter_context(raw_client.dial(self.exporter.host))
        connection.sendall(data)
        return connection

    def ask(self, path: str, body: object = None, method: str = "POST", **headers: str) -> Answer:
        """Send a request and read the whole reply."""
        return answer(self.start(path, body, method, **headers))

    def start(
        self, path: str, body: object = None, method: str = "POST", **headers: str
    ) -> socket.socket:
        """Send a request, whose reply nobody waits for."""
        data = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        fields = {"Host": "localhost", "Authorization": f"Bearer {TOKEN}", **headers}
        lines = [f"{method} {path} HTTP/1.1", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in fields.items() if value]
        return self.say("\r\n".join([*lines, "", ""]).encode() + data)

    def session(self, server: str = "child") -> dict[str, str]:
        """Begin a session; the headers of its requests."""
        connection = self.start(f"/{server}/mcp", raw_client.initialize(), **raw_client.ACCEPTED)
        reply = http.client.HTTPResponse(connection)
        reply.begin()
        reply.read()
        assert reply.status == 200
        headers = legacy(reply.headers["Mcp-Session-Id"])
        self.sessions.append((server, headers))
        return headers

    def close(self) -> None:
        """Give everything back."""
        self.opened.close()
        with self.opened:
            for server, headers in self.sessions:
                assert self.ask(f"/{server}/mcp", None, "DELETE", **headers).status == 200

    def wait_in_flight(self, server: str, count: int) -> None:
        """Wait until so many of the server's requests have arrived, and have no reply."""

        def look() -> bool:
            return scrape(self.exporter).total("mcp_requests_in_flight", server=server) == count

        wait_for(look, PATIENCE, f"{count} requests are in flight")

    def counted(self) -> dict[str, float]:
        return scrape(self.exporter).by("reason", "mcp_exporter_rejected_requests_total")


def answer(connection: socket.socket) -> Answer:
    reply = http.client.HTTPResponse(connection)
    reply.begin()
    return Answer(reply.status, reply.read())


def basic(password: str) -> dict[str, str]:
    login = base64.b64encode(f"prometheus:{password}".encode()).decode()
    return {"Authorization": f"Basic {login}"}


def scrape(running: Exporter) -> Scrape:
    login = base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()
    reply = raw_client.ask(
        f"{running.web}/metrics", None, {"Authorization": f"Basic {login}"}, "GET"
    )
    assert reply.status == 200, reply
    return Scrape(reply.body.decode())


# What is refused


def ping(number: object = 1) -> raw_client.Json:
    return request(number, "ping")


def waiting(number: object) -> raw_client.Json:
    """A call that is never answered."""
    return raw_client.call(number, "wait")


def listening(number: object) -> raw_client.Json:
    return request(number, "subscriptions/listen", _meta=raw_client.envelope())


def hold(setup: Setup, count: int, server: str, body: Callable[[object], raw_client.Json]) -> None:
    """So many requests that get no reply."""
    for number in range(count):
        # Its head comes once the server has it.
        http.client.HTTPResponse(setup.start(f"/{server}/mcp", body(f"held-{number}"))).begin()


def in_full_server(setup: Setup) -> Answer:
    hold(setup, 3, "silent", waiting)
    return setup.ask("/silent/mcp", ping())


def in_full_exporter(setup: Setup) -> Answer:
    hold(setup, 3, "silent", waiting)
    hold(setup, 1, "other", waiting)
    return setup.ask("/other/mcp", ping())


def streams_of_full_server(setup: Setup) -> Answer:
    hold(setup, 2, "silent", listening)
    return setup.ask("/silent/mcp", listening(1))


def streams_of_full_exporter(setup: Setup) -> Answer:
    hold(setup, 2, "silent", listening)
    hold(setup, 1, "other", listening)
    return setup.ask("/other/mcp", None, "GET")


def one_child_too_many(setup: Setup) -> Answer:
    for _ in range(2):  # an idle one would be ended for the new one
        setup.start("/child/mcp", waiting(1), **setup.session())
    setup.wait_in_flight("child", 2)
    return setup.ask("/child/mcp", raw_client.initialize(1))


def one_session_too_many(setup: Setup) -> Answer:
    for _ in range(3):
        setup.session("sessions")
    return setup.ask("/sessions/mcp", raw_client.initialize(1))


def one_connection_too_many(setup: Setup) -> Answer:
    for _ in range(12):  # connections are accepted in their order
        setup.say(b"")
    return answer(setup.say(b""))


def an_id_in_use(setup: Setup) -> Answer:
    headers = setup.session()
    setup.start("/child/mcp", waiting(1), **headers)
    setup.wait_in_flight("child", 1)
    return setup.ask("/child/mcp", ping(1), **headers)


def a_second_stream(setup: Setup) -> Answer:
    headers = setup.session()
    http.client.HTTPResponse(setup.start("/child/mcp", None, "GET", **headers)).begin()
    return setup.ask("/child/mcp", None, "GET", **headers)


def a_slow_request(setup: Setup) -> Answer:
    head = b"POST /child/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
    return answer(setup.say(head + b"12"))


def another_name_than_in_the_body(setup: Setup) -> Answer:
    headers = modern("tools/call", "another")
    return setup.ask("/child/mcp", modern_call(1, "ok"), **headers)


@dataclass(frozen=True)
class Row:
    """What is refused, why, and what the client is told."""

    reason: str
    status: int
    code: int
    act: Callable[[Setup], Answer]
    identity: object = None


ROWS = {
    "a page of another site": Row(
        "bad_origin",
        403,
        INVALID,
        lambda s: s.ask("/child/mcp", ping(), Origin="http://evil.example"),
    ),
    "another name for this machine": Row(
        "bad_origin", 403, INVALID, lambda s: s.ask("/child/mcp", ping(), Host="evil.example")
    ),
    "no token": Row(
        "unauthorized", 401, INVALID, lambda s: s.ask("/child/mcp", ping(), Authorization="")
    ),
    "a wrong token": Row(
        "unauthorized",
        401,
        INVALID,
        lambda s: s.ask("/child/mcp", ping(), Authorization=f"Bearer {TOKEN}x"),
    ),
    "an unknown server": Row(
        "unknown_server", 404, INVALID, lambda s: s.ask("/nobody/mcp", ping())
    ),
    "an unknown path": Row("unknown_path", 404, INVALID, lambda s: s.ask("/child", ping())),
    "a look for what there may be": Row(
        "discovery",
        404,
        INVALID,
        lambda s: s.ask("/.well-known/oauth-authorization-server", None, "GET"),
    ),
    "an unknown method": Row(
        "bad_method", 405, INVALID, lambda s: s.ask("/child/mcp", None, "PUT")
    ),
    "GET at 2026-07-28": Row(
        "bad_method", 405, INVALID, lambda s: s.ask("/child/mcp", None, "GET", **modern("ping"))
    ),
    "what is no JSON": Row("not_json", 400, NOT_JSON, lambda s: s.ask("/child/mcp", b"{")),
    "what is no JSON-RPC": Row("not_jsonrpc", 400, INVALID, lambda s: s.ask("/child/mcp", b"[]")),
    "what is no HTTP": Row(
        "bad_request", 400, INVALID, lambda s: answer(s.say(b"GET /child/mcp HTTP/one\r\n\r\n"))
    ),
    "a request without its session": Row(
        "bad_request", 400, INVALID, lambda s: s.ask("/child/mcp", ping()), 1
    ),
    "a request of an unknown session": Row(
        "unknown_session", 404, INVALID, lambda s: s.ask("/child/mcp", ping(), **legacy("x")), 1
    ),
    "a message for an unknown stream": Row(
        "unknown_session", 404, INVALID, lambda s: s.ask("/old/message/" + "0" * 32, ping())
    ),
    "a body that is too large": Row(
        "body_too_large", 413, INVALID, lambda s: s.ask("/child/mcp", b"x" * 2000)
    ),
    "a head that is too large": Row(
        "head_too_large", 431, INVALID, lambda s: s.ask("/child/mcp", ping(), X="x" * 3000)
    ),
    "a request that does not arrive": Row("read_timeout", 408, INVALID, a_slow_request),
    "a head that says something else than the body": Row(
        "bad_envelope", 400, MISMATCH, another_name_than_in_the_body, 1
    ),
    "an id that waits for its reply": Row("id_in_use", 400, INVALID, an_id_in_use, 1),
    "a second stream of a session": Row("stream_in_use", 409, INVALID, a_second_stream),
    "requests of a server": Row("too_many_requests", 503, BUSY, in_full_server, 1),
    "requests of all servers": Row("too_many_requests", 503, BUSY, in_full_exporter, 1),
    "streams of a server": Row("too_many_streams", 503, BUSY, streams_of_full_server, 1),
    "streams of all servers": Row("too_many_streams", 503, BUSY, streams_of_full_exporter),
    "children of a server": Row("too_many_children", 503, BUSY, one_child_too_many, 1),
    "sessions of a server": Row("too_many_sessions", 503, BUSY, one_session_too_many, 1),
    "connections": Row("too_many_connections", 503, BUSY, one_connection_too_many),
}


def script(received: Received) -> Iterator[bytes]:
    """A server that gives sessions, is silent where it is told to wait, and can say very much."""
    if received.method == b"DELETE":
        yield from raw_server.whole(200, b"")
        return
    message = json.loads(received.body) if received.body else {}
    if message.get("method") in ("tools/call", "subscriptions/listen") or not message:
        yield raw_server.head(200, "Content-Type: text/event-stream", "Content-Length: 1000000")
        time.sleep(PATIENCE)  # its client is gone long before, and the thread is a daemon
        yield raw_server.HANG_UP
        return
    if message["method"] == "resources/read":
        yield raw_server.head(200, "Content-Type: application/json", f"Content-Length: {BIG}")
        for _ in range(BIG // 65536):
            yield b" " * 65536
        return
    body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": {}}).encode()
    session = f"Mcp-Session-Id: {time.monotonic_ns()}"
    yield from raw_server.whole(200, body, "Content-Type: application/json", session)


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    with raw_server.serving(script) as running:
        yield running.url


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[Exporter]:
    """An exporter with low limits, and tokens."""
    folder = tmp_path_factory.mktemp("narrow")
    tokens = folder / "tokens.yml"
    tokens.write_text(f"test: {TOKEN}\n")
    http_server = {"url": upstream}
    servers = {
        "child": scripted_stdio(),
        "silent": http_server,
        "other": http_server,
        "sessions": http_server,
        "old": {"url": upstream, "type": "sse"},
    }
    with exporter(folder, servers, f"--mcp.token-file={tokens}", limits=LIMITS) as running:
        yield running


@pytest.fixture
def setup(narrow: Exporter) -> Iterator[Setup]:
    setup = Setup(narrow)
    yield setup
    setup.close()
    # What one test held must be free for the next.
    wait_for(lambda: is_at_rest(setup), 60, "everything that was held is free again")


def is_at_rest(setup: Setup) -> bool:
    with setup.opened:
        probe = setup.ask("/silent/mcp", ping(), **raw_client.ACCEPTED)
    found = scrape(setup.exporter)
    left = found.total("mcp_requests_in_flight") + found.total("mcp_server_processes")
    return probe.status == 200 and left == 0


@pytest.mark.parametrize("name", ROWS)
def test_a_rejection_has_a_status_an_error_and_a_counter(setup: Setup, name: str) -> None:
    row = ROWS[name]
    before = setup.counted().get(row.reason, 0)
    reply = row.act(setup)
    assert reply.status == row.status, reply
    assert reply.error["code"] == row.code
    assert reply.error["message"].startswith("mcp-exporter: ")
    assert json.loads(reply.body)["id"] == row.identity
    setup.opened.close()
    assert setup.counted()[row.reason] == before + 1


# What takes larger limits


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, upstream: str) -> Iterator[Exporter]:
    """An exporter whose pages want a password."""
    folder = tmp_path_factory.mktemp("wide")
    write_web_config(folder)
    servers = {"child": scripted_stdio(), "large": {"url": upstream}}
    flags = f"--web.config.file={folder / 'web.yml'}"
    limits = {"write_timeout": "1s"}
    with exporter(folder, servers, flags, limits=limits) as running:
        yield running


def write_web_config(folder: Path, more: str = "") -> None:
    (folder / "web.yml").write_text(f"basic_auth_users: {{prometheus: '{HASH}'}}\n{more}")


def test_a_server_that_does_not_read_is_not_waited_for(wide: Exporter) -> None:
    setup = Setup(wide)
    with setup.opened:
        headers = setup.session()
        last_read = raw_client.call("last", "stubborn")
        assert setup.ask("/child/mcp", last_read, **headers).status == 200
        for number in range(5):
            large = raw_client.call(number, "ok", text="x" * 4_000_000)
            setup.start("/child/mcp", large, **headers)
        setup.wait_in_flight("child", 5)
        reply = setup.ask("/child/mcp", ping("late"), **headers)
    assert (reply.status, reply.error["code"]) == (503, BUSY)
    assert json.loads(reply.body)["id"] == "late"
    assert setup.counted()["server_not_reading"] == 1


def test_a_client_that_does_not_read_is_cut_off(wide: Exporter) -> None:
    setup = Setup(wide)
    with setup.opened:
        connection = setup.start("/large/mcp", request(1, "resources/read"))
        wait_for(lambda: setup.counted().get("write_timeout"), 60, "the connection was cut")
        assert received(connection) < BIG
    found = scrape(wide)
    assert found.outcomes("large") == {"client_gone": 1}


def test_a_client_that_sends_too_far_ahead_is_cut_off(wide: Exporter) -> None:
    setup = Setup(wide)
    with setup.opened:
        connection = setup.start("/child/mcp", waiting(1), **setup.session())
        with contextlib.suppress(ConnectionError):
            head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
            connection.sendall(head + b"x" * 200_000)
        wait_for(lambda: setup.counted().get("pipeline_too_large"), 60, "the connection was cut")
        assert received(connection) == 0


def received(connection: socket.socket) -> int:
    """How many bytes still come."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while data := connection.recv(1 << 20):
            count += len(data)
    return count


def page(wide: Exporter, password: str | None) -> int:
    headers = basic(password) if password else {}
    return raw_client.ask(f"{wide.web}/-/healthy", None, headers, "GET").status


def test_pages_want_a_password(wide: Exporter) -> None:
    setup = Setup(wide)
    before = setup.counted().get("web_unauthorized", 0)
    assert [page(wide, None), page(wide, "wrong"), page(wide, PASSWORD)] == [401, 401, 200]
    assert setup.counted()["web_unauthorized"] == before + 2


def test_what_another_site_embeds_gets_no_page(wide: Exporter) -> None:
    setup = Setup(wide)
    before = setup.counted().get("web_bad_origin", 0)
    headers = {**basic(PASSWORD), "Sec-Fetch-Site": "cross-site"}
    assert raw_client.ask(f"{wide.web}/-/healthy", None, headers, "GET").status == 403
    assert setup.counted()["web_bad_origin"] == before + 1


def test_passwords_that_wait_to_be_checked_are_bounded(wide: Exporter) -> None:
    setup = Setup(wide)
    setup.counted()
    with ThreadPoolExecutor(60) as pool:
        statuses = list(pool.map(lambda number: page(wide, f"wrong {number}"), range(60)))
    refused = statuses.count(503)
    assert refused > 0
    assert statuses.count(401) == 60 - refused
    assert setup.counted()["web_busy"] == refused


def test_pages_can_be_rated(wide: Exporter) -> None:
    folder = wide.log.parent
    write_web_config(folder, "rate_limit: {interval: 1h, burst: 3}\n")
    assert raw_client.ask(f"{wide.web}/-/reload", None, basic(PASSWORD)).status == 200
    statuses = [page(wide, PASSWORD) for _ in range(5)]
    assert statuses == [200] * 3 + [429] * 2
    write_web_config(folder)
    os.kill(wide.pid, signal.SIGHUP)

    def is_served() -> bool:
        statuses.append(page(wide, PASSWORD))
        return statuses[-1] == 200

    wait_for(is_served, PATIENCE, "the limit is lifted")
    assert Setup(wide).counted()["web_rate_limited"] == statuses.count(429)


CUT = {"write_timeout", "pipeline_too_large"}


def test_every_reason_is_shown_here() -> None:
    web = {"web_unauthorized", "web_busy", "web_rate_limited", "web_bad_origin"}
    elsewhere = {"server_not_reading"} | CUT | web
    assert {row.reason for row in ROWS.values()} | elsewhere == set(REJECTIONS)


def test_the_documented_limits_say_the_same() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    table = page.partition("| limit | HTTP status | reason |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| .+ \| (?:(\d+)|the connection is cut).* \| `(\w+)` \|$", table, re.M)
    assert len(rows) == len(table.strip().splitlines()) - 1
    shown = {(str(row.status), row.reason) for row in ROWS.values()} | {("", cut) for cut in CUT}
    assert set(rows) <= shown

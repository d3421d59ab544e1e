"""Every outcome of the closed set, as a client brings it about and as Prometheus sees it."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from exporter.protocol.label_values import Outcome
from tests.support import raw_server
from tests.support.exporting import Exporter, Scrape, exporter, scripted_stdio
from tests.support.raw_client import (
    ACCEPTED,
    PATIENCE,
    Json,
    Reply,
    ask,
    call,
    envelope,
    initialize,
    legacy,
    modern,
    modern_call,
    open_reply,
    request,
)
from tests.support.raw_server import HANG_UP, Received, head, whole
from tests.support.running import free_address, wait_for

ERAS = ("legacy", "modern")
HASTY = "4s"
"""The timeout of the server that is asked what it will not answer: a child needs time to start."""

JSON = "Content-Type: application/json"
EVENTS = "Content-Type: text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"
BODY_LIMIT = 64 * 1024


# An HTTP server that does what each call says


class Upstream:
    """The replies of a server; some are never complete."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._sessions = itertools.count(1)

    def release(self) -> None:
        """End the streams that are open."""
        self._over.set()

    def __call__(self, received: Received) -> Iterable[bytes]:
        if received.method == b"GET":
            return self._resume(received)
        message = json.loads(received.body)
        if "id" not in message or "method" not in message:
            return whole(202, b"")
        how = message.get("params", {}).get("arguments", {}).get("how", message["method"])
        reply = REPLIES.get(how)
        if reply is not None:
            return reply(message["id"])
        if how in ("wait", "resumable"):
            return self._stream(b"id: 1\ndata:\n\n" if how == "resumable" else b": wait\n\n")
        fields = [f"Mcp-Session-Id: {next(self._sessions)}"] if how == "initialize" else []
        return _reply(message["id"], *fields, result=GREETINGS.get(how, {}))

    def _stream(self, first: bytes) -> Iterator[bytes]:
        yield head(200, EVENTS, "Connection: close") + first
        if first.startswith(b":"):
            self._over.wait(PATIENCE)
        yield HANG_UP

    def _resume(self, received: Received) -> Iterator[bytes]:
        number = received.values(b"last-event-id")[0]
        result = {"jsonrpc": "2.0", "id": int(number), "result": {}}
        yield head(200, EVENTS, "Connection: close")
        yield b"data: " + json.dumps(result).encode() + b"\n\n"
        yield HANG_UP


def _reply(request_id: object, *fields: str, status: int = 200, **members: Any) -> list[bytes]:
    document = {"jsonrpc": "2.0", "id": request_id, **members}
    return whole(status, json.dumps(document).encode(), JSON, *fields)


TOOLS = {"tools": [{"name": "act", "inputSchema": {"type": "object"}}]}
GREETINGS: Json = {"initialize": {"protocolVersion": "2025-11-25"}, "tools/list": TOOLS}
FAULT = {"code": -32603, "message": "inside"}
PAGE = whole(500, b"<html>", "Content-Type: text/html")
REPLIES: dict[str, Callable[[Any], list[bytes]]] = {
    "fail": lambda number: _reply(number, result={"isError": True, "content": []}),
    "fault": lambda number: _reply(number, error=FAULT),
    "fault with a status": lambda number: _reply(number, status=400, error=FAULT),
    "ask": lambda number: _reply(number, result={"resultType": "input_required"}),
    "task": lambda number: _reply(number, result={"task": {"taskId": "1"}}),
    "die": lambda _: [HANG_UP],
    "die midway": lambda _: [head(200, EVENTS, CHUNKED) + b"9\r\n: hello\n\n\r\n", HANG_UP],
    "cut": lambda _: [head(200, EVENTS, CHUNKED) + b"6\r\ndata: \r\n", HANG_UP],
    "end early": lambda _: whole(200, b": no reply\n\n", EVENTS),
    "babble": lambda _: whole(200, b"{not JSON", JSON),
    "page": lambda _: PAGE,
    "not found": lambda _: whole(404, b"", "Content-Type: text/html"),
    "no HTTP": lambda _: [b"SSH-2.0-OpenSSH_9\r\n", HANG_UP],
    "refuse": lambda _: whole(401, b"", 'WWW-Authenticate: Bearer realm="x"'),
    "forbid": lambda number: _reply(number, status=403, error=FAULT),
}


# The client, which counts what it asks


class Client:
    """Sends requests to one exporter and counts them; so every count can be compared."""

    def __init__(self, running: Exporter) -> None:
        self.exporter = running
        self.asked = 0
        self.greeted = 0
        """Of these, the ones that began a session; they succeed."""
        self._numbers = itertools.count(1)
        self._sessions: dict[str, str] = {}

    def begin(self, server: str) -> str:
        """The session with a server, which knows its tools."""
        if server not in self._sessions:
            reply = self.ask(server, initialize(), ACCEPTED)
            session = self._sessions[server] = reply.values("Mcp-Session-Id")[0]
            self.ask(server, self.request("tools/list"), legacy(session))
            self.greeted += 2
        return self._sessions[server]

    def ask(self, server: str, message: Json, headers: dict[str, str]) -> Reply:
        """Send one message and read the reply."""
        self.count(message)
        return ask(self.exporter.url(server), message, headers)

    def call(self, server: str, era: str, how: str) -> Reply:
        """Call the tool."""
        message, headers = self.prepare(server, era, how)
        return self.ask(server, message, headers)

    @contextmanager
    def calling(self, server: str, era: str) -> Iterator[Json]:
        """A call that has arrived and waits for its reply; it is left with the block."""
        how = "wait" if server == "remote" else "progress"
        message, headers = self.prepare(server, era, how)
        self.count(message)
        with open_reply(self.exporter.url(server), message, headers) as reply:
            assert (reply.status, bool(reply.readline())) == (200, True)
            yield message

    def prepare(self, server: str, era: str, how: str) -> tuple[Json, dict[str, str]]:
        """A call and its headers."""
        message = call(next(self._numbers), how)
        token = {"progressToken": message["id"]}
        if era == "legacy":
            message["params"]["_meta"] = token
            return message, legacy(self.begin(server))
        message["params"]["_meta"] = envelope(**token)
        return message, modern("tools/call", "act")

    def request(self, method: str) -> Json:
        """Any request of a session."""
        return request(next(self._numbers), method)

    def count(self, message: Json) -> None:
        """A message is about to be sent."""
        self.asked += "id" in message and "method" in message


Way = Callable[[Client, str, str], Counter[str]]


def simply(how: str, outcome: Outcome) -> Way:
    """A call with a reply."""

    def way(client: Client, server: str, era: str) -> Counter[str]:
        client.call(server, era, how)
        return Counter({outcome: 1})

    return way


def too_late(client: Client, server: str, era: str) -> Counter[str]:
    reply = client.call(f"hasty {server}", era, "wait")
    assert reply.document["error"]["code"] == -32001
    return Counter({Outcome.TIMEOUT: 1})


def to_nobody(client: Client, server: str, era: str) -> Counter[str]:
    message, headers = client.request("ping"), legacy()
    if era == "modern":
        message["params"]["_meta"] = envelope()
        headers = modern("ping")
    elif server == "children":
        message, headers = initialize(), ACCEPTED
    reply = client.ask(f"no {server}", message, headers)
    assert reply.status in (502, 503)  # the latter where a child has failed before
    assert reply.document["error"]["code"] == -32000
    assert reply.document["id"] == message["id"]
    return Counter({Outcome.UPSTREAM_ERROR: 1})


def taken_back(client: Client, server: str, era: str) -> Counter[str]:
    with client.calling(server, era) as message:
        if era == "legacy":
            params = {"requestId": message["id"], "reason": "changed my mind"}
            notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
            assert client.ask(server, notice, legacy(client.begin(server))).status == 202
    return Counter({Outcome.CANCELLED: 1})


def abandoned(client: Client, server: str, era: str) -> Counter[str]:
    with client.calling(server, era):
        pass
    return Counter({Outcome.CLIENT_GONE if era == "legacy" else Outcome.CANCELLED: 1})


def fetched_later(client: Client, server: str, era: str) -> Counter[str]:
    """The server hangs up before it replies, as 2025-11-25 allows, and the client comes back."""
    message, headers = client.prepare(server, era, "resumable")
    assert b"result" not in client.ask(server, message, headers).body
    url = client.exporter.url(server)
    reply = ask(url, None, {**headers, "Last-Event-ID": str(message["id"])}, "GET")
    assert reply.document["id"] == message["id"]
    return Counter({Outcome.OK: 1})


def refused(client: Client, server: str, era: str) -> Counter[str]:
    """Requests that no server may see; each is counted where it belongs."""
    url = client.exporter.url(server)
    ping = client.request("ping")
    headers = legacy() if era == "legacy" else modern("ping")
    expected = [
        (ask(url, ping, {**headers, "Origin": "http://evil.example"}), 403),
        (ask(url, ping, {**headers, "Host": "evil.example"}), 403),
        (ask(url, b"{not JSON", headers), 400),
        (ask(url, b"[]", headers), 400),
        (ask(url, ping, headers, "PUT"), 405),
        (ask(client.exporter.url("nowhere"), ping, headers), 404),
        (ask(url, b" " * (BODY_LIMIT + 1), headers), 413),
    ]
    assert [reply.status for reply, _ in expected] == [status for _, status in expected]
    client.asked += len(expected)
    return Counter({Outcome.REJECTED: len(expected)})


def refused_by_the_exporter_alone(client: Client, server: str, _: str) -> Counter[str]:
    """What a stdio server cannot be asked, for it would not answer as HTTP wants it."""
    url = client.exporter.url(server)
    ping = client.request("ping")
    replies = [
        (ask(url, ping, legacy()), 400),
        (ask(url, ping, legacy("no session")), 404),
        (ask(url, None, legacy("no session"), "GET"), 404),
        (ask(url, ping, modern("ping")), 400),
        (ask(url, ping, modern("another/method")), 400),
    ]
    assert [reply.status for reply, _ in replies] == [status for _, status in replies]
    client.asked += len(replies)
    return Counter({Outcome.REJECTED: len(replies)})


WAYS: dict[str, Way] = {
    "a result": simply("ok", Outcome.OK),
    "a question": simply("ask", Outcome.INPUT_REQUIRED),
    "a tool's error": simply("fail", Outcome.TOOL_ERROR),
    "a JSON-RPC error": simply("fault", Outcome.PROTOCOL_ERROR),
    "no reply in time": too_late,
    "a server that is lost": simply("die", Outcome.UPSTREAM_ERROR),
    "no server": to_nobody,
    "a cancellation": taken_back,
    "a client that leaves": abandoned,
    "a refusal": refused,
}
HTTP_WAYS: dict[str, Way] = {
    "a task": simply("task", Outcome.INPUT_REQUIRED),
    "a JSON-RPC error with a status": simply("fault with a status", Outcome.PROTOCOL_ERROR),
    "a server that is lost midway": simply("die midway", Outcome.UPSTREAM_ERROR),
    "a stream without the reply": simply("end early", Outcome.UPSTREAM_ERROR),
    "a reply that nobody can read": simply("babble", Outcome.UPSTREAM_ERROR),
    "a web page": simply("page", Outcome.UPSTREAM_ERROR),
    "a path that is not there": simply("not found", Outcome.UPSTREAM_ERROR),
    "another protocol": simply("no HTTP", Outcome.UPSTREAM_ERROR),
    "a server that is lost within an event": simply("cut", Outcome.UPSTREAM_ERROR),
    "a refusal of the server": simply("refuse", Outcome.UNAUTHORIZED),
    "a refusal with a body": simply("forbid", Outcome.UNAUTHORIZED),
}
STDIO_WAYS: dict[str, Way] = {"a refusal in its stead": refused_by_the_exporter_alone}
LOSS = "a server that is lost"
LEGACY_HTTP_WAYS: dict[str, Way] = {"a reply that is fetched later": fetched_later}
CASES = [
    *itertools.product(["remote", "children"], ERAS, WAYS.items()),
    *itertools.product(["remote"], ERAS, HTTP_WAYS.items()),
    *itertools.product(["remote"], ERAS[:1], LEGACY_HTTP_WAYS.items()),
    *itertools.product(["children"], ERAS[:1], STDIO_WAYS.items()),
]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    upstream = Upstream()
    with ExitStack() as stack:
        server = stack.enter_context(raw_server.serving(upstream))
        servers = {
            "remote": {"url": server.url},
            "hasty remote": {"url": server.url, "timeout": HASTY},
            "no remote": {"url": f"http://{free_address()}/mcp"},
            "children": scripted_stdio(),
            "hasty children": {**scripted_stdio(), "timeout": HASTY},
            "no children": {"command": "/nowhere/to/be/found"},
        }
        limits = {"request_bytes": BODY_LIMIT}
        folder = tmp_path_factory.mktemp("outcomes")
        yield stack.enter_context(exporter(folder, servers, limits=limits))
        upstream.release()


def settled(running: Exporter) -> Scrape:
    """A scrape when nothing is in flight any more."""

    def look() -> Scrape | None:
        scrape = running.scrape()
        return None if scrape.total("mcp_requests_in_flight") else scrape

    found = wait_for(look, PATIENCE, "nothing is in flight")
    assert found is not None
    return found


def by_outcome(scrape: Scrape, metric: str, **labels: str) -> Counter[str]:
    sums = scrape.by("outcome", metric, **labels).items()
    return Counter({outcome: int(number) for outcome, number in sums})


def ended_since(running: Exporter, before: Scrape, number: int) -> Counter[str]:
    """How many requests have ended in each way, once ``number`` have and none is in flight."""
    asked = by_outcome(before, "mcp_requests_total")

    def ended() -> Counter[str]:
        return by_outcome(settled(running), "mcp_requests_total") - asked

    wait_for(lambda: ended().total() >= number, PATIENCE, f"{number} requests have ended")
    return ended()


@pytest.mark.parametrize(
    ("server", "era", "way"),
    [(server, era, way) for server, era, (_, way) in CASES],
    ids=[f"{name}, {server}, {era}" for server, era, (name, _) in CASES],
)
def test_a_request_ends_once(running: Exporter, server: str, era: str, way: Way) -> None:
    before, client = settled(running), Client(running)
    expected = way(client, server, era)
    ended = ended_since(running, before, client.asked)
    assert ended == expected + Counter({Outcome.OK: client.greeted})
    assert ended.total() == client.asked


def test_all_at_once_each_request_ends_once(running: Exporter) -> None:
    before = settled(running)

    def go(case: tuple[str, str, tuple[str, Way]]) -> tuple[Counter[str], int]:
        client = Client(running)
        server, era, (_, way) = case
        return way(client, server, era) + Counter({Outcome.OK: client.greeted}), client.asked

    # The shared child is not to be lost: others wait for it.
    cases = [case for case in CASES if case[0] == "remote" or case[2][1] is not WAYS[LOSS]]
    with ThreadPoolExecutor(len(cases)) as pool:
        results = list(pool.map(go, cases))
    asked = sum(asked for _, asked in results)
    ended = ended_since(running, before, asked)
    assert ended == sum((expected for expected, _ in results), Counter[str]())
    assert ended.total() == asked


@pytest.mark.parametrize(
    ("server", "outcomes"),
    [("remote", set(Outcome)), ("children", set(Outcome) - {Outcome.UNAUTHORIZED})],
)
def test_every_outcome_is_seen_in_a_scrape(
    running: Exporter, server: str, outcomes: set[Outcome]
) -> None:
    before = settled(running)
    unauthorized = [HTTP_WAYS["a refusal of the server"]] if server == "remote" else []
    for way in (*WAYS.values(), *unauthorized):
        way(Client(running), server, "legacy")
    seen: set[str] = set()
    after = settled(running)
    for name in (server, f"hasty {server}", f"no {server}"):
        ended = by_outcome(after, "mcp_requests_total", server=name)
        ended.subtract(by_outcome(before, "mcp_requests_total", server=name))
        seen |= set(+ended)
    assert seen == set(outcomes)


@pytest.mark.parametrize("server", ["remote", "children"])
def test_what_is_said_of_requests_and_of_tools_agrees(running: Exporter, server: str) -> None:
    client = Client(running)
    for how in ("ok", "fail", "fault", "ask"):
        client.call(server, "legacy", how)
    scrape = settled(running)
    tools = {"server": server, "tool": "act"}
    calls = by_outcome(scrape, "mcp_tool_calls_total", **tools)
    assert {"ok", "tool_error", "protocol_error", "input_required"} <= set(calls)
    labels = {"server": server, "method": "tools/call"}
    assert by_outcome(scrape, "mcp_requests_total", **labels) == calls
    assert by_outcome(scrape, "mcp_tool_call_duration_seconds_count", **tools) == calls
    requests = by_outcome(scrape, "mcp_requests_total", server=server)
    requests.pop("rejected", None)
    timed = by_outcome(scrape, "mcp_request_duration_seconds_count", server=server)
    assert timed == requests


@pytest.mark.parametrize("server", ["remote", "children"])
def test_who_has_a_reply_finds_it_in_the_next_scrape(tmp_path: Path, server: str) -> None:
    late = "tests.support.late_exporter"
    with raw_server.serving(Upstream()) as upstream:
        servers = {"remote": {"url": upstream.url}, "children": scripted_stdio()}
        with exporter(tmp_path, {server: servers[server]}, module=late) as running:
            for number in range(1, 6):
                reply = ask(running.url(server), modern_call(1, "ok"), modern("tools/call", "act"))
                assert reply.status == 200
                assert running.scrape().outcomes(server) == {"ok": number}

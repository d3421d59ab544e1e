"""A probe over Streamable HTTP finds the era, keeps a session, and starts over when it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.http import HttpTarget
from exporter.probe.identity import Identity
from exporter.probe.target import Era, ProbeResult
from exporter.probe.transcript import Transcript
from tests.support.fake_server import Answer, Asked, FakeServer
from tests.support.fakes import error, on_fake_time, result, settle, virtual_loop
from tests.support.probe_fakes import refusal_of_version

TIMEOUT = 5.0
SERVER = Server(
    "files",
    "http",
    url="http://server:8000/mcp?key=abcdefg",
    headers={"Authorization": "Bearer hush-hush"},
    probe=ProbeSettings(timeout=TIMEOUT),
)
INFO = {"name": "fake", "version": "9"}
CAPABLE = {"tools": {"listChanged": True}}
DISCOVERED = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": CAPABLE,
    "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
}
INITIALIZED = {"protocolVersion": "2025-06-18", "capabilities": CAPABLE, "serverInfo": INFO}


class Legacy:
    """A server of the older era with sessions."""

    def __init__(self) -> None:
        self.last = 0
        self.live: set[str] = set()
        self.ping_error: tuple[int, int] | None = None
        self.versions: tuple[str, ...] = ()

    def __call__(self, asked: Asked) -> Answer:
        if asked.asks == "initialize":
            version = asked.message["params"]["protocolVersion"]
            if self.versions and version not in self.versions:
                return 200, refusal_of_version(asked.message["id"], *self.versions), {}
            self.last += 1
            session = f"s{self.last}"
            self.live.add(session)
            reply = result(asked.message["id"], **INITIALIZED)
            return 200, reply, {"Mcp-Session-Id": session}
        session = asked.headers.get("mcp-session-id", "")
        if asked.method == b"DELETE":
            self.live.discard(session)
            return 200, b"", {}
        if not session:
            return 400, error(None, -32000), {}
        if session not in self.live:
            return 404, error(None, -32600), {}
        if "id" not in asked.message:
            return 202, b"", {}
        return self._reply(asked)

    def _reply(self, asked: Asked) -> Answer:
        number = asked.message["id"]
        if asked.asks == "ping" and self.ping_error is None:
            return 200, result(number), {}
        if asked.asks == "ping" and self.ping_error is not None:
            status, code = self.ping_error
            return status, error(number, code), {}
        if asked.asks == "tools/list":
            return 200, result(number, tools=[{"name": "act"}]), {}
        return 200, error(number, -32601), {}


def modern(asked: Asked) -> Answer:
    """A server of the newer era."""
    number = asked.message.get("id")
    if asked.asks == "server/discover":
        return 200, result(number, **DISCOVERED), {}
    if asked.asks == "tools/list":
        return 200, result(number, tools=[{"name": "act"}]), {}
    return 404, error(number, -32601), {}


class Probed:
    """A probe, and the server that it asks."""

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.server = FakeServer(answer)
        self.target = HttpTarget(SERVER)
        self.transcript = Transcript(self.target.redact)

    async def run(self) -> ProbeResult:
        self.transcript = Transcript(self.target.redact)
        ends_at = virtual_loop().time() + 30.0
        ended = await self.target.check(self.transcript, TIMEOUT, ends_at)
        self.target.detach()
        await settle()
        return ended

    @property
    def said(self) -> str:
        return "\n".join(f"{step.kind}: {step.text}" for step in self.transcript.steps)


GREETING = ["server/discover", "initialize", "notifications/initialized"]


# The two eras


@on_fake_time
async def test_a_server_of_the_newer_era_is_asked_to_discover() -> None:
    probed = Probed(modern)
    for _ in range(3):
        assert (await probed.run()).value == "success"
    assert probed.server.methods == ["server/discover"] * 3
    assert probed.target.era is Era.MODERN
    assert probed.target.identity == Identity("fake", "9", "2026-07-28", True, True)


@on_fake_time
async def test_a_server_of_the_older_era_is_pinged_in_one_session() -> None:
    server = Legacy()
    probed = Probed(server)
    for _ in range(3):
        assert (await probed.run()).value == "success"
    assert probed.server.methods == [*GREETING, "ping", "ping"]
    assert server.live == {"s1"}
    assert probed.target.identity == Identity("fake", "9", "2025-06-18", True, True)


@on_fake_time
async def test_requests_are_what_each_era_wants() -> None:
    probed = Probed(Legacy())
    await probed.run()
    await probed.run()
    discover, initialize, initialized, ping = probed.server.asked
    assert discover.headers["mcp-protocol-version"] == "2026-07-28"
    assert discover.headers["mcp-method"] == "server/discover"
    meta = discover.message["params"]["_meta"]
    assert meta["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert "mcp-method" not in initialize.headers
    assert initialize.message["params"]["protocolVersion"] == "2025-11-25"
    assert initialized.headers["mcp-session-id"] == ping.headers["mcp-session-id"] == "s1"
    assert ping.headers["mcp-protocol-version"] == "2025-06-18"
    assert ping.message == {"jsonrpc": "2.0", "id": 3, "method": "ping"}
    for asked in probed.server.asked[:4]:
        assert asked.target == b"/mcp?key=abcdefg"
        assert asked.headers["authorization"] == "Bearer hush-hush"
        assert asked.headers["accept"] == "application/json, text/event-stream"


@on_fake_time
async def test_a_server_without_sessions_is_initialized_each_time() -> None:
    def stateless(asked: Asked) -> Answer:
        if asked.asks == "initialize":
            return 200, result(asked.message["id"], **INITIALIZED), {}
        return (202, b"", {}) if "id" not in asked.message else (400, b"no", {})

    probed = Probed(stateless)
    for _ in range(2):
        assert (await probed.run()).value == "success"
    assert probed.server.methods == [*GREETING, "initialize", "notifications/initialized"]


@on_fake_time
async def test_the_reply_is_found_in_a_stream_of_events() -> None:
    def streaming(asked: Asked) -> Answer:
        number = asked.message["id"]
        log = b'{"jsonrpc":"2.0","method":"notifications/message"}'
        reply = f'{{"jsonrpc":"2.0","id":{number},"result":{{"supportedVersions":["2026-07-28"]}}}}'
        body = b"id: 1\ndata:\n\ndata: " + log + b"\n\ndata: " + reply.encode() + b"\n\n"
        # The stream stays open: the message is enough.
        fields = {"Content-Type": "text/event-stream", "Content-Length": "99999"}
        return 200, body, fields

    probed = Probed(streaming)
    ended = await probed.run()
    assert (ended.value, ended.seconds) == ("success", 0.0)


@pytest.mark.parametrize("version", ["", "x\r\nEvil: 1", "caf\u00e9"])
def test_a_version_that_no_header_can_carry_is_not_repeated(version: str) -> None:
    @on_fake_time
    async def run() -> None:
        def odd(asked: Asked) -> Answer:
            if asked.asks != "initialize":
                return (202, b"", {}) if "id" not in asked.message else (400, b"", {})
            reply = {**INITIALIZED, "protocolVersion": version}
            return 200, result(asked.message["id"], **reply), {}

        probed = Probed(odd)
        await probed.run()
        assert probed.server.asked[-1].headers["mcp-protocol-version"] == "2025-11-25"
        assert "evil" not in probed.server.asked[-1].headers

    run()


# Starting over


@on_fake_time
async def test_a_lost_session_is_opened_anew_in_the_same_probe() -> None:
    server = Legacy()
    probed = Probed(server)
    await probed.run()
    server.live.clear()
    assert (await probed.run()).value == "success"
    assert probed.server.methods == [*GREETING, "ping", *GREETING]
    assert server.live == {"s2"}
    assert "note: the session is lost: starting over" in probed.said


@pytest.mark.parametrize("status", [200, 400, 404])
def test_a_server_without_ping_lives_in_one_session(status: int) -> None:
    @on_fake_time
    async def run() -> None:
        server = Legacy()
        server.ping_error = (status, -32601)
        probed = Probed(server)
        await probed.run()
        for _ in range(2):
            ended = await probed.run()
            assert ended.value == "success"
            assert ended.reason == "replied to ping with JSON-RPC error -32601"
        assert probed.server.methods == [*GREETING, *["ping", "server/discover"] * 2]
        assert server.live == {"s1"}

    run()


@on_fake_time
async def test_a_server_that_never_liked_a_ping_keeps_its_session() -> None:
    server = Legacy()
    server.ping_error = (200, -32600)
    probed = Probed(server)
    for _ in range(3):
        assert (await probed.run()).value == "success"
    assert probed.server.methods == [*GREETING, "ping", "ping"]
    assert server.live == {"s1"}


@on_fake_time
async def test_a_server_that_liked_pings_has_lost_the_session_with_an_error() -> None:
    server = Legacy()
    probed = Probed(server)
    for _ in range(2):
        await probed.run()
    server.ping_error = (200, -32600)
    assert (await probed.run()).value == "success"
    assert server.live == {"s2"}


@on_fake_time
async def test_a_server_without_ping_that_ignores_discover_is_not_waited_for_again() -> None:
    server = Legacy()
    server.ping_error = (200, -32601)
    probed = Probed(lambda asked: None if asked.asks == "server/discover" else server(asked))
    assert (await probed.run()).seconds == 2.0
    assert (await probed.run()).seconds == 0.0
    assert probed.server.methods == [*GREETING, "ping"]


@pytest.mark.parametrize("offered", [("2024-11-05",), ("2024-11-05", "2025-06-18")])
def test_a_server_is_asked_in_the_newest_version_that_it_offers(offered: tuple[str, ...]) -> None:
    @on_fake_time
    async def run() -> None:
        server = Legacy()
        server.versions = offered
        probed = Probed(server)
        assert (await probed.run()).value == "success"
        second = probed.server.asked[2].message["params"]["protocolVersion"]
        assert second == max(offered)
        assert (await probed.target.list_tools()).tools
        assert server.last == 1

    run()


@on_fake_time
async def test_a_session_that_is_refused_is_given_back_before_the_next() -> None:
    server = Legacy()
    server.ping_error = (400, -32000)
    probed = Probed(server)
    await probed.run()
    assert (await probed.run()).value == "success"
    assert probed.server.methods == [*GREETING, "ping", "DELETE", *GREETING]
    assert server.live == {"s2"}


@on_fake_time
async def test_a_server_that_was_replaced_by_an_older_one_is_met_anew() -> None:
    probed = Probed(modern)
    await probed.run()
    probed.server.answer = Legacy()
    assert (await probed.run()).value == "success"
    assert probed.target.era is Era.LEGACY
    assert probed.server.methods == ["server/discover", *GREETING]


@on_fake_time
async def test_a_server_that_was_replaced_by_a_newer_one_is_met_anew() -> None:
    probed = Probed(Legacy())
    await probed.run()
    probed.server.answer = modern
    assert (await probed.run()).value == "success"
    assert probed.target.era is Era.MODERN
    assert probed.server.methods == [*GREETING, "ping", "server/discover"]


@on_fake_time
async def test_a_broken_connection_costs_neither_era_nor_session() -> None:
    server = Legacy()
    probed = Probed(server)
    await probed.run()
    probed.server.refuses_connections = True
    assert (await probed.run()).value == "connect_error"
    probed.server.refuses_connections = False
    assert (await probed.run()).value == "success"
    assert probed.server.methods == [*GREETING, "ping"]


@on_fake_time
async def test_nothing_is_asked_over_a_connection_that_was_used() -> None:
    legacy, used = Legacy(), set()

    def serving_one_request_a_connection(asked: Asked) -> Answer:
        if asked.wire in used:
            raise ConnectionResetError("reset")
        used.add(asked.wire)
        return legacy(asked)

    probed = Probed(serving_one_request_a_connection)
    for _ in range(2):
        assert (await probed.run()).value == "success"


@on_fake_time
async def test_each_probe_has_a_connection_of_its_own() -> None:
    probed = Probed(modern)
    await probed.run()
    await probed.run()
    assert [wire.is_closing() for wire in probed.server.wires] == [True, True]


@on_fake_time
async def test_the_session_is_given_back_at_the_end() -> None:
    server = Legacy()
    probed = Probed(server)
    await probed.run()
    await probed.target.close()
    assert server.live == set()
    await probed.target.close()
    assert probed.server.methods == [*GREETING, "DELETE"]


@on_fake_time
async def test_giving_the_session_back_never_takes_long() -> None:
    probed = Probed(Legacy())
    await probed.run()
    probed.server.answer = lambda _: None
    began = virtual_loop().time()
    await probed.target.close()
    assert virtual_loop().time() - began == 1.0


# Results


@pytest.mark.parametrize(
    ("answer", "found", "text"),
    [
        ((401, b"", {}), "unauthorized", "HTTP 401"),
        ((403, b"<html>", {}), "unauthorized", "HTTP 403"),
        ((500, b"no", {}), "protocol_error", "HTTP 500 without a JSON-RPC reply"),
        ((404, b"<html>", {}), "protocol_error", "HTTP 404 without a JSON-RPC reply"),
        ((202, b"", {}), "protocol_error", "HTTP 202: the body (of no type) is not the JSON-RPC"),
        ((200, {"id": 77, "result": {}}, {}), "protocol_error", "(application/json) is not the"),
        ((200, b"<p>", {"Content-Type": "text/html; x=1"}), "protocol_error", "body (text/html)"),
        (
            (200, b"data: {}\n\n", {"Content-Type": "text/event-stream"}),
            "protocol_error",
            "HTTP 200: the stream of events ended without the reply",
        ),
        (
            (302, b"", {"Location": "https://h/?token=abc"}),
            "protocol_error",
            "HTTP 302: redirects to https://h/?token=<secret>; write that as the url",
        ),
        (
            (200, error(2, -32603), {}),
            "success",
            "replied to initialize with JSON-RPC error -32603",
        ),
        ((400, error(None, -32600), {}), "success", "JSON-RPC error -32600"),
        (None, "timeout", "no reply to initialize within 5 s"),
    ],
)
def test_a_reply_decides(answer: Any, found: str, text: str) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed(lambda _: answer)
        ended = await probed.run()
        assert ended.value == found
        assert text in ended.reason
        assert ended.is_alive is (found in ("success", "unauthorized"))

    run()


@on_fake_time
async def test_nobody_at_the_address_is_said_so() -> None:
    probed = Probed(modern)
    probed.server.refuses_connections = True
    ended = await probed.run()
    assert ended.value == "connect_error"
    assert ended.reason == "cannot be reached: [Errno 111] Connection refused"
    assert "note: that was not sent: there is no connection" in probed.said
    assert probed.server.methods == []


@on_fake_time
async def test_a_connection_that_does_not_come_about_is_said_so() -> None:
    import asyncio

    async def never(_: asyncio.Protocol) -> Any:
        await asyncio.sleep(60)

    probed = Probed(modern)
    virtual_loop().dial = never
    ended = await probed.run()
    assert (ended.value, ended.reason) == ("timeout", "no connection within 5 s")


@on_fake_time
async def test_a_connection_that_breaks_is_told_from_one_that_is_refused() -> None:
    def hang_up(_: Asked) -> Answer:
        raise ConnectionResetError("reset")

    probed = Probed(hang_up)
    ended = await probed.run()
    assert ended.value == "connect_error"
    assert ended.reason == "closed the connection before the reply was complete (reset)"


# Servers that cannot stand ``server/discover``


@on_fake_time
async def test_silence_on_discover_is_followed_by_initialize() -> None:
    legacy = Legacy()
    probed = Probed(lambda asked: None if asked.asks == "server/discover" else legacy(asked))
    ended = await probed.run()
    assert (ended.value, ended.seconds) == ("success", 2.0)
    assert "note: no reply so far: perhaps an older server" in probed.said


@on_fake_time
async def test_a_server_that_breaks_off_at_discover_is_not_dead() -> None:
    legacy = Legacy()

    def fragile(asked: Asked) -> Answer:
        if asked.asks == "server/discover":
            raise ConnectionResetError("reset")
        return legacy(asked)

    assert (await Probed(fragile).run()).value == "success"


@on_fake_time
async def test_a_polite_nothing_is_not_the_newer_era() -> None:
    legacy = Legacy()

    def agreeable(asked: Asked) -> Answer:
        if asked.asks == "server/discover":
            return 200, result(asked.message["id"]), {}
        return legacy(asked)

    probed = Probed(agreeable)
    assert (await probed.run()).value == "success"
    assert probed.target.era is Era.LEGACY


# Tools


@pytest.mark.parametrize("server", [modern, Legacy()])
def test_tools_are_listed_in_either_era(server: Callable[[Asked], Answer]) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed(server)
        await probed.run()
        assert (await probed.target.list_tools()).tools == {"act": b'{"name":"act"}'}

    run()


# What is shown


@on_fake_time
async def test_what_was_said_is_shown_without_secrets() -> None:
    probed = Probed(Legacy())
    await probed.run()
    assert "sent: POST /mcp?<secret>\n" in probed.said
    assert "Authorization: <secret>" in probed.said
    assert "Mcp-Session-Id: <secret>" in probed.said
    assert "received: HTTP 200 Fine\nContent-Type: application/json" in probed.said
    assert '"protocolVersion":"2025-06-18"' in probed.said
    assert "hush" not in probed.said
    assert "s1" not in probed.said

"""A probe of the 2024-11-05 transport keeps its stream, and opens another where it ended."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.identity import Identity
from exporter.probe.sse import SseTarget
from exporter.probe.target import ProbeResult
from exporter.probe.transcript import Transcript
from tests.support.fake_server import Answer, Asked, FakeServer
from tests.support.fakes import error, notification, on_fake_time, result, settle, virtual_loop
from tests.support.probe_fakes import ProbeLog

TIMEOUT = 5.0
SERVER = Server(
    "files",
    "sse",
    url="http://server:8000/sse",
    headers={"Authorization": "Bearer hush-hush"},
    probe=ProbeSettings(timeout=TIMEOUT),
)
INFO = {"name": "fake", "version": "9"}
INITIALIZED = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": INFO}
OPEN = {"Content-Type": "text/event-stream", "Content-Length": "99999999"}


class Probed:
    """A probe, and a server that answers as the test says."""

    def __init__(self, url: str = "http://server:8000/sse") -> None:
        self.endpoint = "/messages?session=1"
        self.post_status = 202
        self.is_mute = False
        self.refuses: set[str] = set()
        self.server = FakeServer(self.answer)
        self.streams: list[Any] = []
        self.events = ProbeLog()
        self.target = SseTarget(Server(**{**_settings(), "url": url}), self.events)
        self.transcript = Transcript(self.target.redact)

    def answer(self, asked: Asked) -> Answer:
        if asked.method == b"GET":
            self.streams.append(self.server.wires[-1])
            return 200, f"event: endpoint\ndata: {self.endpoint}\n\n".encode(), OPEN
        message = asked.message
        if "id" in message and not self.is_mute and self.post_status < 300:
            reply = result(message["id"], **INITIALIZED)
            if asked.asks in self.refuses:
                reply = error(message["id"])
            virtual_loop().call_soon(self.push, reply)
        return self.post_status, b"", {}

    def push(self, message: object, name: str = "message") -> None:
        event = b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(message))
        self.streams[-1].protocol.data_received(event)

    async def run(self) -> ProbeResult:
        self.transcript = Transcript(self.target.redact)
        ended = await self.target.check(self.transcript, TIMEOUT, 0.0)
        self.target.detach()
        await settle()
        return ended

    @property
    def said(self) -> str:
        return "\n".join(f"{step.kind}: {step.text}" for step in self.transcript.steps)


def _settings() -> dict[str, Any]:
    return {name: getattr(SERVER, name) for name in SERVER.__slots__}


GREETING = ["GET", "initialize", "notifications/initialized"]


@on_fake_time
async def test_one_stream_serves_all_probes() -> None:
    probed = Probed()
    for _ in range(3):
        assert (await probed.run()).value == "success"
    assert [asked.target for asked in probed.server.asked[:2]] == [b"/sse", b"/messages?session=1"]
    assert all(a.headers["authorization"] == "Bearer hush-hush" for a in probed.server.asked)
    assert probed.server.methods == [*GREETING, "ping", "ping", "ping"]
    assert probed.target.identity == Identity("fake", "9", "2024-11-05")


@on_fake_time
async def test_tools_are_listed_on_the_stream() -> None:
    probed = Probed()
    await probed.run()
    probed.is_mute = True
    listing = asyncio.create_task(probed.target.list_tools())
    await settle()
    probed.push(result(3, tools=[{"name": "act"}]))
    assert (await listing).tools == {"act": b'{"name":"act"}'}


@on_fake_time
async def test_a_stream_that_ended_between_probes_is_opened_anew() -> None:
    probed = Probed()
    await probed.run()
    probed.streams[0].lose(None)
    await settle()
    assert (await probed.run()).value == "success"
    assert probed.server.methods == [*GREETING, "ping"] * 2


@on_fake_time
async def test_a_stream_that_ends_during_a_probe_fails_it() -> None:
    probed = Probed()
    probed.is_mute = True
    run = asyncio.create_task(probed.run())
    await asyncio.sleep(0.1)
    probed.streams[0].lose(None)
    ended = await run
    assert ended.value == "connect_error"
    assert ended.reason == "closed the connection before the reply was complete (EOF)"
    probed.is_mute = False
    assert (await probed.run()).value == "success"


@on_fake_time
async def test_a_server_that_says_nothing_on_its_stream_has_timed_out() -> None:
    probed = Probed()
    probed.is_mute = True
    ended = await probed.run()
    assert (ended.value, ended.reason) == ("timeout", "no reply to initialize within 5 s")
    assert len(probed.streams) == 1


@on_fake_time
async def test_a_stream_without_the_reply_is_replaced_by_the_next_probe() -> None:
    probed = Probed()
    await probed.run()
    probed.is_mute = True
    await probed.run()
    assert probed.streams[0].is_closing()
    probed.is_mute = False
    assert (await probed.run()).value == "success"
    assert len(probed.streams) == 2


@on_fake_time
async def test_changed_tools_are_told() -> None:
    probed = Probed()
    await probed.run()
    probed.push(notification("notifications/tools/list_changed"))
    probed.push(notification("notifications/tools/list_changed"), name="other")
    assert probed.events.changes == 1


@pytest.mark.parametrize(
    ("endpoint", "where"),
    [
        ("/messages?session=1", b"/messages?session=1"),
        ("messages/1", b"/base/messages/1"),
        ("http://server:8000/m", b"/m"),
        ("http://SERVER:8000/m", b"/m"),
        ("?session=2", b"/base/sse?session=2"),
    ],
)
def test_the_endpoint_is_found_as_a_browser_would(endpoint: str, where: bytes) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed("http://server:8000/base/sse")
        probed.endpoint = endpoint
        assert (await probed.run()).value == "success"
        assert probed.server.asked[1].target == where

    run()


@pytest.mark.parametrize(
    "endpoint", ["http://elsewhere:8000/m", "https://server:8000/m", "//elsewhere/m"]
)
def test_secrets_are_sent_to_no_other_origin(endpoint: str) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed()
        probed.endpoint = endpoint
        ended = await probed.run()
        assert ended.value == "protocol_error"
        assert ended.reason == "wants its messages at another origin"
        assert probed.server.methods == ["GET"]
        assert probed.streams[0].is_closing()

    run()


@pytest.mark.parametrize(
    ("status", "found"), [(401, "unauthorized"), (429, "success"), (404, "protocol_error")]
)
def test_a_post_that_is_refused_decides(status: int, found: str) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed()
        probed.post_status = status
        ended = await probed.run()
        assert ended.value == found
        assert f"HTTP {status}" in ended.reason

    run()


@pytest.mark.parametrize(
    ("answer", "found", "text"),
    [
        ((401, b"", {}), "unauthorized", "HTTP 401"),
        ((405, b"", {}), "protocol_error", "HTTP 405 without a JSON-RPC reply"),
        ((200, b"<p>", {"Content-Type": "text/html"}), "protocol_error", "the body (text/html)"),
        ((200, b"event: hi\ndata: x\n\n", OPEN), "protocol_error", "does not begin its stream"),
        ((200, b": hello\n\n", OPEN), "timeout", "no reply to GET, which should open a stream"),
        (None, "timeout", "no reply to GET, which should open a stream"),
    ],
)
def test_what_is_no_stream_of_this_kind_fails(answer: Answer, found: str, text: str) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed()
        probed.server.answer = lambda _: answer
        ended = await probed.run()
        assert ended.value == found
        assert text in ended.reason

    run()


@pytest.mark.parametrize("method", ["initialize", "ping"])
def test_an_error_proves_life(method: str) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed()
        probed.refuses = {method}
        ended = await probed.run()
        assert ended.value == "success"
        assert ended.reason == f"replied to {method} with JSON-RPC error -32603"

    run()


@on_fake_time
async def test_the_stream_ends_with_its_probe() -> None:
    probed = Probed()
    await probed.run()
    await probed.target.close()
    await settle()
    assert all(wire.is_closing() for wire in probed.server.wires)


@on_fake_time
async def test_what_was_said_is_shown_once_and_without_secrets() -> None:
    probed = Probed()
    await probed.run()
    assert probed.said.count('"method":"ping"') == 1
    assert "sent: GET /sse\n" in probed.said
    assert "hush" not in probed.said

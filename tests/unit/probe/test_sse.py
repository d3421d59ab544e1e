"""A probe of the 2024-11-05 transport opens a stream, and closes it when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.identity import Identity
from exporter.probe.sse import MAX_STREAM_EVENTS, SseTarget
from exporter.probe.target import ProbeResult
from exporter.probe.transcript import Transcript
from exporter.telemetry.client_streams import ClientStreams
from tests.support.fake_server import Answer, Asked, FakeServer
from tests.support.fakes import error, notification, on_fake_time, result, settle, virtual_loop
from tests.support.probe_fakes import ProbeLog, refusal_of_version

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
        self.before = ""
        self.versions: tuple[str, ...] = ()
        self.post_status = 202
        self.is_mute = False
        self.refuses: set[str] = set()
        self.server = FakeServer(self.answer)
        self.streams: list[Any] = []
        self.events = ProbeLog()
        self.clients = ClientStreams()
        self.stream_status: int | None = 200
        self.target = SseTarget(Server(**{**_settings(), "url": url}), self.events, self.clients)
        self.transcript = Transcript(self.target.redact)

    def answer(self, asked: Asked) -> Answer:
        if self.stream_status != 200:
            return None if self.stream_status is None else (self.stream_status, b"", {})
        if asked.method == b"GET":
            self.streams.append(self.server.wires[-1])
            return 200, f"{self.before}event: endpoint\ndata: {self.endpoint}\n\n".encode(), OPEN
        message = asked.message
        if "id" in message and not self.is_mute and self.post_status < 300:
            reply = result(message["id"], **INITIALIZED)
            if asked.asks == "tools/list":
                reply = result(message["id"], tools=[{"name": "act"}])
            elif asked.asks == "initialize" and self._refuses_version(message):
                reply = refusal_of_version(message["id"], *self.versions)
            if asked.asks in self.refuses:
                reply = error(message["id"])
            virtual_loop().call_soon(self.push, reply)
        return self.post_status, b"", {}

    def _refuses_version(self, message: Any) -> bool:
        return bool(self.versions) and message["params"]["protocolVersion"] not in self.versions

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
async def test_a_probe_takes_a_place_at_the_server_only_while_it_runs() -> None:
    probed = Probed()
    for number in range(3):
        assert (await probed.run()).value == "success"
        assert len(probed.streams) == number + 1
        assert all(stream.is_closing() for stream in probed.streams)
    assert [asked.target for asked in probed.server.asked[:2]] == [b"/sse", b"/messages?session=1"]
    assert all(a.headers["authorization"] == "Bearer hush-hush" for a in probed.server.asked)
    assert probed.server.methods == [*GREETING, "ping"] * 3
    assert probed.target.identity == Identity("fake", "9", "2024-11-05")


@on_fake_time
async def test_tools_are_listed_on_a_stream_of_their_own_between_probes() -> None:
    probed = Probed()
    assert not probed.target.can_list
    await probed.run()
    assert probed.target.can_list
    assert (await probed.target.list_tools()).tools == {"act": b'{"name":"act"}'}
    assert len(probed.streams) == 2


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
async def test_changed_tools_are_told_while_a_probe_runs() -> None:
    probed = Probed()
    probed.is_mute = True
    run = asyncio.create_task(probed.run())
    await asyncio.sleep(0.1)
    probed.push(notification("notifications/tools/list_changed"))
    probed.push(notification("notifications/tools/list_changed"), name="other")
    await run
    assert probed.events.changes == 1


@pytest.mark.parametrize(
    "before",
    [
        ": hello\n\n",
        "retry: 3000\n\n",
        f":{' ' * 2048}\n\n",
        "\n\n\r\n",
        "event: hello\ndata: you\n\n",
        "data: {}\n\n",
        "id: 1\ndata:\n\n",
    ],
)
def test_what_comes_before_the_endpoint_is_passed_over(before: str) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed()
        probed.before = before
        assert (await probed.run()).value == "success"

    run()


@on_fake_time
async def test_the_first_endpoint_is_taken() -> None:
    probed = Probed()
    probed.before = "event: endpoint\ndata: /first\n\n"
    assert (await probed.run()).value == "success"
    assert probed.server.asked[1].target == b"/first"


@on_fake_time
async def test_a_stream_that_is_flooded_is_given_up() -> None:
    probed = Probed()
    probed.before = "data: x\n\n" * (MAX_STREAM_EVENTS + 1)
    ended = await probed.run()
    assert ended.value == "protocol_error"
    assert f"it sent {MAX_STREAM_EVENTS} other events" in ended.reason


@on_fake_time
async def test_a_server_is_asked_in_the_version_that_it_offers() -> None:
    probed = Probed()
    probed.versions = ("2024-11-05",)
    assert (await probed.run()).value == "success"
    assert probed.server.methods == ["GET", "initialize", *GREETING[1:], "ping"]


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
        ((200, b"event: hi\ndata: x\n\n", OPEN), "timeout", "no event named endpoint on its"),
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


@pytest.mark.parametrize(
    ("status", "is_open", "heard_ago", "expected"),
    [
        (503, True, 1000, "success"),
        (409, True, 1000, "success"),
        (503, False, 1000, "protocol_error"),
        (502, True, 1000, "protocol_error"),
        (504, True, 1000, "protocol_error"),
        (307, True, 1000, "protocol_error"),
        (504, True, 20, "success"),
        (None, True, 20, "success"),
        (None, True, 1000, "timeout"),
        (None, False, 20, "timeout"),
    ],
)
@on_fake_time
async def test_a_clients_stream_stands_for_a_probe_that_is_turned_away(
    status: int | None, is_open: bool, heard_ago: float, expected: str
) -> None:
    probed = Probed()
    probed.stream_status = status
    await asyncio.sleep(2000)
    probed.clients.heard(virtual_loop().time() - heard_ago)
    if is_open:
        probed.clients.opened()
    ended = await probed.run()
    assert ended.value == expected
    assert ended.reason
    assert ("which is as good" in probed.said) is (expected == "success")


@on_fake_time
async def test_a_clients_stream_does_not_stand_for_one_that_got_in() -> None:
    probed = Probed()
    probed.clients.opened()
    probed.clients.heard(virtual_loop().time())
    probed.is_mute = True
    assert (await probed.run()).value == "timeout"

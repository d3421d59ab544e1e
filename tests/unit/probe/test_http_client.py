"""A probe's request is composed with the configured headers, and its reply read to the message."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.config.redact import Redactor
from exporter.probe.http_client import MAX_EVENTS, MAX_RETRY_AFTER, ProbeClient, Reply
from exporter.probe.target import ReachedError
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import UpstreamError
from exporter.transport.http.pool import Pool
from tests.support.fake_server import Answer, FakeServer
from tests.support.fakes import error, on_fake_time, result

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'


class Called:
    """One request to a fake server, with its transcript."""

    def __init__(self, answer: Answer, headers: dict[str, str] | None = None) -> None:
        self.server = FakeServer(lambda _: answer)
        settings = ProbeSettings()
        server = Server("a", "http", url="http://h/mcp", headers=headers or {}, probe=settings)
        self.client = ProbeClient(server, Pool("http://h/mcp", asyncio.get_running_loop()))
        self.transcript = Transcript(Redactor(server))

    async def post(self) -> Reply:
        return await self.client.call(self.transcript, b"POST", [], PING, 1)


@on_fake_time
async def test_configured_headers_replace_the_probers_own() -> None:
    called = Called((200, result(1), {}), {"accept": "text/event-stream", "User-Agent": "mine"})
    reply = await called.post()
    assert reply.data == b'{"jsonrpc":"2.0","id":1,"result":{}}'
    (asked,) = called.server.asked
    assert (asked.headers["accept"], asked.headers["user-agent"]) == ("text/event-stream", "mine")
    assert asked.body == PING


@on_fake_time
async def test_request_and_reply_are_in_the_transcript_without_secrets() -> None:
    called = Called((200, result(1), {}), {"X-Key": "hush-hush"})
    await called.post()
    sent, received = called.transcript.steps
    assert sent.text.startswith("POST /mcp\n")
    assert "X-Key: <secret>" in sent.text
    assert received.text.startswith("HTTP 200 Fine\nContent-Type: application/json")


# What counts as the reply

REPLY = b'{"jsonrpc":"2.0","id":1,"result":{}}'
JSON = {"Content-Type": "application/json"}
EVENTS = {"Content-Type": "text/event-stream"}


@pytest.mark.parametrize(
    "body",
    [
        REPLY,
        b"\xef\xbb\xbf" + REPLY,
        b"[%b]" % REPLY,
        b'{"jsonrpc":"2.0","id":"1","result":{}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}',
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_reply_is_known_in_each_of_its_forms(body: bytes, is_stream: bool) -> None:
    @on_fake_time
    async def run() -> None:
        sent = b"data: %b\n\n" % body if is_stream else body
        reply = await Called((200, sent, EVENTS if is_stream else JSON)).post()
        assert reply.message is not None
        assert reply.data.startswith(b"{")

    run()


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"Service Unavailable"}',
        b'{"error":{"code":503,"message":"Service Unavailable"}}',
        b'{"message":"no healthy upstream"}',
        b'[{"error":"Service Unavailable"}]',
        b"[]",
        b"503",
        b'"no"',
        b"null",
    ],
)
@pytest.mark.parametrize("status", [200, 502, 503])
def test_json_that_is_no_json_rpc_is_no_reply(body: bytes, status: int) -> None:
    @on_fake_time
    async def run() -> None:
        reply = await Called((status, body, JSON)).post()
        assert reply.message is None
        assert f"HTTP {status}" in str(reply.failure())

    run()


# Compressed though nothing was asked for


@on_fake_time
async def test_no_coding_is_asked_for() -> None:
    called = Called((200, result(1), {}))
    await called.post()
    assert called.server.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("coding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data, wbits=-15)),
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
def test_a_server_that_compresses_unasked_is_read(
    coding: str, compress: Callable[[bytes], bytes], is_stream: bool
) -> None:
    @on_fake_time
    async def run() -> None:
        sent = b"data: %b\n\n" % REPLY if is_stream else REPLY
        fields = {**(EVENTS if is_stream else JSON), "Content-Encoding": coding}
        reply = await Called((200, compress(sent), fields)).post()
        assert reply.data == REPLY

    run()


@pytest.mark.parametrize(
    ("coding", "body", "reason"),
    [
        ("br", b"x", "its body is encoded as br"),
        ("gzip", b"no gzip", "its body cannot be inflated"),
        ("gzip", gzip.compress(b" " * 50_000_000), "its body becomes more than 100 times as long"),
    ],
)
def test_what_cannot_be_inflated_is_said(coding: str, body: bytes, reason: str) -> None:
    @on_fake_time
    async def run() -> None:
        reply = await Called((200, body, {**JSON, "Content-Encoding": coding})).post()
        assert reply.message is None
        assert reason in str(reply.failure())

    run()


@pytest.mark.parametrize("event", [b"data: x\n\n", b'data: {"id":0}\n\n', b"data: x\nid: 1\n\n"])
def test_a_stream_that_is_flooded_is_given_up(event: bytes) -> None:
    @on_fake_time
    async def run() -> None:
        body = event * (MAX_EVENTS + 1) + b"data: %b\n\n" % REPLY
        reply = await Called((200, body, EVENTS)).post()
        assert reply.message is None
        assert f"it sent {MAX_EVENTS} other events" in str(reply.failure())

    run()


@on_fake_time
async def test_some_other_events_are_passed_over() -> None:
    body = b"data: x\n\n" * (MAX_EVENTS - 1) + b"data: %b\n\n" % REPLY
    assert (await Called((200, body, EVENTS)).post()).data == REPLY


@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_wants_a_token_was_reached(status: int) -> None:
    @on_fake_time
    async def run() -> None:
        with pytest.raises(ReachedError, match=f"HTTP {status}") as raised:
            await Called((status, error(1), {})).post()
        assert raised.value.result == "unauthorized"

    run()


@pytest.mark.parametrize(
    ("given", "pause"),
    [
        ("7", 7.0),
        ("99999", MAX_RETRY_AFTER),
        ("", 0.0),
        ("soon", 0.0),
        ("-1", 0.0),
        ("9" * 400, MAX_RETRY_AFTER),
        ("Wed, 21 Oct 2099 07:28:00 GMT", MAX_RETRY_AFTER),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_too_many_requests_ask_for_a_pause(given: str, pause: float) -> None:
    @on_fake_time
    async def run() -> None:
        with pytest.raises(ReachedError, match="HTTP 429") as raised:
            await Called((429, b"", {"Retry-After": given})).post()
        assert raised.value.retry_after == pause

    run()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((500, b"no", {}), "HTTP 500 without a JSON-RPC reply"),
        ((200, {"id": 77, "result": {}}, {}), "(application/json) is not the JSON-RPC reply"),
        ((302, b"", {"Location": "https://h/x"}), "redirects to https://h/x; write that as the"),
    ],
)
def test_a_reply_without_the_message_says_what_it_is(answer: Any, reason: str) -> None:
    @on_fake_time
    async def run() -> None:
        reply = await Called(answer).post()
        assert reply.message is None
        assert reason in str(reply.failure())
        assert isinstance(reply.failure(), UpstreamError)

    run()

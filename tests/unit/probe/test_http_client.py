"""A probe's request is composed with the configured headers, and its reply read to the message."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.config.redact import Redactor
from exporter.probe.http_client import MAX_RETRY_AFTER, ProbeClient, Reply
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

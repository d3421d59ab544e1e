"""Random HTTP at both listeners of a real exporter: a valid reply or an end, and no harm done."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import urlsplit

import httptools
import pytest
import requests

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import seeds
from tests.support import raw_server
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.held_resources import HeldResources, wait_for_release
from tests.support.raw_client import ACCEPTED, ask, modern, modern_call
from tests.support.raw_server import whole

REQUESTS = 1500
PATIENCE = 60.0
PING = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
PONG = b'{"jsonrpc":"2.0","id":"p","result":{}}'

METHODS = (
    *(b"GET", b"POST", b"DELETE", b"PUT", b"HEAD", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"),
    *(b"get", b"BREW", b"PRI", b"\xff", b""),
)
PLACES = (
    *(b"/", b"/raw/mcp", b"/child/mcp", b"/gone/mcp", b"/raw/sse", b"/raw/message", b"*", b""),
    *(b"/metrics", b"/-/healthy", b"/-/ready", b"/config", b"/probe", b"/-/reload", b"/history"),
    *(b"/.well-known/oauth-protected-resource/raw/mcp", b"http://localhost/raw/mcp", b"//"),
    *(b"/%2e", b"/raw/mcp?a=\xe9", b"/" + 9000 * b"a"),
    *(b"/probe?target=raw", b"/probe?target=child&debug=true", b"/probe?target=%ff", b"/%00/mcp"),
    *(b"/metrics?name[]=mcp_sessions", b"/metrics?name[]=%ff"),
)  # fmt: skip
FIELDS = (
    *(b"Host: localhost", b"Host: elsewhere.example", b"Host: [::1", b"Host: ", b"Host: \xff"),
    *(b"Origin: null", b"Origin: http://localhost", b"Origin: http://[", b"Connection: close"),
    *(b"Accept: */*", b"Accept: text/event-stream", b"Accept: application/openmetrics-text"),
    *(b"Content-Type: application/json", b"Content-Encoding: gzip", b"Accept-Encoding: gzip"),
    *(b"MCP-Protocol-Version: 2026-07-28", b"MCP-Protocol-Version: \xff", b"Mcp-Session-Id: x"),
    *(b"Mcp-Method: tools/call", b"Mcp-Name: =?base64?!?=", b"Last-Event-ID: 7"),
    *(b"Authorization: x", b"Authorization: Basic !", b"Cookie: \xff"),
    *(b"X-Prometheus-Scrape-Timeout-Seconds: nan", b"X-Prometheus-Scrape-Timeout-Seconds: -1"),
    *(b"X-Prometheus-Scrape-Timeout-Seconds: 1", b"Transfer-Encoding: chunked", b"Upgrade: h2c"),
    *(b"Expect: 100-continue", b"Content-Length: 99999999999", b"Content-Length: -1", b"no colon"),
    *(b" folded", b"X: " + 70_000 * b"y", b"X\0Y: z", b": nameless", b"Connection: Upgrade"),
)  # fmt: skip


class Noise:
    """An endless source of requests, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._messages = Mutator(seeds("message"), seed)
        self._wires = Mutator(seeds("listener"), seed)

    def next(self) -> bytes:
        """One request, more or less."""
        if self._random.random() < 0.2:
            return self._wires.next()
        body = self._messages.next() if self._random.random() < 0.7 else b""
        fields = self._random.choices(FIELDS, k=self._random.randrange(5))
        if self._random.random() < 0.8:
            fields.append(b"Host: localhost")
        if self._random.random() < 0.9:
            fields.append(b"Content-Length: %d" % len(body))
        line = b"%b %b HTTP/1.1" % (
            self._random.choice(METHODS),
            self._random.choice(PLACES),
        )
        return b"\r\n".join([line, *fields, b"", body])


class Replies:
    """What came back, by status; raises where it is no HTTP."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.is_whole = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.is_whole = False

    def on_headers_complete(self) -> None:
        self.statuses[self._parser.get_status_code()] += 1

    def on_message_complete(self) -> None:
        self.is_whole = True


def send(host: tuple[str, int], data: bytes) -> Counter[int]:
    """Send it, say that this is all, and read to the end; the statuses of the replies."""
    replies = Replies()
    with contextlib.suppress(ConnectionError), socket.create_connection(host, PATIENCE) as peer:
        peer.sendall(data)
        peer.settimeout(0.02)  # most replies are there at once; some requests never get one
        with contextlib.suppress(TimeoutError):
            while part := peer.recv(65536):
                if not data.startswith(b"HEAD"):
                    replies.feed(part)
    return replies.statuses


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    def reply(_: Any) -> list[bytes]:
        return whole(200, PONG, "Content-Type: application/json")

    with raw_server.serving(reply) as server:
        servers = {"raw": {"url": server.url}, "child": scripted_stdio()}
        settings = {"idle_timeout": "2s", "timeout": "2s"}
        with exporter(tmp_path_factory.mktemp("noise"), servers, **settings) as found:
            assert ask(found.url("raw"), PING, ACCEPTED).body == PONG
            shared = modern_call(1, "ok"), modern("tools/call", "act")
            assert ask(found.url("child"), *shared).status == 200  # the reaper starts with it
            yield found


@pytest.mark.parametrize("listener", ["mcp", "web"])
@pytest.mark.parametrize("seed", [1, 2])
def test_random_requests_get_replies_and_do_no_harm(
    running: Exporter, listener: str, seed: int
) -> None:
    parts = urlsplit(getattr(running, listener))
    host = (parts.hostname or "", parts.port or 0)
    before, noise = HeldResources.of(running), Noise(seed)
    statuses: Counter[int] = Counter()
    for _ in range(REQUESTS):
        statuses.update(send(host, noise.next()))
    assert statuses.total() > REQUESTS / 3
    # 501 is a method that the scrape listener does not know; 502 to 504 are a server's own.
    assert {status for status in statuses if status >= 500} <= {501, 502, 503, 504, 505}
    assert running.process.poll() is None
    assert requests.get(f"{running.web}/-/healthy", timeout=30).status_code == 200
    assert ask(running.url("raw"), PING, ACCEPTED).body == PONG
    assert wait_for_release(lambda: HeldResources.of(running), before, PATIENCE) == {}
    scrape = running.scrape()
    assert scrape.total("mcp_requests_in_flight") == 0
    assert scrape.total("mcp_exporter_internal_errors_total") == 0
    assert "Traceback" not in running.log.read_text(errors="replace")

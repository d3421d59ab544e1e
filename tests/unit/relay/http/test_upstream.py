"""What goes up to an HTTP server, and how its connections and streams end."""

from __future__ import annotations

import asyncio

import pytest

from exporter.config.model import Limits, Server
from exporter.relay.gateway import Gateway
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl
from tests.support.fakes import (
    Books,
    Downstream,
    Network,
    Reply,
    encoded,
    on_fake_time,
    post,
    request,
    result,
    settle,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BODY = encoded(result(1))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
WELL_KNOWN = b"/.well-known/oauth-protected-resource"


class Client(Downstream):
    """One connection of a client."""

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies()
        return reply


class Scene(Network):
    """A client, the exporter, and an HTTP server whose part the test plays."""

    def __init__(self, url: str = "http://up:8000/mcp", **headers: str) -> None:
        super().__init__()
        self.books = Books()
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        server = Server("files", "http", url=url, headers=own)
        self.upstream = HttpUpstream(
            server, self.books.observer, self.loop, Limits(observed_bytes=1000), OwnUrl(None)
        )
        self.gateway = Gateway(self.books.metrics)
        self.gateway.add("files", self.upstream)

    async def say_up(self, text: bytes) -> Client:
        client = Client(self.gateway)
        client.say(text)
        await settle()
        return client

    async def ask(
        self, method: bytes = b"GET", path: bytes = b"/files/mcp", *headers: bytes
    ) -> Client:
        lines = [method + b" " + path + b" HTTP/1.1", b"Host: localhost:6279", *headers]
        return await self.say_up(b"\r\n".join([*lines, b"", b""]))

    def heard(self) -> list[bytes]:
        """The lines of the request that reached the server."""
        return self.connections[-1].take().split(b"\r\n")


@on_fake_time
async def test_a_request_goes_up_with_its_own_headers_in_their_order() -> None:
    scene = Scene()
    headers = [
        *((b"Accept", b"application/json"), (b"Authorization", b"Bearer t"), (b"X-A", b"1")),
        *((b"Mcp-Session-Id", b"s"), (b"MCP-Protocol-Version", b"2026-07-28"), (b"X-A", b"2")),
        *((b"Mcp-Method", b"ping"), (b"Mcp-Param-Odd", b"=?base64?eA==?="), (b"Cookie", b"c=1")),
    ]
    body = encoded(request(1))
    await scene.say_up(post(body, b"/files/mcp", *headers))
    sent = scene.heard()
    assert sent[0] == b"POST /mcp HTTP/1.1"
    assert sent[1] == b"Host: up:8000"
    assert sent[2:-3] == [b"%b: %b" % field for field in headers]
    assert sent[-3:] == [b"Content-Length: %d" % len(body), b"", body]


@on_fake_time
async def test_headers_of_one_connection_stay_on_it() -> None:
    scene = Scene()
    await scene.ask(
        b"GET",
        b"/files/mcp",
        b"Connection: keep-alive, X-Mine",
        b"X-Mine: 1",
        b"Keep-Alive: timeout=5",
        b"TE: trailers",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMA",
        b"Proxy-Authorization: Basic x",
        b"Proxy-Connection: close",
        b"Kept: yes",
    )
    assert scene.heard() == [b"GET /mcp HTTP/1.1", b"Host: up:8000", b"Kept: yes", b"", b""]


@pytest.mark.parametrize(
    ("name", "more", "own"),
    [
        (b"traceparent", (), {}),
        (b"Traceparent", ((b"X-Same", TRACE.encode()),), {}),
        (b"traceparent", ((b"Connection", b"traceparent"),), {}),
        (b"traceparent", (), {"traceparent": TRACE}),
    ],
    ids=["usual", "its first value elsewhere too", "of one connection", "configured"],
)
@on_fake_time
async def test_every_request_goes_up_with_its_own_trace_context(
    name: bytes, more: tuple[tuple[bytes, bytes], ...], own: dict[str, str]
) -> None:
    scene = Scene(**own)
    client = Client(scene.gateway)
    contexts = [TRACE, TRACE.replace("4bf9", "0000"), TRACE.replace("4bf9", "1111")]
    ups = []
    for context in contexts:
        fields = (*more, (name, context.encode()), (b"X-After", b"1"))
        client.say(post(encoded(request(1)), b"/files/mcp", *fields))
        await settle()
        ups.append(b"\r\n".join(scene.heard()))
        scene.say(ANSWER)
        await settle()
    theirs = (b"\r\n%b: " % name) + TRACE.encode() + b"\r\nX-After: 1"
    for context, up in zip(contexts, ups, strict=True):
        assert up == ups[0].replace(theirs, theirs.replace(TRACE.encode(), context.encode()))
    assert (theirs in ups[0]) is (not own and (b"Connection", b"traceparent") not in more)
    assert b"X-After: 1" in ups[0]
    pieces, _ = scene.books.metrics.exposition().render("application/openmetrics-text")
    assert f'trace_id="{contexts[-1][3:35]}"' in b"".join(pieces).decode()


@on_fake_time
async def test_configured_headers_replace_those_of_the_client() -> None:
    scene = Scene(Authorization="Bearer own", X_Extra="ä")
    await scene.ask(b"GET", b"/files/mcp", b"authorization: Bearer theirs", b"AUTHORIZATION: two")
    assert scene.heard()[2:-2] == [b"Authorization: Bearer own", b"X-Extra: \xe4"]


@on_fake_time
async def test_a_configured_host_replaces_that_of_the_url() -> None:
    scene = Scene(Host="virtual.example")
    await scene.ask()
    assert scene.heard() == [b"GET /mcp HTTP/1.1", b"Host: virtual.example", b"", b""]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ([], []),
        ([b"Accept-Encoding: gzip, br"], [b"Accept-Encoding: gzip"]),
        ([b"Accept-Encoding: br"], [b"Accept-Encoding: identity"]),
    ],
)
@on_fake_time
async def test_only_what_can_be_read_in_passing_is_asked_for(
    given: list[bytes], sent: list[bytes]
) -> None:
    scene = Scene()
    await scene.ask(b"GET", b"/files/mcp", *given)
    assert scene.heard()[2:-2] == sent


@pytest.mark.parametrize(
    ("url", "query", "target"),
    [
        ("http://up:8000/mcp", b"", b"/mcp"),
        ("http://up:8000/a/b?key=1", b"", b"/a/b?key=1"),
        ("http://up:8000/a?key=1", b"?x=2&y", b"/a?key=1&x=2&y"),
        ("http://up:8000", b"?x=2", b"/?x=2"),
    ],
)
@on_fake_time
async def test_the_query_of_the_client_joins_that_of_the_url(
    url: str, query: bytes, target: bytes
) -> None:
    scene = Scene(url)
    await scene.ask(b"GET", b"/files/mcp" + query)
    assert scene.heard()[0] == b"GET %b HTTP/1.1" % target


@on_fake_time
async def test_an_expectation_is_met_here_and_not_passed_on() -> None:
    scene = Scene()
    text = post(b'{"id":1,"method":"ping"}', b"/files/mcp", (b"Expect", b"100-continue"))
    await scene.say_up(text)
    assert not any(line.lower().startswith(b"expect") for line in scene.heard())


@on_fake_time
async def test_an_empty_post_is_refused_before_it_goes_up() -> None:
    scene = Scene()
    assert (await scene.say_up(post(b""))).reply.status == 400
    assert scene.connections == []


@on_fake_time
async def test_one_connection_serves_request_after_request() -> None:
    scene = Scene()
    for _ in range(3):
        await scene.say_up(post(request(1)))
        scene.say(OK.replace(b"{}", b"[]"))
    assert len(scene.connections) == 1


@on_fake_time
async def test_a_connection_is_not_kept_longer_than_servers_keep_theirs() -> None:
    scene = Scene()
    await scene.ask()
    scene.say(OK)
    await asyncio.sleep(7)
    assert scene.connections[0].is_closing()
    await scene.upstream.close()


@on_fake_time
async def test_the_challenge_of_a_server_points_to_the_exporter() -> None:
    scene = Scene()
    client = await scene.ask()
    challenge = b'Bearer resource_metadata="http://up:8000%b/mcp", scope="a"' % WELL_KNOWN
    scene.say(
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: %b\r\n\r\n"
        % challenge
    )
    assert client.reply.status == 401
    assert client.reply.header(b"WWW-Authenticate") == (
        b'Bearer resource_metadata="http://localhost:6279%b/files/mcp", scope="a"' % WELL_KNOWN
    )


@on_fake_time
async def test_the_metadata_of_a_server_speaks_of_the_exporter() -> None:
    scene = Scene()
    client = await scene.ask(b"GET", WELL_KNOWN + b"/files/mcp")
    assert scene.heard()[0] == b"GET %b/mcp HTTP/1.1" % WELL_KNOWN
    body = b'{"resource":"http://up:8000/mcp","x": 1.0}'
    scene.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert client.reply.body == b'{"resource":"http://localhost:6279/files/mcp","x":1.0}'
    assert scene.books.outcomes() == {}


@on_fake_time
async def test_draining_ends_streams_and_lets_requests_finish() -> None:
    scene = Scene()
    stream = await scene.ask()
    scene.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
    waiting = await scene.ask()
    listening = await scene.say_up(post(request(2, "subscriptions/listen")))
    client = await scene.say_up(post(request(1)))
    scene.upstream.drain()
    await settle()
    assert stream.reply.is_complete
    assert waiting.is_closing()
    assert listening.is_closing()
    assert scene.upstream.is_busy
    body = encoded(result(1))
    scene.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert client.reply.json == result(1)
    assert not scene.upstream.is_busy
    assert scene.books.outcomes() == {"ok": 1, "client_gone": 1}
    await scene.upstream.close()


@on_fake_time
async def test_closing_answers_what_waits_and_leaves_no_connection() -> None:
    scene = Scene()
    client = await scene.say_up(post(request(1)))
    initialize = await scene.say_up(post(request(0, "initialize")))
    body = encoded(result(0))
    scene.say(
        b"HTTP/1.1 200 OK\r\nMcp-Session-Id: s\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert initialize.reply.status == 200
    await scene.upstream.close()
    await settle()
    assert client.reply.status == 502
    assert "the exporter is stopping" in client.reply.json["error"]["message"]
    assert all(connection.is_closing() for connection in scene.connections)
    assert scene.books.outcomes() == {"ok": 1, "upstream_error": 1}
    assert scene.books.in_flight == 0
    assert scene.books.value("mcp_sessions") == 0

"""What goes up to an HTTP server, and how its connections and streams end."""

from __future__ import annotations

import asyncio

import pytest

from exporter.config.model import Limits, Server
from exporter.relay.gateway import Gateway
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl
from tests.support.fakes import (
    Downstream,
    Network,
    Reply,
    Telemetry,
    encoded,
    on_fake_time,
    post,
    request,
    result,
    settle,
)
from tests.support.kept_spans import KeptSpans

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


class Setup(Network):
    """A client, the exporter, and an HTTP server whose part the test plays."""

    def __init__(self, url: str = "http://up:8000/mcp", **headers: str) -> None:
        super().__init__()
        self.telemetry = Telemetry()
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        server = Server("files", "http", url=url, headers=own)
        self.upstream = HttpUpstream(
            server, self.telemetry.observer, self.loop, Limits(observed_bytes=1000), OwnUrl(None)
        )
        self.gateway = Gateway(self.telemetry.metrics)
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
    setup = Setup()
    headers = [
        *((b"Accept", b"application/json"), (b"Authorization", b"Bearer t"), (b"X-A", b"1")),
        *((b"Mcp-Session-Id", b"s"), (b"MCP-Protocol-Version", b"2026-07-28"), (b"X-A", b"2")),
        *((b"Mcp-Method", b"ping"), (b"Mcp-Param-Odd", b"=?base64?eA==?="), (b"Cookie", b"c=1")),
    ]
    body = encoded(request(1))
    await setup.say_up(post(body, b"/files/mcp", *headers))
    sent = setup.heard()
    assert sent[0] == b"POST /mcp HTTP/1.1"
    assert sent[1] == b"Host: up:8000"
    assert sent[2:-3] == [b"%b: %b" % field for field in headers]
    assert sent[-3:] == [b"Content-Length: %d" % len(body), b"", body]


@on_fake_time
async def test_headers_of_one_connection_stay_on_it() -> None:
    setup = Setup()
    await setup.ask(
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
    assert setup.heard() == [b"GET /mcp HTTP/1.1", b"Host: up:8000", b"Kept: yes", b"", b""]


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
    setup = Setup(**own)
    client = Client(setup.gateway)
    contexts = [TRACE, TRACE.replace("4bf9", "0000"), TRACE.replace("4bf9", "1111")]
    ups = []
    for context in contexts:
        fields = (*more, (name, context.encode()), (b"X-After", b"1"))
        client.say(post(encoded(request(1)), b"/files/mcp", *fields))
        await settle()
        ups.append(b"\r\n".join(setup.heard()))
        setup.say(ANSWER)
        await settle()
    theirs = (b"\r\n%b: " % name) + TRACE.encode() + b"\r\nX-After: 1"
    for context, up in zip(contexts, ups, strict=True):
        assert up == ups[0].replace(theirs, theirs.replace(TRACE.encode(), context.encode()))
    assert (theirs in ups[0]) is (not own and (b"Connection", b"traceparent") not in more)
    assert b"X-After: 1" in ups[0]
    pieces, _ = setup.telemetry.metrics.exposition().render("application/openmetrics-text")
    assert f'trace_id="{contexts[-1][3:35]}"' in b"".join(pieces).decode()


@on_fake_time
async def test_configured_headers_replace_those_of_the_client() -> None:
    setup = Setup(Authorization="Bearer own", X_Extra="ä")
    await setup.ask(b"GET", b"/files/mcp", b"authorization: Bearer theirs", b"AUTHORIZATION: two")
    assert setup.heard()[2:-2] == [b"Authorization: Bearer own", b"X-Extra: \xe4"]


@on_fake_time
async def test_a_configured_host_replaces_that_of_the_url() -> None:
    setup = Setup(Host="virtual.example")
    await setup.ask()
    assert setup.heard() == [b"GET /mcp HTTP/1.1", b"Host: virtual.example", b"", b""]


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
    setup = Setup()
    await setup.ask(b"GET", b"/files/mcp", *given)
    assert setup.heard()[2:-2] == sent


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
    setup = Setup(url)
    await setup.ask(b"GET", b"/files/mcp" + query)
    assert setup.heard()[0] == b"GET %b HTTP/1.1" % target


@on_fake_time
async def test_an_expectation_is_met_here_and_not_passed_on() -> None:
    setup = Setup()
    text = post(b'{"id":1,"method":"ping"}', b"/files/mcp", (b"Expect", b"100-continue"))
    await setup.say_up(text)
    assert not any(line.lower().startswith(b"expect") for line in setup.heard())


@on_fake_time
async def test_an_empty_post_is_refused_before_it_goes_up() -> None:
    setup = Setup()
    assert (await setup.say_up(post(b""))).reply.status == 400
    assert setup.connections == []


@on_fake_time
async def test_one_connection_serves_request_after_request() -> None:
    setup = Setup()
    for _ in range(3):
        await setup.say_up(post(request(1)))
        setup.say(OK.replace(b"{}", b"[]"))
    assert len(setup.connections) == 1


@on_fake_time
async def test_a_connection_is_not_kept_longer_than_servers_keep_theirs() -> None:
    setup = Setup()
    await setup.ask()
    setup.say(OK)
    await asyncio.sleep(7)
    assert setup.connections[0].is_closing()
    await setup.upstream.close()


@on_fake_time
async def test_the_challenge_of_a_server_points_to_the_exporter() -> None:
    setup = Setup()
    client = await setup.ask()
    challenge = b'Bearer resource_metadata="http://up:8000%b/mcp", scope="a"' % WELL_KNOWN
    setup.say(
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nWWW-Authenticate: %b\r\n\r\n"
        % challenge
    )
    assert client.reply.status == 401
    assert client.reply.header(b"WWW-Authenticate") == (
        b'Bearer resource_metadata="http://localhost:6279%b/files/mcp", scope="a"' % WELL_KNOWN
    )


@on_fake_time
async def test_the_metadata_of_a_server_speaks_of_the_exporter() -> None:
    setup = Setup()
    client = await setup.ask(b"GET", WELL_KNOWN + b"/files/mcp")
    assert setup.heard()[0] == b"GET %b/mcp HTTP/1.1" % WELL_KNOWN
    body = b'{"resource":"http://up:8000/mcp","x": 1.0}'
    setup.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert client.reply.body == b'{"resource":"http://localhost:6279/files/mcp","x":1.0}'
    assert setup.telemetry.outcomes() == {}


@on_fake_time
async def test_draining_ends_streams_and_lets_requests_finish() -> None:
    setup = Setup()
    stream = await setup.ask()
    setup.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n")
    waiting = await setup.ask()
    listening = await setup.say_up(post(request(2, "subscriptions/listen")))
    client = await setup.say_up(post(request(1)))
    setup.upstream.drain()
    await settle()
    assert stream.reply.is_complete
    assert waiting.is_closing()
    assert listening.is_closing()
    assert setup.upstream.is_busy
    body = encoded(result(1))
    setup.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert client.reply.json == result(1)
    assert not setup.upstream.is_busy
    assert setup.telemetry.outcomes() == {"ok": 1, "client_gone": 1}
    await setup.upstream.close()


@on_fake_time
async def test_closing_answers_what_waits_and_leaves_no_connection() -> None:
    setup = Setup()
    client = await setup.say_up(post(request(1)))
    initialize = await setup.say_up(post(request(0, "initialize")))
    body = encoded(result(0))
    setup.say(
        b"HTTP/1.1 200 OK\r\nMcp-Session-Id: s\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert initialize.reply.status == 200
    await setup.upstream.close()
    await settle()
    assert client.reply.status == 502
    assert "the exporter is stopping" in client.reply.json["error"]["message"]
    assert all(connection.is_closing() for connection in setup.connections)
    assert setup.telemetry.outcomes() == {"ok": 1, "upstream_error": 1}
    assert setup.telemetry.in_flight == 0
    assert setup.telemetry.value("mcp_sessions") == 0


@pytest.mark.parametrize("name", [b"traceparent", b"TraceParent"])
@pytest.mark.parametrize("propagates", [True, False])
@on_fake_time
async def test_with_propagate_sixteen_digits_differ(name: bytes, propagates: bool) -> None:
    """Whether the head was seen before, or is one that is never kept (``TraceParent``)."""
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics, propagate=propagates)
    client = Client(setup.gateway)
    bodies = [request(1), request(1, _meta={"traceparent": TRACE})]
    for body in (bodies[0], bodies[0], bodies[1]):
        sent = encoded({**body, "method": "tools/list"})
        client.say(post(sent, b"/files/mcp", (name, TRACE.encode()), (b"X-After", b"1")))
        await settle()
        up = b"\r\n".join(setup.heard())
        setup.say(ANSWER)
        await settle()
        server = kept.told if propagates else TRACE[36:52]
        told = TRACE.replace(TRACE[36:52], server).encode()
        is_in_body = body is bodies[1]
        assert b"%b: %b\r\nX-After: 1" % (name, TRACE.encode() if is_in_body else told) in up
        assert up.endswith(b"\r\n" + (sent.replace(TRACE.encode(), told) if is_in_body else sent))
        assert (server == TRACE[36:52]) is not propagates
    assert [each.parent_id for each in kept.records] == [TRACE[36:52]] * 3

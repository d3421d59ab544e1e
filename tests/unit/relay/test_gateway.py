"""Who is let in, where to, and what the others are told."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from exporter.config.limits import Bounds
from exporter.protocol.jsonrpc import Message
from exporter.relay.gateway import Gateway
from exporter.relay.tokens import Tokens
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.http.origin import LOCAL, OriginPolicy
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.request import Request
from tests.support.fakes import (
    Downstream,
    Reply,
    Telemetry,
    error,
    notification,
    on_fake_time,
    post,
    request,
    result,
    settle,
)

LIMITS = ListenerLimits(head_bytes=2000, body_bytes=500)


class FakeUpstream:
    """Keeps what reaches it."""

    places = frozenset({"mcp"})
    methods: tuple[bytes, ...] = (b"POST", b"GET", b"DELETE")

    def __init__(self, recorder: ServerRecorder) -> None:
        self.recorder = recorder
        self.handled: list[tuple[Request, Sequence[Message]]] = []
        self.described: list[Request] = []
        self.session_count = self.child_count = 0
        self.spare: list[str] = []
        self.is_slow = False

    def end_idle_session(self) -> bool:
        return "session" in self.spare

    def free_child(self) -> bool:
        return "child" in self.spare

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        self.handled.append((request, messages))
        if not self.is_slow:
            request.respond(200, b"ok", b"text/plain")

    def describe(self, request: Request) -> None:
        self.described.append(request)
        if not self.is_slow:
            request.respond(200, b"{}", b"application/json")


class Setup:
    """A gateway in front of some servers."""

    def __init__(self, *names: str, origins: OriginPolicy = LOCAL) -> None:
        self.telemetry = Telemetry()
        self.gateway = Gateway(self.telemetry.metrics, origins)
        self.upstreams = {}
        for name in names or ("files",):
            recorder = ServerRecorder(self.telemetry.metrics, name, "http")
            self.upstreams[name] = FakeUpstream(recorder)
            self.gateway.add(name, self.upstreams[name])

    def say(self, text: bytes) -> Reply:
        client = Downstream(self.gateway, LIMITS)
        client.say(text)
        (reply,) = client.replies()
        assert reply.is_complete
        return reply

    def ask(self, path: bytes = b"/files/mcp", method: bytes = b"GET", **headers: bytes) -> Reply:
        fields = {"Host": b"localhost:6279", **headers}
        lines = [b"%b %b HTTP/1.1" % (method, path)]
        lines += [b"%b: %b" % (name.encode(), value) for name, value in fields.items() if value]
        return self.say(b"\r\n".join([*lines, b"", b""]))

    def rejected(self, reason: str) -> float | None:
        return self.telemetry.own("mcp_exporter_rejected_requests_total", reason=reason)

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.telemetry.outcomes())


# Ways in


@on_fake_time
async def test_each_server_is_at_its_own_path() -> None:
    setup = Setup("files", "notes")
    for name in ("files", "notes"):
        path = b"/%b/mcp?x=1" % name.encode()
        assert setup.say(post(request(1), path)).body == b"ok"
        ((reached, messages),) = setup.upstreams[name].handled
        assert reached.query == b"x=1"
        assert [message.method for message in messages] == ["ping"]
    assert setup.outcomes == {}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("my server", b"/my%20server/mcp"),
        ("a/b", b"/a%2Fb/mcp"),
        ("a/b", b"/a/b/mcp"),
        ("ü", b"/%C3%BC/mcp"),
        ("mcp", b"/mcp/mcp"),
        ("plain", b"/%70lain/mcp"),
        ("plain", b"/plain/mcp/"),
    ],
)
@on_fake_time
async def test_a_name_may_be_escaped(name: str, path: bytes) -> None:
    setup = Setup(name)
    assert setup.ask(path).status == 200
    assert len(setup.upstreams[name].handled) == 1


@pytest.mark.parametrize("method", [b"GET", b"DELETE"])
@on_fake_time
async def test_a_stream_and_an_end_have_no_messages(method: bytes) -> None:
    setup = Setup()
    assert setup.ask(method=method).status == 200
    ((_, messages),) = setup.upstreams["files"].handled
    assert messages == ()


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (request(1), 1),
        ([request(1), notification("x")], 2),
        (notification("x"), 1),
        (result(1), 1),
        (error(None), 1),
        ({"unknown": True}, 1),
        (b'{"id":1,"method":"x","params":{"a":"\\ud800"}}', 1),
    ],
)
@on_fake_time
async def test_every_message_is_passed_on_with_what_it_says(body: object, count: int) -> None:
    setup = Setup()
    assert setup.say(post(body)).status == 200
    ((_, messages),) = setup.upstreams["files"].handled
    assert len(messages) == count


@on_fake_time
async def test_a_compressed_body_is_passed_on_unread() -> None:
    setup = Setup()
    assert setup.say(post(b"\x1f\x8b", b"/files/mcp", (b"Content-Encoding", b"gzip"))).status == 200
    ((_, messages),) = setup.upstreams["files"].handled
    assert messages == ()


@pytest.mark.parametrize("coding", [b"identity", b" Identity", b""])
@on_fake_time
async def test_a_body_that_says_that_it_is_not_compressed_is_read(coding: bytes) -> None:
    setup = Setup()
    setup.say(post(request(1), b"/files/mcp", (b"Content-Encoding", coding)))
    ((_, messages),) = setup.upstreams["files"].handled
    assert [message.method for message in messages] == ["ping"]


@on_fake_time
async def test_the_oauth_metadata_of_a_server_is_beside_its_path() -> None:
    setup = Setup()
    path = b"/.well-known/oauth-protected-resource/files/mcp"
    assert setup.ask(path).body == b"{}"
    assert len(setup.upstreams["files"].described) == 1
    assert setup.ask(path.replace(b"files", b"other")).status == 404


# Refusals


@on_fake_time
async def test_an_unknown_server_is_named_with_those_that_are_known() -> None:
    setup = Setup("files", "notes")
    reply = setup.say(post(request(1), b"/fi%20les/mcp"))
    assert reply.status == 404
    assert reply.json["id"] is None
    assert reply.json["error"]["code"] == -32600
    assert "no server 'fi les'" in reply.json["error"]["message"]
    assert "files, notes" in reply.json["error"]["message"]
    assert setup.rejected("unknown_server") == 1
    labels = {"server": "_other", "method": "_other", "outcome": "rejected"}
    assert setup.telemetry.value("mcp_requests_total", **labels) == 1


@pytest.mark.parametrize(
    "path",
    [
        *(b"/", b"/files", b"/mcp", b"//mcp", b"/files/mcp//", b"/files/mcp/x", b"*", b"/%FF/mcp"),
        *(b"/files/MCP", b"/files/mcpx", b"/files/sse"),
    ],
)
@on_fake_time
async def test_any_other_path_is_told_where_servers_are(path: bytes) -> None:
    setup = Setup()
    method = b"OPTIONS" if path == b"*" else b"GET"
    reply = setup.ask(path, method)
    assert reply.status == 404
    assert "/NAME/mcp" in reply.json["error"]["message"]
    assert setup.rejected("unknown_path") == 1


@pytest.mark.parametrize(
    "path",
    [
        b"/.well-known/oauth-protected-resource",
        b"/.well-known/oauth-protected-resource/nobody/mcp",
        b"/.well-known/oauth-authorization-server",
        b"/.well-known/openid-configuration/files/mcp",
        b"/files/mcp/.well-known/openid-configuration",
        b"/register",
    ],
)
@on_fake_time
async def test_a_client_that_looks_around_at_its_start_does_not_seem_to_try_doors(
    path: bytes,
) -> None:
    for setup, status in ((Setup(), 404), (guarded(), 401)):
        assert setup.ask(path).status == status
        assert setup.rejected("discovery") == 1
        assert setup.outcomes == {"rejected": 1}


@pytest.mark.parametrize("method", [b"PUT", b"PATCH", b"OPTIONS", b"TRACE"])
@on_fake_time
async def test_another_method_is_told_which_are_served(method: bytes) -> None:
    setup = Setup()
    reply = setup.ask(method=method)
    assert reply.status == 405
    assert reply.header(b"Allow") == b"POST, GET, DELETE"
    assert reply.json["error"]["code"] == -32600
    assert setup.rejected("bad_method") == 1
    assert setup.outcomes == {"rejected": 1}


@on_fake_time
async def test_head_is_rejected_without_a_body() -> None:
    client = Downstream(Setup().gateway)
    client.say(b"HEAD /files/mcp HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.sent.startswith(b"HTTP/1.1 405")
    assert client.sent.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"{", b'{"id":1', b"[{}", b"\xff\xfe", b"\xef\xbb\xbf", b"[" * 500]
)
@on_fake_time
async def test_a_body_that_is_not_json_is_a_parse_error(body: bytes) -> None:
    setup = Setup()
    reply = setup.say(post(body))
    assert reply.status == 400
    assert (reply.json["id"], reply.json["error"]["code"]) == (None, -32700)
    assert "not JSON" in reply.json["error"]["message"]
    assert setup.rejected("not_json") == 1
    labels = {"method": "_other", "outcome": "rejected"}
    assert setup.telemetry.value("mcp_requests_total", **labels) == 1
    assert setup.upstreams["files"].handled == []


@pytest.mark.parametrize("body", [b"5", b"null", b'"text"', b"[]", b"[1, 2]", b" [null] "])
@on_fake_time
async def test_json_that_is_no_message_is_an_invalid_request(body: bytes) -> None:
    setup = Setup()
    reply = setup.say(post(body))
    assert reply.status == 400
    assert reply.json["error"]["code"] == -32600
    assert setup.rejected("not_jsonrpc") == 1


@pytest.mark.parametrize(
    ("text", "status", "reason"),
    [
        (
            b"POST /files/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 501\r\n\r\n",
            413,
            "body_too_large",
        ),
        (
            b"GET /files/mcp HTTP/1.1\r\nHost: localhost\r\nA: " + b"x" * 2000 + b"\r\n\r\n",
            431,
            "head_too_large",
        ),
        (
            b"GET /files/mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
            400,
            "bad_request",
        ),
    ],
)
@on_fake_time
async def test_what_breaks_a_limit_is_a_json_rpc_error_too(
    text: bytes, status: int, reason: str
) -> None:
    setup = Setup()
    reply = setup.say(text)
    assert reply.status == status
    assert reply.header(b"Content-Type") == b"application/json"
    assert reply.json["error"]["code"] == -32600
    assert setup.rejected(reason) == 1
    labels = {"method": "_other", "outcome": "rejected"}
    if status != 431:
        assert setup.telemetry.value("mcp_requests_total", **labels) == 1


# Origin and Host


@pytest.mark.parametrize(
    "host",
    [
        *(b"localhost", b"localhost:6279", b"LOCALHOST:1", b"127.0.0.1:6279", b"127.1.2.3"),
        *(b"[::1]:6279", b"[::1]", b"files.localhost:80"),
    ],
)
@on_fake_time
async def test_a_loopback_listener_is_addressed_by_a_loopback_name(host: bytes) -> None:
    assert Setup().ask(Host=host).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(b"evil.example", b"evil.example:6279", b"localhost.evil.example", b"192.0.2.1:6279"),
        *(b"0.0.0.0:6279", b"[::2]:6279", b"127.0.0.1.evil.example", b":6279"),
    ],
)
@on_fake_time
async def test_a_name_that_was_rebound_to_loopback_is_rejected(host: bytes) -> None:
    setup = Setup()
    reply = setup.ask(Host=host)
    assert reply.status == 403
    assert "Host or Origin" in reply.json["error"]["message"]
    assert setup.rejected("bad_origin") == 1
    assert setup.upstreams["files"].handled == []


@pytest.mark.parametrize(
    "origin",
    [b"http://localhost", b"http://localhost:3000", b"https://127.0.0.1:1", b"http://[::1]"],
)
@on_fake_time
async def test_a_page_of_this_machine_is_let_in(origin: bytes) -> None:
    assert Setup().ask(Origin=origin).status == 200


FOREIGN = [
    *(b"http://evil.example", b"null", b"https://localhost.evil.example", b"file://"),
    *(b"chrome-extension://abc", b"http://[", b"localhost", b"http://user@evil.example:80"),
]


@pytest.mark.parametrize("origin", FOREIGN)
@on_fake_time
async def test_a_foreign_page_is_rejected_before_it_learns_anything(origin: bytes) -> None:
    setup = Setup()
    for path in (b"/files/mcp", b"/unknown/mcp", b"/"):
        reply = setup.ask(path, Origin=origin)
        assert reply.status == 403
        assert b"files" not in reply.body
    assert setup.rejected("bad_origin") == 3


@on_fake_time
async def test_behind_a_token_any_host_is_served_and_a_page_of_that_host() -> None:
    setup = Setup(origins=OriginPolicy(is_loopback=False, is_guarded=True))
    assert setup.ask(Host=b"mcp.example:6279").status == 200
    assert setup.ask(Host=b"mcp.example:6279", Origin=b"https://mcp.example").status == 200
    for origin in FOREIGN:
        assert setup.ask(Host=b"mcp.example", Origin=origin).status == 403


@on_fake_time
async def test_an_old_client_without_host_is_served() -> None:
    setup = Setup()
    assert setup.say(b"GET /files/mcp HTTP/1.0\r\n\r\n").status == 200


# Changes


@on_fake_time
async def test_servers_come_and_go() -> None:
    setup = Setup("files", "notes")
    setup.gateway.remove("files")
    setup.gateway.remove("never")
    assert setup.ask(b"/files/mcp").status == 404
    assert setup.ask(b"/notes/mcp").status == 200
    setup.gateway.add("files", setup.upstreams["files"])
    assert setup.ask(b"/files/mcp").status == 200


# Tokens

TOKEN = b"0123456789abcdef"
BEARER = b"Bearer " + TOKEN


def guarded(*names: str) -> Setup:
    setup = Setup(*names)
    setup.gateway.tokens = Tokens({"laptop": TOKEN.decode(), "other": "f" * 16})
    return setup


@pytest.mark.parametrize(
    "header", [b"", b"Bearer wrong-wrong-wrong", b"Basic " + TOKEN, TOKEN, b"Bearer"]
)
@pytest.mark.parametrize("path", [b"/files/mcp", b"/nobody/mcp", b"/", b"/files/sse"])
@on_fake_time
async def test_without_a_token_nothing_is_served_and_nothing_told(
    header: bytes, path: bytes
) -> None:
    setup = guarded()
    reply = setup.say(post(request(1), path, (b"Authorization", header)))
    assert reply.status == 401
    assert reply.header(b"www-authenticate") == b'Bearer realm="mcp-exporter"'
    assert reply.json["error"]["code"] == -32600
    assert "wants a bearer token" in reply.json["error"]["message"]
    assert b"files" not in reply.body
    assert setup.rejected("unauthorized") == 1
    assert setup.outcomes == {"rejected": 1}
    assert setup.upstreams["files"].handled == []


@pytest.mark.parametrize("method", [b"GET", b"DELETE", b"OPTIONS", b"PUT"])
@on_fake_time
async def test_every_method_wants_a_token(method: bytes) -> None:
    assert guarded().ask(method=method).status == 401


@on_fake_time
async def test_a_token_lets_in_and_goes_no_further() -> None:
    setup = guarded()
    for number, bearer in enumerate((BEARER, b"bearer " + b"f" * 16)):
        reply = setup.say(
            post(request(number), b"/files/mcp", (b"Authorization", bearer), (b"X-Other", b"kept"))
        )
        assert reply.status == 200
        reached = setup.upstreams["files"].handled[-1][0]
        assert b"authorization" not in {name.lower() for name, _ in reached.headers}
        assert (b"X-Other", b"kept") in reached.headers
    assert setup.outcomes == {}


@on_fake_time
async def test_without_tokens_of_its_own_the_header_is_the_servers() -> None:
    setup = Setup()
    setup.say(post(request(1), b"/files/mcp", (b"Authorization", BEARER)))
    assert (b"Authorization", BEARER) in setup.upstreams["files"].handled[0][0].headers


@on_fake_time
async def test_new_tokens_count_from_the_next_request_on() -> None:
    setup = guarded()
    client = Downstream(setup.gateway, LIMITS)
    client.say(post(request(1), b"/files/mcp", (b"Authorization", BEARER)))
    setup.gateway.tokens = Tokens({"new": "g" * 16})
    client.say(post(request(2), b"/files/mcp", (b"Authorization", BEARER)))
    client.say(post(request(3), b"/files/mcp", (b"Authorization", b"Bearer " + b"g" * 16)))
    assert [reply.status for reply in client.replies()] == [200, 401, 200]


PREFLIGHT = {
    "Origin": b"http://localhost:8080",
    "Access-Control-Request-Method": b"POST",
    "Access-Control-Request-Headers": b"authorization, mcp-protocol-version",
}


@pytest.mark.parametrize("path", [b"/files/mcp", b"/nobody/mcp", b"/files/other/mcp", b"/", b"*"])
@pytest.mark.parametrize("methods", [(b"POST",), (b"POST", b"OPTIONS")])
@on_fake_time
async def test_a_browser_may_ask_without_a_token_what_it_may_send_and_learns_nothing_else(
    path: bytes, methods: tuple[bytes, ...]
) -> None:
    setup = guarded()
    setup.upstreams["files"].methods = methods
    reply = setup.ask(path, b"OPTIONS", **PREFLIGHT)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.header(b"access-control-allow-origin") == b"http://localhost:8080"
    allowed = reply.header(b"access-control-allow-headers")
    assert allowed == b"authorization, mcp-protocol-version"
    assert reply.header(b"access-control-allow-methods") == b"POST, GET, DELETE"
    assert setup.upstreams["files"].handled == []
    foreign = setup.ask(path, b"OPTIONS", **{**PREFLIGHT, "Origin": b"http://evil.example"})
    assert foreign.status == 403
    assert foreign.header(b"access-control-allow-origin") is None


@on_fake_time
async def test_without_tokens_a_server_that_serves_preflights_answers_its_own() -> None:
    setup = Setup()
    assert setup.ask(method=b"OPTIONS", **PREFLIGHT).status == 204
    setup.upstreams["files"].methods = (b"POST", b"OPTIONS")
    assert setup.ask(method=b"OPTIONS", **PREFLIGHT).body == b"ok"


@on_fake_time
async def test_a_page_that_is_let_in_may_read_what_the_exporter_itself_says() -> None:
    setup = guarded("files")
    page = (b"Origin", b"http://localhost:8080")
    client = Downstream(setup.gateway)
    for fields in ((page,), (page, (b"Authorization", BEARER)), (page, (b"Authorization", BEARER))):
        client.say(post(request(1), b"/files/mcp", *fields))
    client.say(b"nonsense\r\n\r\n")
    replies = client.replies()
    assert [reply.status for reply in replies] == [401, 200, 200, 400]
    for reply in replies[:3]:
        assert reply.header(b"access-control-allow-origin") == page[1]
        assert b"Mcp-Session-Id" in (reply.header(b"access-control-expose-headers") or b"")
        assert reply.header(b"vary") == b"Origin"
    assert replies[3].header(b"access-control-allow-origin") is None
    foreign = setup.ask(Origin=b"http://evil.example")
    assert foreign.header(b"access-control-allow-origin") is None


@on_fake_time
async def test_the_servers_oauth_is_not_announced_where_the_token_is_the_exporters() -> None:
    setup = guarded()
    path = b"/.well-known/oauth-protected-resource/files/mcp"
    assert setup.ask(path).status == 401
    reply = setup.ask(path, Authorization=BEARER)
    assert reply.status == 404
    assert "there is no OAuth behind it" in reply.json["error"]["message"]
    assert setup.upstreams["files"].described == []


@on_fake_time
async def test_a_foreign_page_is_rejected_before_its_token_is_looked_at() -> None:
    setup = guarded()
    reply = setup.ask(Origin=b"http://evil.example", Authorization=BEARER)
    assert reply.status == 403
    assert setup.rejected("bad_origin") == 1


# Heads that were seen before


@on_fake_time
async def test_a_head_finds_its_server_again_until_the_servers_change() -> None:
    setup = Setup("files", "mail")
    client = Downstream(setup.gateway)

    def status() -> int:
        client.say(post(request(1)))
        return client.replies()[-1].status

    assert [status() for _ in range(3)] == [200, 200, 200]
    setup.gateway.remove("files")
    assert [status() for _ in range(2)] == [404, 404]
    setup.gateway.add("files", setup.upstreams["files"])
    assert [status() for _ in range(2)] == [200, 200]
    assert len(setup.upstreams["files"].handled) == 5


@on_fake_time
async def test_a_known_head_does_not_excuse_a_body() -> None:
    setup = Setup()
    client = Downstream(setup.gateway)
    good = post(request(1))
    client.say(good)
    client.say(good[:-1] + b"!")
    assert [reply.status for reply in client.replies()] == [200, 400]


@on_fake_time
async def test_a_rejected_head_is_rejected_again() -> None:
    setup = Setup()
    client = Downstream(setup.gateway)
    evil = post(request(1), b"/files/mcp", (b"Origin", b"http://evil.example"))
    client.say(evil)
    client.say(evil)
    assert [reply.status for reply in client.replies()] == [403, 403]
    assert setup.upstreams["files"].handled == []


@on_fake_time
async def test_a_token_goes_no_further_though_its_head_is_known() -> None:
    setup = guarded()
    client = Downstream(setup.gateway)
    good = post(request(1), b"/files/mcp", (b"Authorization", BEARER))
    for text in (good[:-1] + b"!", good, good):
        client.say(text)
    assert [reply.status for reply in client.replies()] == [400, 200, 200]
    setup.gateway.tokens = None
    client.say(good)
    handled = [request for request, _ in setup.upstreams["files"].handled]
    sent = [dict(request.headers).get(b"Authorization") for request in handled]
    assert sent == [None, None, BEARER]
    setup.gateway.tokens = Tokens({"new": "g" * 16})
    client.say(good)
    assert client.replies()[-1].status == 401


# Limits

LISTEN = request("l", "subscriptions/listen")
INITIALIZE = request(7, "initialize")


def bounded(**limits: int) -> Setup:
    setup = Setup("files", "notes")
    setup.gateway.admission.apply(Bounds(**limits))
    return setup


def assert_refused(setup: Setup, reply: Reply, limit: str, identity: object) -> None:
    assert reply.status == 503
    assert reply.header(b"retry-after") == b"1"
    assert reply.json["id"] == identity
    assert reply.json["error"]["code"] == -32000
    assert f"limits.{limit} is 1; try again later" in reply.json["error"]["message"]
    assert setup.rejected(f"too_many_{limit.partition('_')[0]}") == 1
    assert setup.outcomes == {"rejected": 1}


@pytest.mark.parametrize(
    ("limit", "path"), [("requests_per_server", b"/files/mcp"), ("requests_total", b"/notes/mcp")]
)
@pytest.mark.parametrize("end", ["reply", "abort", "leave"])
@on_fake_time
async def test_requests_in_flight_are_bounded(limit: str, path: bytes, end: str) -> None:
    setup = bounded(**{limit: 1})
    files = setup.upstreams["files"]
    files.is_slow = True
    first = Downstream(setup.gateway, LIMITS)
    first.say(post(request(1)))
    assert_refused(setup, setup.say(post(request(2), path)), limit, 2)
    served = files.handled[0][0]
    if end == "reply":
        served.respond(200, b"", b"")
    elif end == "abort":
        served.response.abort()
    else:
        first.abort()
    await settle()
    setup.upstreams["notes"].is_slow = files.is_slow = False
    assert setup.say(post(request(3), path)).status == 200
    assert setup.gateway.admission.of("files").requests.own.taken == 0
    assert setup.gateway.admission.of("files").requests.total.taken == 0


@pytest.mark.parametrize("limit", ["streams_per_server", "streams_total"])
@on_fake_time
async def test_streams_are_bounded_and_leave_room_for_calls(limit: str) -> None:
    setup = bounded(**{limit: 1})
    setup.upstreams["files"].is_slow = True
    listening = Downstream(setup.gateway, LIMITS)
    listening.say(post(LISTEN))
    assert_refused(setup, setup.ask(), limit, None)
    setup.upstreams["files"].is_slow = False
    assert setup.say(post(request(3))).status == 200
    listening.abort()
    await settle()
    assert setup.ask().status == 200


@pytest.mark.parametrize(
    ("limit", "count"),
    [
        ("sessions_per_server", "session_count"),
        ("children_per_server", "child_count"),
    ],
)
@on_fake_time
async def test_sessions_are_bounded_and_those_that_live_go_on(limit: str, count: str) -> None:
    setup = bounded(**{limit: 1})
    setattr(setup.upstreams["files"], count, 1)
    assert_refused(setup, setup.say(post(INITIALIZE)), limit, 7)
    assert setup.say(post(request(8))).status == 200
    assert setup.say(post(INITIALIZE, b"/notes/mcp")).status == 200
    setup.upstreams["files"].spare = [count.partition("_")[0]]
    assert setup.say(post(INITIALIZE)).status == 200, "another one ends for it"
    setup.upstreams["files"].spare = []
    setattr(setup.upstreams["files"], count, 0)
    assert setup.say(post(INITIALIZE)).status == 200
    assert setup.gateway.admission.of("files").requests.own.taken == 0


@on_fake_time
async def test_a_request_for_metadata_takes_a_place() -> None:
    setup = bounded(requests_per_server=1)
    path = b"/.well-known/oauth-protected-resource/files/mcp"
    setup.upstreams["files"].is_slow = True
    waiting = Downstream(setup.gateway, LIMITS)
    waiting.say(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
    assert_refused(setup, setup.ask(path), "requests_per_server", None)
    waiting.abort()
    await settle()
    setup.upstreams["files"].is_slow = False
    assert setup.ask(path).status == 200


@on_fake_time
async def test_a_server_that_is_removed_takes_its_limits_along() -> None:
    setup = bounded(requests_per_server=1)
    setup.upstreams["files"].is_slow = True
    Downstream(setup.gateway, LIMITS).say(post(request(1)))
    setup.gateway.remove("files")
    setup.gateway.add("files", setup.upstreams["files"])
    setup.upstreams["files"].is_slow = False
    assert setup.say(post(request(2))).status == 200


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        (b"mcp.example", b"", 200),
        (b"mcp.example:443", b"https://mcp.example", 200),
        (b"localhost:6279", b"https://mcp.example", 200),
        (b"other.example", b"", 403),
        (b"mcp.example", b"https://other.example", 403),
        (b"mcp.example.other", b"", 403),
    ],
)
@on_fake_time
async def test_a_name_that_leads_here_is_ours_too(host: bytes, origin: bytes, status: int) -> None:
    setup = Setup(origins=OriginPolicy(is_loopback=True, hosts=frozenset({"mcp.example"})))
    assert setup.ask(Host=host, Origin=origin).status == status


# Large bodies

WAITS = ListenerLimits(body_bytes=4 * 1024 * 1024)


def begin(setup: Setup, *headers: tuple[bytes, bytes], method: bytes = b"POST") -> Downstream:
    """A client that has sent the head of a large request, and no body."""
    client = Downstream(setup.gateway, WAITS)
    lines = [method + b" /files/mcp HTTP/1.1", b"Host: localhost"]
    lines += [b"%b: %b" % each for each in headers]
    client.say(b"\r\n".join([*lines, b"", b""]))
    return client


@pytest.mark.parametrize(
    "framing", [(b"Content-Length", b"1000000"), (b"Transfer-Encoding", b"chunked")]
)
@on_fake_time
async def test_a_strangers_large_body_is_not_waited_for(framing: tuple[bytes, bytes]) -> None:
    setup = guarded()
    (reply,) = begin(setup, framing).replies()
    assert (reply.status, reply.header(b"connection")) == (401, b"close")
    assert reply.header(b"www-authenticate") is not None
    preflight = (b"Access-Control-Request-Method", b"POST")
    (reply,) = begin(setup, framing, preflight, method=b"OPTIONS").replies()
    assert reply.status == 401
    (reply,) = begin(setup, framing, (b"Origin", b"http://evil.example")).replies()
    assert reply.status == 403
    assert (setup.rejected("unauthorized"), setup.rejected("bad_origin")) == (2, 1)
    assert begin(setup, framing, (b"Authorization", BEARER)).replies() == []


@on_fake_time
async def test_a_stranger_who_expects_to_go_on_is_not_asked_to() -> None:
    length = (b"Content-Length", b"1000000")
    expects = (b"Expect", b"100-continue")
    (reply,) = begin(guarded(), length, expects).replies()
    assert reply.status == 401
    welcome = begin(guarded(), length, expects, (b"Authorization", BEARER))
    assert welcome.sent.startswith(b"HTTP/1.1 100")

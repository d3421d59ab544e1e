"""Byte for byte: what leaves the server is what reaches the client, and the other way round.

With spans that holds as well, and where servers are told of them but for 16 digits of a context.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support import raw_server
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.raw_client import (
    ACCEPTED,
    LEGACY,
    MODERN,
    PATIENCE,
    Reply,
    ask,
    dial,
    legacy,
    modern,
    open_reply,
    open_session,
    sent,
)
from tests.support.raw_server import RawServer, Received, chunks, cut, head, whole
from tests.support.running import wait_for
from tests.support.trace_receiver import receiving

JSON = "Content-Type: application/json"
EVENTS = "Content-Type: text/event-stream; charset=utf-8"
CHUNKED = "Transfer-Encoding: chunked"
MEGABYTE = 1024 * 1024

RESULTS = {
    "odd numbers": rb'{"n":[1e400,-0,-0.0,1.0,12345678901234567890,1E+5,0.1e-7,2.50]}',
    "escapes": rb'{"t":"\/ \u00e9 \u0000 \ud800 \ud83d\ude00 \n","\u0061":"\\"}',
    "unknown members": b'{"z":1,"a":{"b":null,"b":2},"_meta":{"x/y":[]},"isError":false}',
    "raw unicode": '{"t":"é 日本 😀 \u2028"}'.encode(),
    "odd blanks": b'{ \t"a" :\r\n\t1 ,"b":[ ] }',
}
IDS = [b"1", b'"1"', b"1.0", b"-0", b"12345678901234567890", rb'"\u0061\/"', b"null"]
MESSAGES = {
    **{name: b'{"jsonrpc":"2.0","id":1,"result":%b,"later":0}' % r for name, r in RESULTS.items()},
    **{f"id {i.decode()}": b'{"id":%b,"result":{},"jsonrpc":"2.0"}' % i for i in IDS},
    "an error with more": b'{"id":1,"error":{"code":-1.5,"message":"","why":1},"jsonrpc":"2.0"}',
    "a batch": b' [{"jsonrpc":"2.0","id":"1","result":{}} ,\r\n{"id":1,"result":{}}] ',
    "an empty batch": b"[]",
    "no JSON": b'{"jsonrpc":"2.0","id":1,"res',
    "no UTF-8": b'{"jsonrpc":"2.0","id":1,"result":{"t":"\xff\xfe"}}',
    "nothing": b"",
    "a blank": b"\r\n",
}
REQUESTS = {
    **{
        name: b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%b}' % params
        for name, params in RESULTS.items()
    },
    **{f"id {i.decode()}": b'{"id":%b,"method":"ping","jsonrpc":"2.0"}' % i for i in IDS},
    "a batch": b'[{"jsonrpc":"2.0","id":"1","method":"ping"},\n{"jsonrpc":"2.0","method":"x/y"} ]',
    "a reply": b'{"jsonrpc":"2.0","id":"1","result":{"n":1e400}}',
}


CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACING: dict[str, dict[str, Any]] = {
    "without spans": {},
    "with spans": {"propagate": False},
    "with servers told": {"propagate": True},
}


@pytest.fixture(scope="module", params=TRACING, ids=lambda how: how.replace(" ", "-"))
def tracing(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The settings of ``tracing``, all others apart, and none without spans."""
    how = TRACING[request.param]
    with receiving() as receiver:
        yield {"tracing": {"endpoint": receiver.url, **how}} if how else {}


class Bench:
    """An exporter before a server whose replies each test writes itself."""

    def __init__(self, exporter: Exporter, server: RawServer, tracing: dict[str, Any]) -> None:
        self.exporter = exporter
        self.server = server
        self.url = exporter.url("raw")
        self._is_told = _is_told(tracing)

    def pass_on(self, *pieces: bytes, method: str = "POST", **headers: str) -> Reply:
        """What the client gets of such a reply."""
        self.server.script = lambda _: pieces
        body = CALL if method == "POST" else None
        return ask(self.url, body, {**ACCEPTED, **TRACED, **_fields(headers)}, method)

    def receive(self, body: bytes | None, method: str = "POST", **headers: str) -> Received:
        """What the server gets of such a request."""
        self.server.script = lambda _: whole(202, b"")
        fields = {**ACCEPTED, **TRACED, **_fields(headers)}
        assert ask(self.url, body, fields, method).status == 202
        (context,) = self.server.last.values(b"traceparent")
        assert (context[:36], context[52:]) == (CONTEXT[:36].encode(), CONTEXT[52:].encode())
        assert context == CONTEXT.encode() or self._is_told
        return self.server.last


def _is_told(tracing: dict[str, Any]) -> bool:
    return bool(tracing) and bool(tracing["tracing"]["propagate"])


CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"act"}}'
TRACED = {"traceparent": CONTEXT}


def _fields(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tracing: dict[str, Any]) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("fidelity")
    limits = {"request_bytes": 64 * MEGABYTE}
    with (
        raw_server.serving(lambda _: whole(202, b"")) as server,
        exporter(folder, {"raw": {"url": server.url}}, limits=limits, **tracing) as running,
    ):
        yield Bench(running, server, tracing)
        assert running.scrape().total("mcp_exporter_internal_errors_total") == 0
        recorded = running.scrape().total("mcp_exporter_spans_recorded_total")
        assert bool(recorded) is bool(tracing)


# Replies


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_a_reply_of_one_message_keeps_its_bytes(bench: Bench, message: bytes) -> None:
    sized = bench.pass_on(*whole(200, message, JSON))
    cut_up = bench.pass_on(head(200, CHUNKED, JSON), *chunks(cut(message, 1, 7)))
    assert (sized.body, cut_up.body) == (message, message)


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_an_event_keeps_its_bytes_wherever_chunks_are_cut(bench: Bench, message: bytes) -> None:
    # A line end within the data needs a `data:` of its own, which is the server's affair.
    event = b"id: 1\nevent: message\ndata: " + re.sub(rb"[\r\n]+", b" ", message) + b"\n\n"
    reply = bench.pass_on(head(200, CHUNKED, EVENTS), *chunks(cut(event, 2, 5)))
    assert reply.body == event


def test_pieces_smaller_than_the_head_of_a_reply_are_put_together(bench: Bench) -> None:
    wire = head(200, CHUNKED, JSON) + b"".join(chunks([b'{"jsonrpc":', b'"2.0"}']))
    reply = bench.pass_on(*cut(wire, 3, 3))
    assert reply.body == b'{"jsonrpc":"2.0"}'


@pytest.mark.parametrize("status", [200, 202, 400, 401, 403, 404, 405, 406, 409, 413, 421, 503])
@pytest.mark.parametrize("body", [b"", b"not for machines\n", MESSAGES["an error with more"]])
def test_a_status_arrives_with_its_reason_headers_and_body(
    bench: Bench, status: int, body: bytes
) -> None:
    fields = [
        "Mcp-Session-Id: a/b c~!",
        'WWW-Authenticate: Bearer error="insufficient_scope", scope="a  b"',
        "WWW-Authenticate: Basic realm=x",
        "Retry-After: 7",
        "ALLOW: POST, GET",
        "X-Accel-Buffering: no",
        "Mcp-Anything:   kept",
        "Cache-Control: no-cache, no-transform",
        "Set-Cookie: a=1; Path=/",
        "Set-Cookie: b=2",
        "X-Latin: caf\xe9",
        "X-Empty:",
    ]
    reply = bench.pass_on(*whole(status, body, JSON, *fields))
    assert (reply.status, reply.reason, reply.body) == (status, "Some Reason", body)
    given = [field.partition(":")[::2] for field in (f"Content-Length: {len(body)}", JSON, *fields)]
    assert reply.fields == [(name, value.strip()) for name, value in given]


def test_headers_of_one_connection_do_not_come_down(bench: Bench) -> None:
    fields = ["Connection: X-Private, keep-alive", "X-Private: 1", "Keep-Alive: timeout=5"]
    fields += ["Proxy-Authenticate: Basic", "Trailer: X-Sum", "Upgrade: h2c", "X-Public: 1"]
    reply = bench.pass_on(*whole(200, b"{}", JSON, *fields))
    names = {name.lower() for name, _ in reply.fields}
    assert names == {"content-length", "content-type", "x-public"}


def test_a_challenge_that_names_the_servers_metadata_names_the_exporters_instead(
    bench: Bench,
) -> None:
    origin = bench.server.url.removesuffix("/mcp")
    before, after = 'Bearer realm="a", resource_metadata="', '", scope="b"'
    there = f"{origin}/.well-known/oauth-protected-resource/mcp"
    reply = bench.pass_on(*whole(401, b"", f"WWW-Authenticate: {before}{there}{after}"))
    here = f"{bench.exporter.mcp}/.well-known/oauth-protected-resource/raw/mcp"
    assert reply.values("WWW-Authenticate") == [f"{before}{here}{after}"]


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"%b", mtime=0)),
        ("deflate", zlib.compress(b"%b")),
        ("gzip", b"not packed"),
    ],
)
def test_a_compressed_reply_stays_as_it_is(bench: Bench, coding: str, packed: bytes) -> None:
    fields = [f"Content-Encoding: {coding}", JSON, "Vary: Accept-Encoding"]
    sized = bench.pass_on(*whole(200, packed, *fields), Accept_Encoding="gzip, deflate")
    cut_up = bench.pass_on(head(200, CHUNKED, *fields), *chunks(cut(packed, 4, 3)))
    assert (sized.body, cut_up.body) == (packed, packed)
    assert cut_up.values("Content-Encoding") == [coding]


def test_a_compressed_reply_is_understood(bench: Bench) -> None:
    before = bench.exporter.scrape().outcomes("raw")
    packed = gzip.compress(b'{"jsonrpc":"2.0","id":1,"result":{"isError":true}}')
    bench.pass_on(*whole(200, packed, "Content-Encoding: gzip", JSON), Accept_Encoding="gzip")
    events = gzip.compress(b'data: {"jsonrpc":"2.0","id":1,"error":{"code":-32603}}\n\n')
    fields = ["Content-Encoding: gzip", EVENTS]
    bench.pass_on(*whole(200, events, *fields), Accept_Encoding="gzip")
    after = bench.exporter.scrape().outcomes("raw")
    assert after["tool_error"] == before.get("tool_error", 0) + 1
    assert after["protocol_error"] == before.get("protocol_error", 0) + 1


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("kind", [JSON, EVENTS])
def test_a_reply_that_ends_with_its_connection_arrives_whole(
    bench: Bench, version: str, kind: str
) -> None:
    body = b'data: {"jsonrpc":"2.0","id":1,"result":{}}\r\n\r\n: more\r\n' * 100
    start = head(200, kind, version=version)
    reply = bench.pass_on(start, *cut(body, 5, 400), raw_server.HANG_UP)
    assert reply.body == body


def test_a_client_of_http_1_0_gets_the_same_bytes(bench: Bench) -> None:
    body = MESSAGES["escapes"]
    bench.server.script = lambda _: [head(200, CHUNKED, JSON), *chunks(cut(body, 6, 9))]
    text = b"POST /raw/mcp HTTP/1.0\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(CALL)
    with dial(bench.exporter.host) as connection:
        connection.sendall(text + CALL)
        with connection.makefile("rb") as stream:
            start, _, rest = stream.read().partition(b"\r\n\r\n")
    assert rest == body
    assert b"chunked" not in start


# Large ones


def test_a_result_of_50_mb_arrives_whole_and_is_counted(bench: Bench) -> None:
    filler = Random(7).randbytes(MEGABYTE).hex().encode() * 25
    body = b'{"jsonrpc":"2.0","id":1,"result":{"t":"' + filler + b'"}}'
    assert len(body) > 50 * MEGABYTE
    unread = bench.exporter.scrape().total("mcp_exporter_unparsed_messages_total", server="raw")
    ok = bench.exporter.scrape().outcomes("raw").get("ok", 0)
    assert bench.pass_on(*whole(200, body, JSON)).body == body
    event = b"data: " + body + b"\n\n"
    assert bench.pass_on(head(200, CHUNKED, EVENTS), *chunks([event])).body == event
    after = bench.exporter.scrape()
    labels = {"server": "raw", "reason": "too_large"}
    assert after.total("mcp_exporter_unparsed_messages_total", **labels) >= 2
    assert after.total("mcp_exporter_unparsed_messages_total", server="raw") == unread + 2
    assert after.outcomes("raw")["ok"] == ok + 2


def test_a_request_of_50_mb_arrives_whole(bench: Bench) -> None:
    filler = Random(8).randbytes(MEGABYTE).hex().encode() * 25
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"t":"' + filler + b'"}}'
    assert bench.receive(body).body == body


def _events(count: int) -> bytes:
    random = Random(9)
    events = bytearray(b"\xef\xbb\xbf: the stream begins\r\n\r\n")
    for number in range(count):
        end = random.choice([b"\n", b"\r\n", b"\r"])
        lines = [b"id: %d" % number, b"event: message", b"retry: %d" % number, b": comment", b":"]
        lines += [b"unknown: field", b"unknown", b"id"]
        chosen = random.sample(lines, random.randint(0, 4))
        data = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"n":%d}}' % number
        half = random.randint(1, 20)
        chosen.append(b"data:" + data if number % 2 else b"data: " + data[:half])
        chosen += [] if number % 2 else [b"data: " + data[half:]]
        events += end.join(chosen) + end + end
    return bytes(events) + b'data: {"jsonrpc":"2.0","id":1,"result":{}}\n\n'


@pytest.mark.parametrize("longest", [1200, 60_000])
def test_ten_thousand_events_keep_their_bytes(bench: Bench, longest: int) -> None:
    events = _events(10_000)
    reply = bench.pass_on(head(200, CHUNKED, EVENTS), *chunks(cut(events, 10, longest)))
    assert reply.body == events


def test_each_event_arrives_before_the_next_one_is_sent(bench: Bench) -> None:
    events = [
        b": hello\n\n",
        b"retry: 5\n\n",
        b"id: 7\ndata:\n\n",
        b"data: hal",
        b"f\r\n\r\n",
        b"\n",
    ]
    read = threading.Semaphore(0)

    def one_by_one(_: Received) -> Iterator[bytes]:
        yield head(200, CHUNKED, EVENTS)
        for event in events:
            assert read.acquire(timeout=PATIENCE), "the event before this one did not arrive"
            yield b"%x\r\n%b\r\n" % (len(event), event)
        yield b"0\r\n\r\n"

    bench.server.script = one_by_one
    with open_reply(bench.url, CALL, ACCEPTED) as reply:
        for event in events:
            read.release()
            assert reply.read(len(event)) == event
        assert reply.read() == b""


def test_a_resumed_stream_names_its_last_event_and_keeps_its_bytes(bench: Bench) -> None:
    events = _events(50)
    bench.server.script = lambda _: [head(200, CHUNKED, EVENTS), *chunks(cut(events, 11, 100))]
    headers = {**legacy("a session"), "Last-Event-ID": "stream/7: \xe9 ~"}
    reply = ask(bench.url, None, headers, "GET")
    assert reply.body == events
    received = bench.server.last
    assert (received.method, received.body) == (b"GET", b"")
    assert received.values(b"last-event-id") == ["stream/7: \xe9 ~".encode("latin-1")]
    assert received.values(b"mcp-session-id") == [b"a session"]


# Requests


@pytest.mark.parametrize("body", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_request_keeps_its_bytes(bench: Bench, body: bytes) -> None:
    assert bench.receive(body).body == body


def test_a_request_in_chunks_keeps_its_bytes(bench: Bench) -> None:
    body = REQUESTS["escapes"]
    bench.server.script = lambda _: [*whole(202, b"", "Connection: close"), raw_server.HANG_UP]
    text = b"POST /raw/mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    pieces = [text + b"Transfer-Encoding: chunked\r\n\r\n", *chunks(cut(body, 12, 9))]
    with dial(bench.exporter.host) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        connection.makefile("rb").read()
    assert bench.server.last.body == body


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", LEGACY, MODERN, "2031-01-01"])
def test_headers_of_the_protocol_go_up_as_they_are(bench: Bench, version: str) -> None:
    given = {
        "MCP-Protocol-Version": version,
        "Mcp-Session-Id": "s/1 ~",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "=?base64?w6k=?=",
        "mcp-param-Region": "caf\xe9 ",
        "Authorization": "Bearer a.b-c~d+e/f==",
        "Cookie": "a=1; b=2",
        "X-Unknown": "a,  b",
        "User-Agent": "raw/1 (x)",
        "Origin": "http://localhost:1234",
        "Accept": "application/json;q=0.5 , text/event-stream",
        "Content-Type": "application/json ; charset=UTF-8",
    }
    received = bench.receive(CALL, **given)
    for name, value in given.items():
        assert received.values(name.encode()) == [value.strip().encode("latin-1")], name
    assert received.values(b"host") == [bench.server.url.split("/")[2].encode()]
    assert (b"mcp-param-Region" in dict(received.fields), received.target) == (True, b"/mcp")


def test_headers_of_one_connection_do_not_go_up(bench: Bench) -> None:
    private = {
        "Connection": "X-Private, keep-alive",
        "X-Private": "1",
        "Keep-Alive": "timeout=5",
        "TE": "trailers",
        "Proxy-Authorization": "Basic eDp5",
        "Upgrade": "websocket",
    }
    received = bench.receive(CALL, **private)
    assert {name.lower() for name, _ in received.fields}.isdisjoint(map(_lower, private))
    assert received.body == CALL


def _lower(name: str) -> bytes:
    return name.lower().encode()


def test_a_session_is_ended_by_the_servers_own_answer(bench: Bench) -> None:
    reply = bench.pass_on(*whole(405, b"", "Allow: POST"), method="DELETE", Mcp_Session_Id="x")
    assert (reply.status, reply.values("Allow")) == (405, ["POST"])
    received = bench.server.last
    assert (received.method, received.values(b"mcp-session-id")) == (b"DELETE", [b"x"])
    assert received.body == b""


def test_a_query_goes_up_with_the_path(bench: Bench) -> None:
    bench.server.script = lambda _: whole(202, b"")
    ask(f"{bench.url}?a=%2f&b", CALL, ACCEPTED)
    assert bench.server.last.target == b"/mcp?a=%2f&b"


# A stdio server


@pytest.fixture(scope="module")
def stdio(
    tmp_path_factory: pytest.TempPathFactory, tracing: dict[str, Any]
) -> Iterator[tuple[Exporter, Path]]:
    folder = tmp_path_factory.mktemp("stdio")
    servers = {"raw": scripted_stdio("--record", str(folder))}
    with exporter(folder, servers, **tracing) as running:
        yield running, folder


@pytest.fixture
def session(stdio: tuple[Exporter, Path]) -> str:
    return open_session(stdio[0].url("raw"))


def _call(how: bytes, number: bytes, more: bytes = b"", params: bytes = b"") -> bytes:
    given = b'{"name":"act","arguments":{"how":"%b"%b}%b}' % (how, more, params)
    return b'{"jsonrpc":"2.0","id":%b,"method":"tools/call","params":%b}' % (number, given)


def _on_one_line(text: bytes) -> bytes:
    """The text as stdio can carry it: its line ends stand between tokens."""
    return text.replace(b"\r", b" ").replace(b"\n", b" ")


def _scripted(folder: Path, lines: bytes, number: bytes, params: bytes = b"") -> bytes:
    """A call that makes the server write these lines."""
    (folder / "lines").write_bytes(lines)
    file = json.dumps(str(folder / "lines")).encode()
    return _call(b"raw", number, b',"file":' + file, params)


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS.keys())
@pytest.mark.parametrize("number", IDS[:-1], ids=bytes.decode)
def test_in_a_session_the_childs_reply_keeps_its_bytes(
    stdio: tuple[Exporter, Path], session: str, result: bytes, number: bytes
) -> None:
    exporter, folder = stdio
    line = b'{"later":0, "id": @ID@ ,"result":%b ,"jsonrpc":"2.0"}' % re.sub(
        rb"[\r\n]", b" ", result
    )
    reply = ask(exporter.url("raw"), _scripted(folder, line + b"\n", number), legacy(session))
    assert reply.body == line.replace(b"@ID@", number)


def test_in_a_session_messages_before_the_reply_are_events_with_the_same_bytes(
    stdio: tuple[Exporter, Path], session: str
) -> None:
    exporter, folder = stdio
    notice = b'{"jsonrpc":"2.0","method":"x/unknown","params":{"n":[1e400,"\\ud800"]},"z":0}'
    answer = b'{"id":@ID@,"result":{"t":"\\/"},"jsonrpc":"2.0"}'
    lines = notice + b"\r\n" + notice + b"\n\n" + answer + b"\n"
    reply = ask(exporter.url("raw"), _scripted(folder, lines, b'"1"'), legacy(session))
    assert reply.values("Content-Type") == ["text/event-stream"]
    said = [notice, notice, answer.replace(b"@ID@", b'"1"')]
    assert reply.body == b"".join(b"event: message\ndata: %b\n\n" % line for line in said)


def test_in_a_session_a_request_reaches_the_child_as_it_is(
    stdio: tuple[Exporter, Path], session: str
) -> None:
    exporter, folder = stdio
    bodies = []
    for number, (name, params) in enumerate(RESULTS.items()):
        body = _call(b"ok", b'"%d"' % number, params=b',"x":' + params)
        assert ask(exporter.url("raw"), body, legacy(session)).status == 200, name
        bodies.append(_on_one_line(body))
    assert (folder / "heard").read_bytes().splitlines()[-len(bodies) :] == bodies


def test_in_a_session_1_and_the_text_1_are_two_requests(
    stdio: tuple[Exporter, Path], session: str
) -> None:
    url = stdio[0].url("raw")
    with sent(url, _call(b"wait", b"1"), legacy(session)):
        other = ask(url, _call(b"ok", b'"1"'), legacy(session))
        assert other.document["id"] == "1"


def test_a_batch_of_a_session_is_answered_as_a_batch(
    stdio: tuple[Exporter, Path], session: str
) -> None:
    batch = b"[" + _call(b"ok", b"1") + b"," + _call(b"fail", b'"1"') + b"]"
    reply = ask(stdio[0].url("raw"), batch, legacy(session, "2025-03-26"))
    assert [part["id"] for part in reply.document] == [1, "1"]
    heard = (stdio[1] / "heard").read_bytes().splitlines()
    assert batch in heard


ENVELOPE = (
    b'"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","a/b":-0,'
    b'"io.modelcontextprotocol/clientCapabilities":{"x":1.0}%b}'
)


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS.keys())
@pytest.mark.parametrize("number", IDS[:2], ids=bytes.decode)
def test_the_shared_childs_result_keeps_its_bytes(
    stdio: tuple[Exporter, Path], result: bytes, number: bytes
) -> None:
    exporter, folder = stdio
    line = b'{"later":[1e400, -0],"id":@ID@,"result":%b,"jsonrpc":"2.0"}' % _on_one_line(result)
    call = _scripted(folder, line + b"\n", number, b"," + ENVELOPE % b"")
    reply = ask(exporter.url("raw"), call, modern("tools/call", "act"))
    assert reply.body == line.replace(b"@ID@", number)


@pytest.mark.parametrize("extra", RESULTS.values(), ids=RESULTS.keys())
def test_to_the_shared_child_only_the_id_and_the_progress_token_differ(
    stdio: tuple[Exporter, Path], tracing: dict[str, Any], extra: bytes
) -> None:
    exporter, folder = stdio
    params = b',"x":%b,' % extra + ENVELOPE % b',"progressToken":"p\\/1"'
    body = _call(b"ok", b'"own"', params=params)
    reply = ask(exporter.url("raw"), body, modern("tools/call", "act"))
    assert reply.document["id"] == "own"
    heard = (folder / "heard").read_bytes().splitlines()[-1]
    heard, told = re.subn(rb',"traceparent":"00-[0-9a-f]{32}-[0-9a-f]{16}-03"', b"", heard)
    assert told == _is_told(tracing)
    number = re.search(rb'"id":(\d+)', heard)
    assert number is not None
    expected = body.replace(b'"id":"own"', b'"id":' + number[1])
    expected = expected.replace(b'"progressToken":"p\\/1"', b'"progressToken":' + number[1])
    assert heard == _on_one_line(expected)


def test_the_shared_childs_progress_bears_the_clients_own_token(
    stdio: tuple[Exporter, Path],
) -> None:
    exporter, folder = stdio
    params = b"," + ENVELOPE % b',"progressToken":"p\\/1"'
    body = _call(b"progress", b"1", params=params)
    with open_reply(exporter.url("raw"), body, modern("tools/call", "act")) as reply:
        assert reply.readline() == b"event: message\n"
        event = reply.readline()
    said = json.loads((folder / "said").read_bytes().splitlines()[-1])
    assert b'"progressToken":"p\\/1"' in event
    said["params"]["progressToken"] = "p/1"
    assert json.loads(event.removeprefix(b"data: ")) == said


def test_a_result_of_50_mb_of_a_child_arrives_whole(
    stdio: tuple[Exporter, Path], session: str
) -> None:
    exporter, folder = stdio
    filler = Random(13).randbytes(MEGABYTE).hex().encode() * 25
    line = b'{"jsonrpc":"2.0","id":@ID@,"result":{"t":"' + filler + b'"}}'
    shared = _scripted(folder, line + b"\n", b"7", b"," + ENVELOPE % b"")
    reply = ask(exporter.url("raw"), shared, modern("tools/call", "act"))
    assert reply.body == line.replace(b"@ID@", b"7")
    own = _scripted(folder, line + b"\n", b"7")
    assert ask(exporter.url("raw"), own, legacy(session)).body == line.replace(b"@ID@", b"7")
    wait_for(lambda: exporter.scrape().outcomes("raw")["ok"] >= 2, PATIENCE, "both are counted")

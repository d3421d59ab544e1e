"""Whatever a server does, its client is told, the outcome is counted, and nothing stays behind."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pytest

from exporter.transport.process.child import MAX_LINE
from tests.soak.disturbances import HttpServer
from tests.support import raw_server
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.held_resources import HeldResources, wait_for_release
from tests.support.raw_client import (
    ACCEPTED,
    JSON_TYPE,
    Json,
    ask,
    call,
    legacy,
    messages,
    modern,
    modern_call,
    open_session,
    sent,
)
from tests.support.raw_server import HALF_CLOSE, HANG_UP, RESET, Received, chunks, head, whole
from tests.support.running import free_address, wait_for

MEBIBYTE = 1024 * 1024
TIMEOUT = 1.5
"""Seconds that the servers have for a reply here."""
MOST_IN_MEMORY = 48 * MEBIBYTE
"""How much more memory than before any fault may cost: a buffer of each kind, and no flood."""

PATIENCE = 60.0
LOST, EXPIRED = -32000, -32001
PING: Json = {"jsonrpc": "2.0", "id": "p", "method": "ping"}
PONG = b'{"jsonrpc":"2.0","id":"p","result":{}}'
NOTICE = b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'
IS_JSON, IS_STREAM = f"Content-Type: {JSON_TYPE}", "Content-Type: text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"

Pieces = Callable[[Received], Iterable[bytes]]
Seen = int | str
"""The HTTP status that the client sees; ``cut`` where its connection ends before the reply."""


@pytest.fixture(scope="module")
def raw() -> Iterator[raw_server.RawServer]:
    with raw_server.serving(lambda _: whole(200, PONG, IS_JSON)) as server:
        yield server


@pytest.fixture(scope="module")
def process() -> Iterator[HttpServer]:
    server = HttpServer(free_address())
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, raw: raw_server.RawServer, process: HttpServer
) -> Iterator[Exporter]:
    folder = tmp_path_factory.mktemp("faults")
    servers = {"raw": {"url": raw.url}, "process": process.entry, "child": scripted_stdio()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOLD", str(folder / "told.json"))
        settings = {"timeout": f"{TIMEOUT * 1000:.0f}ms", "idle_timeout": "2s"}
        with exporter(
            folder, servers, module="tests.support.inspected_exporter", **settings
        ) as found:
            warm_up(found)
            told = Path(os.environ["TOLD"])

            def now() -> HeldResources:
                return HeldResources.told(found, told)

            wait_for(lambda: not restless(now()), PATIENCE, "it is at rest before the tests")
            before = now()
            yield found
            assert wait_for_release(now, before, PATIENCE) == {}
            assert found.scrape().total("mcp_exporter_internal_errors_total") == 0


def warm_up(found: Exporter) -> None:
    """Have it start and load what stays."""
    assert ask(found.url("raw"), PING, ACCEPTED).status == 200
    shared = modern_call(1, "ok"), modern("tools/call", "act")
    for server in ("child", "process"):
        assert ask(found.url(server), *shared).status == 200


def restless(found: HeldResources) -> bool:
    """Whether there is still a child, or a connection to a server."""
    return any(found.counts[name] for name in ("child.Child", "pool.UpstreamConnection"))


@pytest.fixture(autouse=True)
def _rest(running: Exporter, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is in flight after a test, and it needed little memory."""
    memory = running.status("VmRSS")
    running.forget_peak()
    yield
    wait_for(lambda: not running.scrape().total("mcp_requests_in_flight"), PATIENCE, "all is over")
    most = MOST_IN_MEMORY + (
        2 * MAX_LINE if "child" in request.node.name else 0
    )  # a line, and its parts
    assert running.status("VmHWM") < memory + most


# What HTTP servers send


def stall() -> Iterator[bytes]:
    """Say nothing for longer than anybody waits."""
    time.sleep(2 * TIMEOUT)
    yield b""


def slowly(data: bytes, seconds: float, at_a_time: int = 1) -> Iterator[bytes]:
    """A few bytes at a time."""
    for start in range(0, len(data), at_a_time):
        time.sleep(seconds * at_a_time / len(data))
        yield data[start : start + at_a_time]


def forever(piece: bytes) -> Iterator[bytes]:
    """The same again and again, until the other side has had enough."""
    until = time.monotonic() + 3 * TIMEOUT
    while time.monotonic() < until:
        yield piece


def flood(begin: bytes, piece: bytes) -> Iterator[bytes]:
    """A begin, and then the same again and again."""
    yield begin
    yield from forever(piece)


def event(data: bytes) -> bytes:
    """An event as a chunk."""
    return next(chunks([b"data: " + data + b"\n\n"]))


def stream() -> bytes:
    """The begin of a stream: its head, and a first event."""
    return head(200, IS_STREAM, CHUNKED) + event(NOTICE)


def cut_off(length: int) -> bytes:
    """The begin of a body that is to be so long."""
    return head(200, IS_JSON, f"Content-Length: {length}") + PONG[:20]


FIELD = b"X: " + 9000 * b"y" + b"\r\n"
NOT_UTF_8 = b'{"jsonrpc":"2.0","id":"p","result":{"text":"caf\xe9"}}'
BOMB = gzip.compress(bytes(512 * MEBIBYTE), compresslevel=9)

CLOSED_WHILE_KEPT = "half-closed after the reply"
# name: what is sent, what the client sees, the error code in it, the outcome
FAULTS: dict[str, tuple[Pieces, Seen, int | None, str]] = {
    "reset without a word": (lambda _: [RESET], 502, LOST, "upstream_error"),
    "reset in the head": (
        lambda _: [b"HTTP/1.1 200 OK\r\nContent-", RESET], 502, LOST, "upstream_error",
    ),
    "reset in the body": (lambda _: [cut_off(99), RESET], "cut", None, "upstream_error"),
    "reset in a stream": (lambda _: [stream(), RESET], 200, LOST, "upstream_error"),
    "half-closed without a word": (
        lambda _: chain([HALF_CLOSE], stall()), 502, LOST, "upstream_error",
    ),
    "half-closed in the body": (
        lambda _: chain([cut_off(99), HALF_CLOSE], stall()), "cut", None, "upstream_error",
    ),
    "half-closed in a stream": (
        lambda _: chain([stream(), HALF_CLOSE], stall()), 200, LOST, "upstream_error",
    ),
    "half-closed at the end of a body without a length": (
        lambda _: chain([head(200, IS_JSON) + PONG, HALF_CLOSE], stall()), 200, None, "ok",
    ),
    CLOSED_WHILE_KEPT: (
        lambda _: [*whole(200, PONG, IS_JSON), HALF_CLOSE], 200, None, "ok",
    ),
    "slow, but in time": (
        lambda _: slowly(whole(200, PONG, IS_JSON)[0], TIMEOUT / 4), 200, None, "ok",
    ),
    "slow stream in time": (
        lambda _: slowly(
            head(200, IS_STREAM, CHUNKED) + event(NOTICE) + event(PONG) + b"0\r\n\r\n",
            TIMEOUT / 4, 5,
        ),
        200, None, "ok",
    ),
    "silent": (lambda _: stall(), 504, EXPIRED, "timeout"),
    "slow in the head": (
        lambda _: slowly(head(200, "X: " + 500 * "y"), 4 * TIMEOUT), 504, EXPIRED, "timeout",
    ),
    "slow in the body": (
        lambda _: chain([cut_off(99)], stall()), "cut", None, "timeout",
    ),
    "slow in a stream": (lambda _: chain([stream()], stall()), 200, EXPIRED, "timeout"),
    "flood of headers": (
        lambda _: flood(b"HTTP/1.1 200 OK\r\n", FIELD),
        502, LOST, "upstream_error",
    ),
    "flood in one header": (
        lambda _: flood(b"HTTP/1.1 200 OK\r\nX: ", 9000 * b"y"),
        502, LOST, "upstream_error",
    ),
    "flood of a reason": (
        lambda _: flood(b"HTTP/1.1 200 ", 9000 * b"y"),
        502, LOST, "upstream_error",
    ),
    "flood of trailers": (
        lambda _: flood(head(200, IS_JSON, CHUNKED) + next(chunks([PONG])) + b"0\r\n", FIELD),
        "cut", None, "upstream_error",
    ),
    "flood of interim replies": (
        lambda _: forever(b"HTTP/1.1 102 Wait\r\n\r\n" * 50), 502, LOST, "upstream_error",
    ),
    "flood after the reply": (
        lambda _: [whole(200, PONG, IS_JSON)[0] + MEBIBYTE * b"x"], 200, None, "ok",
    ),
    "a second reply that nobody asked for": (
        lambda _: 2 * whole(200, PONG, IS_JSON), 200, None, "ok",
    ),
    "a bomb of zeros, compressed": (
        lambda _: whole(200, BOMB, IS_JSON, "Content-Encoding: gzip"), 200, None, "ok",
    ),
    "a length that is too long": (
        lambda _: [head(200, IS_JSON, "Content-Length: 99") + PONG, HANG_UP],
        "cut", None, "upstream_error",
    ),
    "a length that is too long, and silence": (
        lambda _: chain([head(200, IS_JSON, "Content-Length: 99") + PONG], stall()),
        "cut", None, "timeout",
    ),
    "a length that is too short": (
        lambda _: [head(200, IS_JSON, "Content-Length: 20") + PONG], 200, None, "upstream_error",
    ),
    "a length that is none": (
        lambda _: [head(200, IS_JSON, "Content-Length: many") + PONG], 502, LOST, "upstream_error",
    ),
    "a negative length": (
        lambda _: [head(200, IS_JSON, "Content-Length: -1") + PONG], 502, LOST, "upstream_error",
    ),
    "two lengths": (
        lambda _: [head(200, IS_JSON, "Content-Length: 3", f"Content-Length: {len(PONG)}") + PONG],
        502, LOST, "upstream_error",
    ),
    "a chunk of no size": (
        lambda _: [head(200, IS_JSON, CHUNKED) + b"zz\r\n" + PONG], "cut", None, "upstream_error",
    ),
    "a body that is not UTF-8": (
        lambda _: whole(200, NOT_UTF_8, IS_JSON), 200, None, "ok",
    ),
    "an event that is not UTF-8": (
        lambda _: [head(200, IS_STREAM, CHUNKED), *chunks([b"data: " + NOT_UTF_8 + b"\n\n"])],
        200, None, "ok",
    ),
    "a header that is not UTF-8": (
        lambda _: [b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\nContent-Length: 0\r\n\r\n"],
        200, None, "upstream_error",
    ),
    "what is not HTTP": (lambda _: [b"220 smtp.example ESMTP\r\n"], 502, LOST, "upstream_error"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_an_http_server_does_wrong_is_told_and_counted(
    running: Exporter, raw: raw_server.RawServer, fault: str
) -> None:
    script, seen, code, outcome = FAULTS[fault]
    before = running.scrape().outcomes("raw")
    raw.script = script
    status, body = look(running.url("raw"))
    raw.script = lambda _: whole(200, PONG, IS_JSON)
    assert status == seen, body
    found = [m["error"]["code"] for m in errors(body)]
    assert found == ([] if code is None else [code])
    if fault == CLOSED_WHILE_KEPT:  # a request that crosses such an end is lost, with every proxy
        wait_for(lambda: not raw.connections, 60, "the exporter left the connection")
    # Whatever it did to that connection, the next reply is the next request's.
    assert ask(running.url("raw"), PING, ACCEPTED).body == PONG
    expected = {**before, outcome: before.get(outcome, 0) + 1}
    expected["ok"] = expected.get("ok", 0) + 1
    assert running.scrape().outcomes("raw") == expected


def look(url: str) -> tuple[Seen, bytes]:
    """What a client sees."""
    try:
        reply = ask(url, PING, ACCEPTED)
    except (HTTPException, ConnectionError):
        return "cut", b""
    return reply.status, reply.body


def errors(body: bytes) -> Iterator[Any]:
    """The JSON-RPC errors in a reply."""
    if body.startswith((b"data:", b"event:")):
        yield from (each for each in messages(body.replace(b"caf\xe9", b"")) if "error" in each)
    elif body.startswith(b"{") and b'"error"' in body:
        yield json.loads(body)


def test_bytes_that_are_not_utf_8_pass_as_they_are(
    running: Exporter, raw: raw_server.RawServer
) -> None:
    raw.script = lambda _: whole(200, NOT_UTF_8, IS_JSON, "X: caf\xe9")
    reply = ask(running.url("raw"), PING, ACCEPTED)
    assert reply.body == NOT_UTF_8
    assert reply.values("X") == ["caf\xe9"]


# Processes


def test_a_killed_http_server_is_told_at_once_and_found_again(
    running: Exporter, process: HttpServer
) -> None:
    url, headers = running.url("process"), modern("tools/call", "act")
    with sent(url, modern_call(1, "wait"), headers) as connection:
        wait_until_in_flight(running, 1)
        process.kill()
        reply = connection.getresponse()
        assert (reply.status, json.loads(reply.read())["error"]["code"]) == (502, LOST)
    assert ask(url, modern_call(2, "ok"), headers).document["error"]["code"] == LOST
    process.start()
    assert ask(url, modern_call(3, "ok"), headers).status == 200
    assert running.scrape().outcomes("process", method="tools/call")["upstream_error"] == 2


def test_a_stopped_http_server_is_overdue_and_goes_on_where_it_was(
    running: Exporter, process: HttpServer
) -> None:
    url, headers = running.url("process"), modern("tools/call", "act")
    with stopped(process.pid):
        reply = ask(url, modern_call(1, "ok"), headers)
        assert (reply.status, reply.document["error"]["code"]) == (504, EXPIRED)
    assert ask(url, modern_call(2, "ok"), headers).document["result"]
    assert running.scrape().outcomes("process", method="tools/call")["timeout"] == 1


@pytest.mark.parametrize("era", ["modern", "legacy"])
def test_a_child_that_reads_nothing_for_a_calls_time_is_lost(running: Exporter, era: str) -> None:
    act, pid = acting(running, era)
    with stopped(pid):
        assert act("ok") == (502, LOST)
    assert act("ok") == ((200, None) if era == "modern" else (404, -32600))
    assert [e for e in running.says("has not read its input for") if e.get("pid") == pid]


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize(
    ("how", "seen"),
    [
        ("kill", (502, LOST)),
        ("mute", (502, LOST)),
        ("flood", (504, EXPIRED)),
        ("wait", (504, EXPIRED)),
        ("not UTF-8", (200, None)),
    ],
)
def test_what_a_child_does_wrong_is_told(
    running: Exporter, tmp_path: Path, era: str, how: str, seen: tuple[int, int]
) -> None:
    act, pid = acting(running, era)
    if how == "not UTF-8":
        noise = tmp_path / "noise"
        noise.write_bytes(b'{"jsonrpc":"2.0","id":@ID@,"result":{"text":"caf\xe9"}}\n')
        assert act("raw", file=str(noise)) == seen
    else:
        assert act(how) == seen
    if how == "flood":
        os.kill(pid, signal.SIGKILL)


def acting(running: Exporter, era: str) -> tuple[Callable[..., tuple[int, int | None]], int]:
    """How to have a child do something, and its process id."""
    url = running.url("child")
    headers = modern("tools/call", "act") if era == "modern" else legacy(open_session(url))
    message = modern_call if era == "modern" else call

    def act(how: str, **arguments: Any) -> tuple[int, int | None]:
        reply = ask(url, message(how, how, **arguments), headers)
        (error,) = [*errors(reply.body), None][:1]
        return reply.status, error and error["error"]["code"]

    reply = ask(url, message("pid", "pid"), headers)
    return act, int(reply.document["result"]["content"][0]["text"])


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process does nothing within the block."""
    os.kill(pid, signal.SIGSTOP)
    state = psutil.Process(pid).status
    wait_for(lambda: state() == psutil.STATUS_STOPPED, PATIENCE, "the process has stopped")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_until_in_flight(running: Exporter, number: int) -> None:
    def look() -> bool:
        return running.scrape().total("mcp_requests_in_flight") == number

    wait_for(look, PATIENCE, f"{number} requests are in flight")

"""A server that dies, babbles or does not start: told at once, counted, logged, and tried again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from tests.support import raw_server
from tests.support.exporting import Exporter, Scrape, exporter, scripted_stdio
from tests.support.raw_client import (
    ACCEPTED,
    PATIENCE,
    Json,
    Reply,
    ask,
    call,
    envelope,
    initialize,
    legacy,
    messages,
    modern,
    modern_call,
    open_session,
    sent,
)
from tests.support.raw_server import HANG_UP, chunks, head
from tests.support.running import wait_for

LOST = -32000
WAITING = 5
EXITED, KILLED = "exited with code 70", "was ended by SIGKILL"


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Exporter]:
    with exporter(tmp_path, {"children": scripted_stdio()}) as running:
        yield running


def wait_until_in_flight(running: Exporter, number: int) -> None:
    def look() -> bool:
        return running.scrape().total("mcp_requests_in_flight") == number

    wait_for(look, PATIENCE, f"{number} requests are in flight")


def body_of(connection: HTTPConnection) -> tuple[int, bytes]:
    reply = connection.getresponse()
    return reply.status, reply.read()


# Children that die


@pytest.mark.parametrize(("how", "why"), [("die", EXITED), ("kill", KILLED)])
def test_a_child_that_dies_answers_everything_that_waits_in_its_session(
    children: Exporter, how: str, why: str
) -> None:
    url = children.url("children")
    session = open_session(url)
    ids: list[int | str] = [1, "1", 2, "two", 3]
    with ExitStack() as stack:
        waiting = [
            stack.enter_context(sent(url, call(number, "wait"), legacy(session))) for number in ids
        ]
        wait_until_in_flight(children, WAITING)
        last = ask(url, call("last", how), legacy(session))
        replies = [json.loads(body) for status, body in map(body_of, waiting) if status == 502]
    assert [reply["id"] for reply in replies] == ids
    for reply in (*replies, last.document):
        assert reply["error"]["code"] == LOST
        assert why in reply["error"]["message"]
    scrape = children.scrape()
    calls = scrape.outcomes("children", method="tools/call")
    assert calls == {"upstream_error": WAITING + 1}
    assert scrape.total("mcp_requests_in_flight") == scrape.total("mcp_sessions") == 0


def test_after_its_child_a_session_is_over_and_a_new_one_begins(children: Exporter) -> None:
    url = children.url("children")
    session = open_session(url)
    ask(url, call(1, "die"), legacy(session))
    assert ask(url, call(2, "ok"), legacy(session)).status == 404
    again = open_session(url)
    assert ask(url, call(3, "ok"), legacy(again)).status == 200
    assert children.scrape().total("mcp_server_process_starts_total") == 2


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_a_child_that_closes_its_input_is_lost_at_once(children: Exporter, era: str) -> None:
    """What waits is told long before its time is over, and the log says why."""
    url = children.url("children")
    headers = modern("tools/call", "act") if era == "modern" else legacy(open_session(url))
    message = modern_call if era == "modern" else call
    with sent(url, message("waits", "wait"), headers) as waiting:
        wait_until_in_flight(children, 1)
        assert ask(url, message("last", "close_input"), headers).status == 200
        status, body = body_of(waiting)
    assert (status, json.loads(body)["error"]["code"]) == (502, LOST)
    assert "the server closed its input" in json.loads(body)["error"]["message"]
    assert ask(url, message("next", "ok"), headers).status == (200 if era == "modern" else 404)
    assert children.says("child closed its input")
    reasons = [event.get("reason", "") for event in children.says("server state changed")]
    assert any("closed its input" in reason for reason in reasons)


def test_a_shared_child_that_dies_answers_every_client_and_the_next_request_starts_one(
    children: Exporter,
) -> None:
    url, headers = children.url("children"), modern("tools/call", "act")
    with ExitStack() as stack:
        waiting = [
            stack.enter_context(sent(url, modern_call("the same", "wait"), headers))
            for _ in range(WAITING)
        ]
        progress = modern_call("streamed", "progress")
        progress["params"]["_meta"] = envelope(progressToken="p")
        streamed = stack.enter_context(sent(url, progress, headers))
        wait_until_in_flight(children, WAITING + 1)
        assert ask(url, modern_call("last", "die"), headers).status == 502
        replies = [json.loads(body) for status, body in map(body_of, waiting) if status == 502]
        status, stream = body_of(streamed)
    assert [reply["id"] for reply in replies] == ["the same"] * WAITING
    *_, end = messages(stream)
    assert (status, end["id"]) == (200, "streamed")
    assert {reply["error"]["code"] for reply in (*replies, end)} == {LOST}
    assert ask(url, modern_call(1, "ok"), headers).status == 200
    calls = children.scrape().outcomes("children", method="tools/call")
    assert calls == {"upstream_error": WAITING + 2, "ok": 1}


# Children that babble


NOISE = ["Listening on port 1...", "[1, 2", "\x1b[31mred", "{", '"text"', "12", "\ufeff", "null"]
LOG_LINES = ['{"level": "info"}', '{"id": 1}', '[{"level": "info"}]']


def test_what_is_no_message_on_stdout_is_counted_and_passed_over(children: Exporter) -> None:
    url = children.url("children")
    session = open_session(url)
    for noise in (*NOISE, *LOG_LINES):
        own = ask(url, call(1, "babble", noise=noise), legacy(session))
        shared = ask(url, modern_call(1, "babble", noise=noise), modern("tools/call", "act"))
        for reply in (own, shared):
            assert (reply.status, reply.document["result"]["content"][0]["text"]) == (200, "done")
    scrape = children.scrape()
    unparsed = scrape.by("reason", "mcp_exporter_unparsed_messages_total", server="children")
    assert unparsed == {"not_json": 2 * len(NOISE), "not_jsonrpc": 2 * len(LOG_LINES)}
    calls = scrape.outcomes("children", method="tools/call")
    assert calls == {"ok": 2 * (len(NOISE) + len(LOG_LINES))}


def test_stderr_is_logged_under_the_servers_name_at_a_bounded_rate(children: Exporter) -> None:
    url = children.url("children")
    session = open_session(url)
    lines = 500
    assert ask(url, call(1, "shout", lines=lines), legacy(session)).status == 200

    def left_out() -> list[dict[str, Any]]:
        assert ask(url, call(2, "shout", lines=1), legacy(session)).status == 200
        return children.says("lines of its stderr were not logged")

    (complaint, *_) = wait_for(left_out, PATIENCE, "what was left out is told")
    logged = children.says("stderr: line")
    assert logged[0]["message"] == "stderr: line 0 of many"
    assert len(logged) < lines
    assert int(complaint["message"].split()[0]) > 0
    child = children.says("child started")[0]
    origins = {(event["server"], event["pid"]) for event in (*logged, complaint)}
    assert origins == {("children", child["pid"])}


# Children that do not start


def test_a_child_that_keeps_failing_at_start_is_left_alone_for_a_while_and_recovers(
    tmp_path: Path,
) -> None:
    obstacle = tmp_path / "obstacle"
    obstacle.touch()
    servers = {"children": scripted_stdio("--fail-while", str(obstacle))}
    with exporter(tmp_path, servers) as running:
        url = running.url("children")
        tried = [ask(url, initialize(number), ACCEPTED) for number in (1, "2")]
        for number, reply in zip((1, "2"), tried, strict=True):
            assert (reply.status, reply.document["id"]) == (502, number)
            assert reply.document["error"]["code"] == LOST
            assert "exited with code 3" in reply.document["error"]["message"]
        left_alone = wait_until_left_alone(url)
        assert int(left_alone.values("Retry-After")[0]) >= 1
        assert left_alone.document["error"]["code"] == LOST
        discover = {**initialize(7), "method": "server/discover", "params": {"_meta": envelope()}}
        shared = ask(url, discover, modern("server/discover"))
        assert shared.status in (502, 503)
        obstacle.unlink()
        recovered = wait_for(lambda: succeeded(url), PATIENCE, "the server has recovered")
        outcomes = running.scrape().outcomes("children")
        assert outcomes["ok"] == 1
        assert set(outcomes) == {"ok", "upstream_error"}
        assert ask(url, call(1, "ok"), legacy(recovered)).status == 200
        assert_backed_off(running.scrape(), outcomes)
        assert "cannot start now" in running.says("stderr: ")[0]["message"]


def wait_until_left_alone(url: str) -> Reply:
    """The first answer without a try. A busy machine may need longer than the pause is."""

    def look() -> Reply | None:
        reply = ask(url, initialize(), ACCEPTED)
        assert reply.status in (502, 503)
        return reply if reply.status == 503 else None

    found = wait_for(look, PATIENCE, "it is left alone")
    assert found is not None
    return found


def succeeded(url: str) -> str | None:
    reply = ask(url, initialize(), ACCEPTED)
    return reply.values("Mcp-Session-Id")[0] if reply.status == 200 else None


def assert_backed_off(scrape: Scrape, outcomes: dict[str, float]) -> None:
    """Not each request started a child."""
    starts = scrape.total("mcp_server_process_starts_total", server="children")
    assert 3 <= starts < sum(outcomes.values())


def test_a_command_that_cannot_be_found_is_told_and_starts_no_child(tmp_path: Path) -> None:
    servers = {"children": {"command": "no-such-command-anywhere"}}
    with exporter(tmp_path, servers) as running:
        reply = ask(running.url("children"), initialize("x"), ACCEPTED)
        assert (reply.status, reply.document["id"]) == (502, "x")
        assert "no-such-command-anywhere was not found" in reply.document["error"]["message"]
        scrape = running.scrape()
        assert scrape.outcomes("children") == {"upstream_error": 1}
        assert scrape.total("mcp_server_process_starts_total") == 0


def test_many_requests_at_once_start_one_shared_child(children: Exporter) -> None:
    url, headers = children.url("children"), modern("tools/call", "act")
    with ThreadPoolExecutor(WAITING) as pool:
        replies = pool.map(lambda n: ask(url, modern_call(n, "pid"), headers), range(WAITING))
        assert len({reply.document["result"]["content"][0]["text"] for reply in replies}) == 1
    assert children.scrape().total("mcp_server_process_starts_total") == 1


# HTTP servers that are lost midway


EVENTS = "Content-Type: text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"
EVENT = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n'
FIRST_CHUNK = next(chunks([EVENT]))
PING: Json = {"jsonrpc": "2.0", "id": "p", "method": "ping"}


@pytest.fixture(scope="module")
def remote(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Exporter, raw_server.RawServer]]:
    with (
        raw_server.serving(lambda _: [HANG_UP]) as server,
        exporter(tmp_path_factory.mktemp("remote"), {"remote": {"url": server.url}}) as running,
    ):
        yield running, server


@pytest.mark.parametrize("ids", [["p"], ["p", 1]], ids=["a request", "a batch"])
def test_a_stream_that_is_cut_ends_with_an_error_for_what_waits(
    remote: tuple[Exporter, raw_server.RawServer], ids: list[Any]
) -> None:
    running, server = remote
    server.script = lambda _: [head(200, EVENTS, CHUNKED), FIRST_CHUNK, HANG_UP]
    batch = json.dumps([{**PING, "id": each} for each in ids]).encode()
    reply = ask(running.url("remote"), batch if len(ids) > 1 else PING, ACCEPTED)
    assert reply.body.startswith(EVENT)
    first, *errors = messages(reply.body)
    assert first["method"] == "notifications/message"
    assert [(error["id"], error["error"]["code"]) for error in errors] == [(i, LOST) for i in ids]


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ([EVENTS, "Content-Length: 999"], EVENT),
        ([EVENTS, CHUNKED, "Content-Encoding: gzip"], next(chunks([gzip.compress(EVENT)]))),
        (
            ["Content-Type: application/json", CHUNKED],
            next(chunks([b'{"jsonrpc":'])),
        ),
        (["Content-Type: application/json", "Content-Length: 999"], b'{"jsonrpc":'),
    ],
    ids=["a stream with a length", "a compressed stream", "a body", "a body with a length"],
)
def test_what_cannot_be_added_to_is_cut_for_the_client_too(
    remote: tuple[Exporter, raw_server.RawServer], fields: list[str], body: bytes
) -> None:
    running, server = remote
    server.script = lambda _: [head(200, *fields), body, HANG_UP]
    before = running.scrape().outcomes("remote").get("upstream_error", 0)
    with pytest.raises((IncompleteRead, ConnectionError)):
        ask(running.url("remote"), PING, ACCEPTED)
    assert running.scrape().outcomes("remote") == {"upstream_error": before + 1}

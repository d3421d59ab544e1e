"""A small load test: one request again and again, and what became of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from exporter.cli.load import Load, LoadResult, RecordedRequest
from tests.support.fake_server import Answer, Asked, FakeServer
from tests.support.fakes import error, on_fake_time, result

URL = "http://server:8000/files/mcp"
RECORDED = RecordedRequest.read(
    [
        (b"Host", b"server:8000"),
        (b"Accept-Encoding", b"gzip"),
        (b"Content-Length", b"7"),
        (b"Mcp-Param-Region", b"eu"),
    ],
    b'{"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "act"}}',
)
EVENTS = {"Content-Type": "text/event-stream"}


def no_show(_: int) -> None:
    """Nobody looks."""


def test_a_summary_has_the_percentiles_and_the_first_failure() -> None:
    done = LoadResult()
    done.note(None, None)
    for number in range(100):
        done.note((number + 1) / 1000, "broken\nfor good" if number in (7, 9) else None)
    lines = done.summary(elapsed=2.0).splitlines()
    assert lines[0] == "101 calls, 2 failed; 100 timed, in 2.00 s (50/s)"
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["p50", "51.00"],
        ["p90", "91.00"],
        ["p95", "96.00"],
        ["p99", "100.00"],
        ["max", "100.00"],
    ]
    assert lines[6] == "first failure: broken for good"


async def loaded(answer: Callable[[Asked], Answer], calls: int, concurrency: int) -> LoadResult:
    server, done = FakeServer(answer), LoadResult()
    server.delay = 0.5
    await Load(URL, RECORDED, done).run(calls, concurrency, no_show)
    assert len(server.asked) == calls
    assert all(wire.is_closing() for wire in server.wires)
    return done


@on_fake_time
async def test_each_call_is_the_original_with_an_id_of_its_own() -> None:
    asked: list[Asked] = []

    def answer(each: Asked) -> Answer:
        asked.append(each)
        return 200, result(each.message["id"]), {}

    done = await loaded(answer, calls=4, concurrency=2)
    assert done.seconds == [0.5] * 4
    assert done.failures == 0
    assert len({each.message["id"] for each in asked} | {3}) == 5
    for each in asked:
        assert each.message["params"] == {"name": "act"}
        assert each.target == b"/files/mcp"
        assert each.headers["mcp-param-region"] == "eu"
        assert "accept-encoding" not in each.headers
    assert len({each.wire for each in asked}) == 2


@on_fake_time
async def test_a_stream_ends_with_the_reply_that_was_asked_for() -> None:
    def answer(each: Asked) -> Answer:
        number = each.message["id"]
        told = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{}}\n\n'
        return 200, told + b'data: {"jsonrpc":"2.0","id":%d,"result":{}}\n\n' % number, EVENTS

    assert (await loaded(answer, calls=2, concurrency=1)).failures == 0


@pytest.mark.parametrize(
    ("content", "failure"),
    [
        ({"isError": True, "content": [{"type": "text", "text": "no such file"}]}, "no such file"),
        ({"isError": True, "content": [5, {"type": "image"}]}, "an error without a text"),
        ({"isError": True, "content": 5}, "an error without a text"),
        ({"isError": True}, "an error without a text"),
    ],
)
@on_fake_time
async def test_a_tools_error_is_a_failure(content: dict[str, object], failure: str) -> None:
    done = await loaded(lambda each: (200, result(each.message["id"], **content), {}), 2, 1)
    assert (done.calls, done.failures, done.first_failure) == (2, 2, failure)


@on_fake_time
async def test_whatever_is_no_result_is_a_failure() -> None:
    done = await loaded(lambda each: (404, error(each.message["id"]), {}), 1, 1)
    assert done.first_failure == "no"
    done = await loaded(lambda _: (503, b"", {}), 1, 1)
    assert done.first_failure == "HTTP 503 without a JSON-RPC reply"

    def hang_up(_: Asked) -> Answer:
        raise ConnectionResetError

    done = await loaded(hang_up, 1, 1)
    assert (done.failures, len(done.seconds)) == (1, 1)

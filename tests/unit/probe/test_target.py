"""What all targets have in common: how a check ends, and listings over all pages."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from itertools import count, cycle

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe import target as module
from exporter.probe.target import MAX_PAGES, ProbeResult, ReachedError, Replied, Target
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import read
from tests.support.fakes import encoded, error, on_fake_time, parsed, result, virtual_loop

SERVER = Server("files", "stdio", command="x", env={"KEY": "hush-hush"}, probe=ProbeSettings())


class ScriptedTarget(Target):
    """A target without a connection: the test says what a check does, and what is replied."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        super().__init__(SERVER)
        self.script = check
        self.delay = 0.0
        self.starts = False
        self.replies: Iterator[object] = iter(())
        self.asked: list[Mapping[str, object]] = []

    async def close(self) -> None:
        """Nothing is open."""

    async def _check(self) -> None:
        self._compose("ping", {})
        if self.starts:
            self._wait_for_start()
        await asyncio.sleep(self.delay)
        self.script()

    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        assert method == "tools/list"
        self.asked.append(params)
        reply = next(self.replies)
        return parsed(reply), encoded(reply)

    async def probe(self, timeout: float = 5.0, until: float = 0.0) -> ProbeResult:  # noqa: ASYNC109
        return await self.check(Transcript(self.redact), timeout, virtual_loop().time() + until)


def failing(failure: Exception) -> Callable[[], None]:
    def check() -> None:
        raise failure

    return check


@pytest.mark.parametrize(
    ("failure", "found", "is_alive"),
    [
        (None, ("success", ""), True),
        (ReachedError("HTTP 401", "unauthorized"), ("unauthorized", "HTTP 401"), True),
        (ReachedError("replied with an error"), ("success", "replied with an error"), True),
        (UpstreamError("refused"), ("connect_error", "refused"), False),
        (UpstreamError("HTML", Fault.PROTOCOL), ("protocol_error", "HTML"), False),
        (UpstreamError("code 1", Fault.EXIT), ("process_exit", "code 1"), False),
        (UpstreamError("bad key hush-hush"), ("connect_error", "bad key <secret>"), False),
    ],
)
def test_what_a_check_meets_is_the_result(
    failure: Exception | None, found: tuple[str, str], is_alive: bool
) -> None:
    @on_fake_time
    async def run() -> None:
        target = ScriptedTarget(failing(failure) if failure else lambda: None)
        ended = await target.probe()
        assert ((ended.value, ended.reason), ended.is_alive) == (found, is_alive)

    run()


@on_fake_time
async def test_a_check_that_takes_too_long_has_timed_out() -> None:
    target = ScriptedTarget()
    target.delay = 6.0
    ended = await target.probe(timeout=5.0)
    assert (ended.value, ended.seconds) == ("timeout", 5.0)
    assert ended.reason == "no reply to ping within 5 s"


@on_fake_time
async def test_what_must_first_start_may_take_longer() -> None:
    target = ScriptedTarget()
    target.delay = 6.0
    target.starts = True
    assert (await target.probe(timeout=5.0, until=27.0)).value == "success"
    target.delay = 30.0
    ended = await target.probe(timeout=5.0, until=27.0)
    assert (ended.value, ended.seconds) == ("timeout", 27.0)


@on_fake_time
async def test_a_start_that_has_no_more_time_than_a_reply_has_no_less_either() -> None:
    target = ScriptedTarget()
    target.starts, target.delay = True, 4.0
    assert (await target.probe(timeout=5.0, until=2.0)).value == "success"


# Listings


def page(*names: str, cursor: str | None = None) -> dict[str, object]:
    more = {"nextCursor": cursor} if cursor else {}
    return result(1, tools=[{"name": name} for name in names], **more)


@on_fake_time
async def test_tools_are_listed_over_all_pages() -> None:
    target = ScriptedTarget()
    target.replies = iter([page("a", cursor="2"), page("b", cursor="3"), page("c")])
    listing = await target.list_tools()
    assert (list(listing.tools), listing.cut) == (["a", "b", "c"], "")
    assert target.asked == [{}, {"cursor": "2"}, {"cursor": "3"}]


@on_fake_time
async def test_a_listing_in_a_circle_ends_when_a_cursor_comes_twice() -> None:
    target = ScriptedTarget()
    target.replies = cycle([page("a", cursor="2"), page("b", cursor="3"), page("c", cursor="2")])
    listing = await target.list_tools()
    assert list(listing.tools) == ["a", "b", "c"]
    assert listing.cut == "lists its tools in a circle: a cursor came twice"
    assert len(target.asked) == 3


@on_fake_time
async def test_a_listing_without_end_is_cut_after_some_pages() -> None:
    target = ScriptedTarget()
    target.replies = (page(f"a{number}", cursor=f"{number}") for number in count())
    listing = await target.list_tools()
    assert len(listing.tools) == len(target.asked) == MAX_PAGES
    assert listing.cut == "lists more tools than are read"


@on_fake_time
async def test_a_listing_that_is_too_large_is_cut() -> None:
    target = ScriptedTarget()
    tools = [{"name": "a", "description": "x" * 9_000_000}]
    target.replies = (result(1, tools=tools, nextCursor=f"{number}") for number in count())
    listing = await target.list_tools()
    assert list(listing.tools) == ["a"]
    assert listing.cut == "lists more tools than are read"
    assert len(target.asked) == 2


@pytest.mark.parametrize("cursor", [5, {"a": 1}, ["2"], True])
def test_a_cursor_that_is_no_text_ends_a_listing_that_keeps_what_came(cursor: object) -> None:
    @on_fake_time
    async def run() -> None:
        target = ScriptedTarget()
        target.replies = iter([result(1, tools=[{"name": "a"}], nextCursor=cursor)])
        listing = await target.list_tools()
        assert list(listing.tools) == ["a"]
        assert listing.cut

    run()


@on_fake_time
async def test_a_later_page_that_fails_leaves_what_came_before() -> None:
    target = ScriptedTarget()
    target.replies = iter([page("a", cursor="2"), error(1, -32602)])
    listing = await target.list_tools()
    assert list(listing.tools) == ["a"]
    assert listing.cut == "replied to tools/list with JSON-RPC error -32602"


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (error(1, -32603), "replied to tools/list with JSON-RPC error -32603"),
        (result(1, resources=[]), "replied to tools/list with something else"),
    ],
)
def test_a_reply_without_tools_is_no_listing(reply: object, reason: str) -> None:
    @on_fake_time
    async def run() -> None:
        target = ScriptedTarget()
        target.replies = iter([reply])
        with pytest.raises(UpstreamError, match=reason):
            await target.list_tools()

    run()


@on_fake_time
async def test_a_server_that_never_offered_tools_lists_none() -> None:
    target = ScriptedTarget()
    target._initialized(encoded(result(1, protocolVersion="2025-11-25", capabilities={})))
    target.replies = iter([error(1, -32601)])
    listing = await target.list_tools()
    assert (listing.tools, listing.cut) == ({}, "")


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (b"-32603", "-32603"),
        (b"9" * 400, "of many digits"),
        (b"1e308", "of many digits"),
        (b"-12345678", "-12345678"),
        (b"1.5", "1.5"),
    ],
)
def test_an_error_code_of_any_size_is_shown(code: bytes, shown: str) -> None:
    reply = read(b'{"jsonrpc":"2.0","id":1,"error":{"code":%b}}' % code)
    assert reply is not None
    expected = f"replied to ping with JSON-RPC error {shown}"
    assert module.error_text("ping", reply) == expected


def test_probes_never_need_the_sdk() -> None:
    assert "import mcp" not in inspect.getsource(module)

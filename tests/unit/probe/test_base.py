"""What every probe has in common: results, listings over all pages, who a server says it is."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe import base as module
from exporter.probe.base import Era, Identity, Probe, ProbeResult, ReachedError, Replied
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import Fault, UpstreamError
from tests.support.fakes import encoded, error, on_fake_time, parsed, result, virtual_loop

SERVER = Server("files", "stdio", command="x", env={"KEY": "hush-hush"}, probe=ProbeSettings())


class Scripted(Probe):
    """A probe without a connection: the test says what a check does, and what is replied."""

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        super().__init__(SERVER)
        self.check = check
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
        self.check()

    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        assert method == "tools/list"
        self.asked.append(params)
        reply = next(self.replies)
        return parsed(reply), encoded(reply)

    async def find(self, patience: float = 5.0, until: float = 0.0) -> ProbeResult:
        return await self.run(Transcript(self.mask), patience, virtual_loop().time() + until)


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
        probe = Scripted(failing(failure) if failure else lambda: None)
        finding = await probe.find()
        assert ((finding.result, finding.text), finding.is_alive) == (found, is_alive)

    run()


@on_fake_time
async def test_a_check_that_takes_too_long_has_timed_out() -> None:
    probe = Scripted()
    probe.delay = 6.0
    finding = await probe.find(patience=5.0)
    assert (finding.result, finding.seconds) == ("timeout", 5.0)
    assert finding.text == "no reply to ping within 5 s"


@on_fake_time
async def test_what_must_first_start_may_take_longer() -> None:
    probe = Scripted()
    probe.delay = 6.0
    probe.starts = True
    assert (await probe.find(patience=5.0, until=27.0)).result == "success"
    probe.delay = 30.0
    finding = await probe.find(patience=5.0, until=27.0)
    assert (finding.result, finding.seconds) == ("timeout", 27.0)


@on_fake_time
async def test_a_start_that_has_no_more_time_than_a_reply_has_no_less_either() -> None:
    probe = Scripted()
    probe.starts, probe.delay = True, 4.0
    assert (await probe.find(patience=5.0, until=2.0)).result == "success"


# Listings


def page(*names: str, cursor: str | None = None) -> dict[str, object]:
    more = {"nextCursor": cursor} if cursor else {}
    return result(1, tools=[{"name": name} for name in names], **more)


@on_fake_time
async def test_tools_are_listed_over_all_pages() -> None:
    probe = Scripted()
    probe.replies = iter([page("a", cursor="2"), page("b", cursor="3"), page("c")])
    assert list(await probe.tools()) == ["a", "b", "c"]
    assert probe.asked == [{}, {"cursor": "2"}, {"cursor": "3"}]


@on_fake_time
async def test_a_listing_without_end_is_given_up() -> None:
    probe = Scripted()
    probe.replies = iter([page("a", cursor="again")] * 1000)
    with pytest.raises(UpstreamError, match="lists more tools than are read"):
        await probe.tools()
    assert len(probe.asked) == 100


@on_fake_time
async def test_a_listing_that_is_too_large_is_given_up() -> None:
    probe = Scripted()
    huge = result(1, tools=[{"name": "a", "description": "x" * 9_000_000}], nextCursor="2")
    probe.replies = iter([huge] * 10)
    with pytest.raises(UpstreamError, match="lists more tools than are read"):
        await probe.tools()
    assert len(probe.asked) == 2


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
        probe = Scripted()
        probe.replies = iter([reply])
        with pytest.raises(UpstreamError, match=reason):
            await probe.tools()

    run()


@on_fake_time
async def test_a_server_that_never_offered_tools_lists_none() -> None:
    probe = Scripted()
    probe._meet_legacy(encoded(result(1, protocolVersion="2025-11-25", capabilities={})))
    probe.replies = iter([error(1, -32601)])
    assert await probe.tools() == {}


# Who the server says it is


@pytest.mark.parametrize(
    ("reply", "identity"),
    [
        ({}, Identity("", "", "2025-11-25")),
        ({"protocolVersion": "2024-11-05"}, Identity("", "", "2024-11-05")),
        ({"protocolVersion": 7}, Identity("", "", "2025-11-25")),
        ({"serverInfo": {"name": "a", "version": "1"}}, Identity("a", "1", "2025-11-25")),
        ({"capabilities": {}}, Identity("", "", "2025-11-25", has_tools=False)),
        ({"capabilities": {"tools": {}}}, Identity("", "", "2025-11-25")),
        (
            {"capabilities": {"tools": {"listChanged": True}}},
            Identity("", "", "2025-11-25", tells_changes=True),
        ),
    ],
)
def test_an_identity_is_read_from_initialize(reply: dict[str, Any], identity: Identity) -> None:
    @on_fake_time
    async def run() -> None:
        probe = Scripted()
        probe._meet_legacy(encoded(result(1, **reply)))
        assert (probe.identity, probe.era) == (identity, Era.LEGACY)

    run()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"supportedVersions": ["2026-07-28"]}, True),
        ({"supportedVersions": ["2025-11-25", "2026-07-28", "2027-01-01"]}, True),
        ({"supportedVersions": ["2027-01-01"]}, False),
        ({"supportedVersions": "2026-07-28"}, False),
        ({}, False),
    ],
)
def test_the_newer_era_is_what_a_server_says_it_supports(
    reply: dict[str, Any], expected: bool
) -> None:
    assert module.is_discovered(encoded(result(1, **reply))) is expected


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"result": 1}', b"\xff", b"[" * 9999])
def test_what_cannot_be_read_is_not_the_newer_era(data: bytes) -> None:
    assert not module.is_discovered(data)


def test_probes_never_need_the_sdk() -> None:
    assert "import mcp" not in inspect.getsource(module)

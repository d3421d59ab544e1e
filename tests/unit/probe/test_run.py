"""A checkup writes down what a probe, a listing and the clients' traffic say of a server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.base import Era, Identity, Probe, ProbeResult, ReachedError, Replied
from exporter.probe.history import Record
from exporter.probe.http import HttpProbe
from exporter.probe.run import ProbeRunner, make_probe
from exporter.probe.sse import SseProbe
from exporter.probe.stdio import StdioProbe
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import Fault, UpstreamError
from exporter.telemetry.health import State
from exporter.telemetry.health_tracker import HealthTracker
from exporter.transport.process.reaper import Reaper
from tests.support.fakes import Books, encoded, error, on_fake_time, result, virtual_loop

SERVER = Server(
    "files", "http", url="http://server/mcp", headers={"X": "hush-hush"}, probe=ProbeSettings()
)
Listing = Callable[[], Mapping[str, bytes]]


class Tame(Probe):
    """A probe that finds and lists what the test says."""

    def __init__(self) -> None:
        super().__init__(SERVER)
        self.era = Era.MODERN
        self.found = ProbeResult("success", 0.25)
        self.listing: dict[str, bytes] | Exception = {}
        self.delay = 0.0
        self.listed = 0
        self.hushed = 0

    async def run(self, dialogue: Transcript, patience: float, ends_at: float) -> ProbeResult:
        del patience, ends_at
        dialogue.note("sent", "ping")
        return self.found

    async def tools(self) -> dict[str, bytes]:
        self.listed += 1
        await asyncio.sleep(self.delay)
        if isinstance(self.listing, Exception):
            raise self.listing
        return self.listing

    def hush(self) -> None:
        self.hushed += 1

    async def close(self) -> None:
        """Nothing is open."""

    async def _check(self) -> None:
        raise AssertionError

    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        raise AssertionError(method, params)


class Examined:
    """A checkup with a tame probe, and its books."""

    def __init__(self) -> None:
        self.books = Books()
        self.vitals = HealthTracker(self.books.recorder)
        self.checkup = ProbeRunner(SERVER, self.books.recorder, self.vitals, Reaper())
        self.probe = Tame()
        self.checkup.probe = self.probe

    async def run(self, *, is_listing_due: bool = True, within: float = 27.0) -> Record:
        ends_at = virtual_loop().time() + within
        return await self.checkup.run(5.0, ends_at, is_listing_due)

    def hear(self, *tools: str, cursor: str | None = None, more: str | None = None) -> bool:
        members = {"nextCursor": more} if more else {}
        page = result(1, tools=[{"name": name} for name in tools], **members)
        return self.checkup.heard(encoded(page), cursor)


def definitions(**descriptions: str) -> dict[str, bytes]:
    return {
        name: encoded({"name": name, "description": text}) for name, text in descriptions.items()
    }


@pytest.mark.parametrize(
    ("transport", "kind"), [("http", HttpProbe), ("sse", SseProbe), ("stdio", StdioProbe)]
)
def test_each_transport_has_its_probe(transport: str, kind: type[Probe]) -> None:
    @on_fake_time
    async def run() -> None:
        settings = {"url": "http://server/mcp"} if transport != "stdio" else {"command": "x"}
        server = Server("a", transport, **settings)  # type: ignore[arg-type]
        assert type(make_probe(server, Books().recorder, Reaper())) is kind

    run()


@on_fake_time
async def test_a_probe_is_counted_with_its_time_and_moves_the_state() -> None:
    examined = Examined()
    record = await examined.run()
    assert examined.books.value("mcp_probes_total", result="success") == 1
    assert examined.books.value("mcp_probe_duration_seconds_sum") == 0.25
    assert examined.vitals.state is State.OK
    assert (record.server, record.finding.result, record.steps[0].text) == (
        "files",
        "success",
        "ping",
    )


@pytest.mark.parametrize(
    ("found", "state"),
    [
        ("success", "ok"),
        ("unauthorized", "ok"),
        ("timeout", "degraded"),
        ("connect_error", "degraded"),
    ],
)
def test_a_result_decides_about_the_state(found: str, state: str) -> None:
    @on_fake_time
    async def run() -> None:
        examined = Examined()
        examined.probe.found = ProbeResult(found, 0.1, "why")
        await examined.run()
        assert examined.vitals.state == state
        assert examined.books.value("mcp_probes_total", result=found) == 1

    run()


@on_fake_time
async def test_who_the_server_says_it_is_replaces_what_it_said() -> None:
    examined = Examined()
    for version in ("1", "2"):
        examined.probe.identity = Identity("files", version, "2025-11-25")
        await examined.run()
    labels = {"transport": "http", "server_name": "files", "protocol_version": "2025-11-25"}
    assert examined.books.value("mcp_server_info", server_version="1", **labels) is None
    assert examined.books.value("mcp_server_info", server_version="2", **labels) == 1


# Listing


@on_fake_time
async def test_a_listing_shows_how_many_tools_and_what_they_cost() -> None:
    examined = Examined()
    examined.probe.listing = definitions(read="Reads.", write="Writes.")
    record = await examined.run()
    assert record.tools == 2
    assert examined.books.value("mcp_server_tools") == 2
    size = sum(len(text) for text in examined.probe.listing.values())
    assert examined.books.value("mcp_server_tool_definition_bytes") == size
    assert examined.books.value("mcp_tool_calls_total", tool="read", outcome="timeout") == 0


@on_fake_time
async def test_a_changed_tool_is_counted_and_said_with_its_diff(
    caplog: pytest.LogCaptureFixture,
) -> None:
    examined = Examined()
    examined.probe.listing = definitions(read="Reads.", old="Goes.")
    await examined.run()
    examined.probe.listing = definitions(read="Reads. Use hush-hush.", new="Comes.")
    await examined.run()
    for change in ("added", "removed", "modified"):
        assert examined.books.value("mcp_server_tool_changes_total", change=change) == 1
    said = {
        (r.__dict__["tool"], r.__dict__["change"], "diff" in r.__dict__)
        for r in caplog.records
        if r.message == "tool definition changed"
    }
    assert said == {("read", "modified", True), ("new", "added", False), ("old", "removed", False)}
    diffs = [r.__dict__["diff"] for r in caplog.records if "diff" in r.__dict__]
    assert "Reads. Use <secret>." in diffs[0]


@pytest.mark.parametrize(
    ("found", "era", "is_due"),
    [
        ("timeout", Era.MODERN, True),
        ("unauthorized", Era.UNKNOWN, True),
        ("success", Era.UNKNOWN, True),
        ("success", Era.MODERN, False),
    ],
)
def test_nothing_is_listed_where_that_makes_no_sense(found: str, era: Era, is_due: bool) -> None:
    @on_fake_time
    async def run() -> None:
        examined = Examined()
        examined.probe.found, examined.probe.era = ProbeResult(found, 0.1), era
        record = await examined.run(is_listing_due=is_due)
        assert (record.tools, examined.probe.listed) == (None, 0)

    run()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (UpstreamError("HTTP 500", Fault.PROTOCOL), "HTTP 500"),
        (ReachedError("HTTP 403", "unauthorized"), "HTTP 403"),
        (UpstreamError("key hush-hush"), "key <secret>"),
        (TimeoutError(), "no reply in time"),
    ],
)
def test_a_failed_listing_is_said_once_and_harms_nothing(
    failure: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    @on_fake_time
    async def run() -> None:
        examined = Examined()
        examined.probe.listing = failure
        for _ in range(3):
            assert (await examined.run()).tools is None
        assert examined.vitals.state is State.OK

    caplog.set_level(logging.INFO)
    run()
    said = [r.__dict__["reason"] for r in caplog.records if "could not be listed" in r.message]
    assert said == [reason]


@on_fake_time
async def test_a_listing_ends_before_the_next_probe() -> None:
    examined = Examined()
    examined.probe.delay = 60.0
    began = virtual_loop().time()
    assert (await examined.run(within=27.0)).tools is None
    assert virtual_loop().time() - began == 27.0


@on_fake_time
async def test_a_probe_leaves_quiet_behind_even_where_it_fails_in_itself() -> None:
    examined = Examined()
    examined.probe.listing = ValueError("a fault of ours")
    with pytest.raises(ValueError, match="a fault of ours"):
        await examined.run()
    assert examined.probe.hushed == 1


# What clients are shown


@on_fake_time
async def test_tools_that_a_client_is_shown_are_known_page_by_page() -> None:
    examined = Examined()
    examined.hear("a", more="2")
    assert examined.books.value("mcp_tool_calls_total", tool="a", outcome="ok") == 0
    assert examined.books.value("mcp_server_tools") is None
    examined.hear("b", cursor="2")
    assert examined.books.value("mcp_server_tools") == 2


@on_fake_time
async def test_news_from_clients_are_told_so_that_the_prober_looks_itself() -> None:
    examined = Examined()
    examined.probe.listing = {"a": b'{"name":"a"}'}
    await examined.run()
    assert not examined.hear("a")
    assert examined.hear("a", "b")
    assert not examined.hear("a", "b")
    assert examined.books.value("mcp_server_tool_changes_total", change="added") == 1


@pytest.mark.parametrize("data", [b"<html>", encoded(error(1)), encoded(result(1))])
def test_what_is_no_page_of_tools_says_nothing(data: bytes) -> None:
    @on_fake_time
    async def run() -> None:
        examined = Examined()
        assert not examined.checkup.heard(data, None)
        assert examined.books.value("mcp_server_tools") is None

    run()


# Ends


@on_fake_time
async def test_a_child_that_ends_between_probes_is_a_bad_sign_but_no_probe() -> None:
    examined = Examined()
    record = examined.checkup.exited("exited with code 1", Transcript(str))
    assert (record.finding.result, record.finding.text) == ("process_exit", "exited with code 1")
    assert examined.vitals.state is State.DEGRADED
    assert examined.books.value("mcp_probes_total", result="process_exit") == 0

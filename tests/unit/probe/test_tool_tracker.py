"""What listings and clients' traffic show of a server's tools is counted and logged."""

from __future__ import annotations

import asyncio
import logging

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.target import ReachedError
from exporter.probe.tool_diff import MAX_LINES
from exporter.probe.tool_tracker import LOG_INTERVAL, LOGGED_AT_ONCE, ToolTracker
from exporter.protocol.failures import Fault, UpstreamError
from tests.support.fakes import Telemetry, encoded, error, on_fake_time, result, virtual_loop
from tests.support.probe_fakes import FakeTarget

SERVER = Server(
    "files", "http", url="http://server/mcp", headers={"X": "hush-hush"}, probe=ProbeSettings()
)


class Tracked:
    """The tools of a server, and the samples that they become."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.target = FakeTarget(SERVER)
        self.tracker = ToolTracker(SERVER, self.telemetry.recorder, self.target.redact)

    async def list_own(self, **descriptions: str) -> int | None:
        self.target.listing = definitions(**descriptions)
        return await self.fail_or_list()

    async def fail_or_list(self) -> int | None:
        return await self.tracker.list_own(self.target, virtual_loop().time() + 27.0)

    def show(self, *tools: str, cursor: str | None = None, more: str | None = None) -> bool:
        members = {"nextCursor": more} if more else {}
        page = result(1, tools=[{"name": name} for name in tools], **members)
        return self.tracker.shown(encoded(page), cursor)


def definitions(**descriptions: str) -> dict[str, bytes]:
    return {
        name: encoded({"name": name, "description": text}) for name, text in descriptions.items()
    }


@on_fake_time
async def test_a_listing_shows_how_many_tools_and_what_they_cost() -> None:
    tracked = Tracked()
    assert await tracked.list_own(read="Reads.", write="Writes.") == 2
    assert tracked.telemetry.value("mcp_server_tools") == 2
    size = sum(len(text) for text in definitions(read="Reads.", write="Writes.").values())
    assert tracked.telemetry.value("mcp_server_tool_definition_bytes") == size
    assert tracked.telemetry.value("mcp_tool_calls_total", tool="read", outcome="timeout") == 0


@on_fake_time
async def test_a_changed_tool_is_counted_and_logged_with_its_diff(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracked = Tracked()
    await tracked.list_own(read="Reads.", old="Goes.")
    await tracked.list_own(read="Reads. Use hush-hush.", new="Comes.")
    for change in ("added", "removed", "modified"):
        assert tracked.telemetry.value("mcp_server_tool_changes_total", change=change) == 1
    (logged,) = [r.__dict__ for r in caplog.records if r.message == "tool definitions changed"]
    assert (logged["added"], logged["removed"], logged["modified"]) == ("new", "old", "read")
    assert "read:" in logged["diff"]
    assert "Reads. Use <secret>." in logged["diff"]


@on_fake_time
async def test_a_server_whose_tools_change_each_time_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracked = Tracked()
    for number in range(100):
        await tracked.list_own(**{f"tool{n}": f"as of {number}" for n in range(300)})
    logged = [r.__dict__ for r in caplog.records if r.message == "tool definitions changed"]
    assert len(logged) == LOGGED_AT_ONCE
    assert logged[0]["modified"].endswith("and 280 more")
    assert logged[0]["diff"].endswith("… and 280 more tools")
    assert len(logged[0]["diff"].split("\n")) <= MAX_LINES
    changes = tracked.telemetry.value("mcp_server_tool_changes_total", change="modified")
    assert changes == 99 * 300
    await asyncio.sleep(LOG_INTERVAL)
    await tracked.list_own(tool0="at last")
    last = caplog.records[-1].__dict__
    assert last["skipped"] == 99 - LOGGED_AT_ONCE


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (UpstreamError("HTTP 500", Fault.PROTOCOL), "HTTP 500"),
        (ReachedError("HTTP 403", "unauthorized"), "HTTP 403"),
        (UpstreamError("key hush-hush"), "key <secret>"),
        (TimeoutError(), "no reply in time"),
    ],
)
def test_a_failed_listing_is_logged_once(
    failure: Exception, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    @on_fake_time
    async def run() -> None:
        tracked = Tracked()
        tracked.target.listing = failure
        for _ in range(3):
            assert await tracked.fail_or_list() is None

    caplog.set_level(logging.INFO)
    run()
    logged = [r.__dict__["reason"] for r in caplog.records if "could not be listed" in r.message]
    assert logged == [reason]


@on_fake_time
async def test_a_listing_that_is_cut_is_taken_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    tracked = Tracked()
    tracked.target.cut = "lists more tools than are read"
    assert await tracked.list_own(a="1") == 1
    assert tracked.telemetry.value("mcp_server_tools") == 1
    assert tracked.telemetry.value("mcp_exporter_unparsed_messages_total", reason="too_large") == 1
    assert caplog.records[-1].__dict__["reason"] == "lists more tools than are read"


@on_fake_time
async def test_tools_that_a_client_is_shown_are_known_page_by_page() -> None:
    tracked = Tracked()
    tracked.show("a", more="2")
    assert tracked.telemetry.value("mcp_tool_calls_total", tool="a", outcome="ok") == 0
    assert tracked.telemetry.value("mcp_server_tools") is None
    tracked.show("b", cursor="2")
    assert tracked.telemetry.value("mcp_server_tools") == 2


@on_fake_time
async def test_news_from_clients_are_told_so_that_the_prober_lists_itself() -> None:
    tracked = Tracked()
    tracked.target.listing = {"a": b'{"name":"a"}'}
    await tracked.fail_or_list()
    assert not tracked.show("a")
    assert tracked.show("a", "b")
    assert not tracked.show("a", "b")
    assert tracked.telemetry.value("mcp_server_tool_changes_total", change="added") == 1


@pytest.mark.parametrize("data", [b"<html>", encoded(error(1)), encoded(result(1))])
def test_what_is_no_page_of_tools_says_nothing(data: bytes) -> None:
    @on_fake_time
    async def run() -> None:
        tracked = Tracked()
        assert not tracked.tracker.shown(data, None)
        assert tracked.telemetry.value("mcp_server_tools") is None

    run()

"""One probe writes what it finds to a registry: a result with its time, a state, the tools."""

from __future__ import annotations

import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.history import Record
from exporter.probe.http import HttpTarget
from exporter.probe.identity import Identity
from exporter.probe.run import open_target, probe
from exporter.probe.sse import SseTarget
from exporter.probe.stdio import StdioTarget
from exporter.probe.target import Era, ProbeResult, Target
from exporter.probe.tool_tracker import ToolTracker
from exporter.telemetry.health import State
from exporter.telemetry.health_tracker import HealthTracker
from exporter.transport.process.reaper import Reaper
from tests.support.fakes import Telemetry, on_fake_time, virtual_loop
from tests.support.probe_fakes import FakeTarget

SERVER = Server("files", "http", url="http://server/mcp", probe=ProbeSettings())


class Probed:
    """A target, and the registry that its probes are written to."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.target = FakeTarget(SERVER)
        self.health = HealthTracker(self.telemetry.recorder)
        self.tools = ToolTracker(SERVER, self.telemetry.recorder, self.target.redact)

    async def run(self, *, lists_tools: bool = True, within: float = 27.0) -> Record:
        return await probe(
            self.target,
            self.telemetry.recorder,
            self.health,
            self.tools,
            timeout=5.0,
            ends_at=virtual_loop().time() + within,
            lists_tools=lists_tools,
        )


@pytest.mark.parametrize(
    ("transport", "kind"), [("http", HttpTarget), ("sse", SseTarget), ("stdio", StdioTarget)]
)
def test_each_transport_has_its_target(transport: str, kind: type[Target]) -> None:
    @on_fake_time
    async def run() -> None:
        settings = {"url": "http://server/mcp"} if transport != "stdio" else {"command": "x"}
        server = Server("a", transport, **settings)  # type: ignore[arg-type]
        assert type(open_target(server, Telemetry().recorder, Reaper())) is kind

    run()


@on_fake_time
async def test_a_probe_is_counted_with_its_time_and_moves_the_state() -> None:
    probed = Probed()
    record = await probed.run()
    assert probed.telemetry.value("mcp_probes_total", result="success") == 1
    assert probed.telemetry.value("mcp_probe_duration_seconds_sum") == 0.25
    assert probed.health.state is State.OK
    assert (record.server, record.result.value, record.steps[0].text) == (
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
        probed = Probed()
        probed.target.found = ProbeResult(found, 0.1, "why")
        await probed.run()
        assert probed.health.state == state
        assert probed.telemetry.value("mcp_probes_total", result=found) == 1

    run()


@on_fake_time
async def test_who_the_server_says_it_is_replaces_what_it_said() -> None:
    probed = Probed()
    for version in ("1", "2"):
        probed.target.identity = Identity("files", version, "2025-11-25")
        await probed.run()
    labels = {"transport": "http", "server_name": "files", "protocol_version": "2025-11-25"}
    assert probed.telemetry.value("mcp_server_info", server_version="1", **labels) is None
    assert probed.telemetry.value("mcp_server_info", server_version="2", **labels) == 1


@on_fake_time
async def test_the_tools_are_listed_after_a_good_probe() -> None:
    probed = Probed()
    probed.target.listing = {"read": b'{"name":"read"}'}
    assert (await probed.run()).tools == 1
    assert probed.telemetry.value("mcp_server_tools") == 1


@pytest.mark.parametrize(
    ("found", "era", "lists_tools"),
    [
        ("timeout", Era.MODERN, True),
        ("unauthorized", Era.UNKNOWN, True),
        ("success", Era.UNKNOWN, True),
        ("success", Era.MODERN, False),
    ],
)
def test_nothing_is_listed_where_that_makes_no_sense(
    found: str, era: Era, lists_tools: bool
) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed()
        probed.target.found, probed.target.era = ProbeResult(found, 0.1), era
        record = await probed.run(lists_tools=lists_tools)
        assert (record.tools, probed.target.listed_at) == (None, [])

    run()


@on_fake_time
async def test_a_listing_ends_before_the_next_probe_and_does_not_hold_the_state_back() -> None:
    probed = Probed()
    states: list[State] = []
    probed.target.listing_takes = 60.0
    virtual_loop().call_later(1.0, lambda: states.append(probed.health.state))
    began = virtual_loop().time()
    assert (await probed.run(within=27.0)).tools is None
    assert virtual_loop().time() - began == 27.0
    assert states == [State.OK]


@on_fake_time
async def test_a_probe_is_detached_even_where_it_fails_in_itself() -> None:
    probed = Probed()
    probed.target.listing = ValueError("a fault of ours")
    with pytest.raises(ValueError, match="a fault of ours"):
        await probed.run()
    assert probed.target.detached == 1

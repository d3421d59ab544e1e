"""The clock on the wall jumps; deadlines, durations and health go by the one that does not."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from exporter.probe import run
from exporter.telemetry import health_tracker
from exporter.telemetry.health_tracker import HealthTracker
from tests.support.fakes import Telemetry, on_fake_time, request, result, settle, virtual_loop
from tests.support.paths import ROOT
from tests.unit.relay.http.test_relay import LEGACY, SESSION, Setup, http

DAY = 86_400.0
JUMPS = pytest.mark.parametrize("jump", [-DAY, -1.0, DAY], ids=["a day back", "back", "a day on"])
CALL = request(1, "tools/call", name="x")

TELLS_THE_TIME = {
    "app.py",
    "cli/status.py",
    "cli/status_source.py",
    "probe/http_client.py",
    "probe/run.py",
    "telemetry/health_tracker.py",
    "telemetry/metrics.py",
    "telemetry/series.py",
    "telemetry/spans/tracer.py",
    "web/server.py",
    "wrap/buffer.py",
    "wrap/wrapped_server.py",
}
"""Modules that say when something was; all others are not to know."""


class Wall:
    """The clock on the wall, which somebody sets while it runs."""

    def __init__(self) -> None:
        self.jump = 0.0

    def __call__(self) -> float:
        return 1_700_000_000.0 + virtual_loop().time() + self.jump


@JUMPS
@on_fake_time
async def test_a_call_lasts_as_long_as_it_lasts(jump: float) -> None:
    wall, setup = Wall(), Setup()
    setup.telemetry.metrics.clock = wall
    await setup.post(CALL)
    await asyncio.sleep(2)
    wall.jump = jump
    setup.say(http(result(1)))
    await settle()
    assert setup.outcomes == {"ok": 1}
    labels = {"method": "tools/call", "outcome": "ok"}
    assert setup.telemetry.value("mcp_request_duration_seconds_sum", **labels) == pytest.approx(2)
    told = setup.telemetry.value("mcp_tool_call_last_timestamp_seconds", tool="_other")
    assert told == pytest.approx(wall())


@JUMPS
@on_fake_time
async def test_a_deadline_is_kept(jump: float) -> None:
    wall, setup = Wall(), Setup(timeout=10)
    setup.telemetry.metrics.clock = wall
    client = await setup.post(CALL)
    await asyncio.sleep(5)
    wall.jump = jump
    await asyncio.sleep(4)
    assert not client.replies()
    await asyncio.sleep(2)
    assert client.reply.status == 504
    assert setup.outcomes == {"timeout": 1}


@JUMPS
@on_fake_time
async def test_a_session_is_idle_when_it_is_idle(jump: float) -> None:
    wall, setup = Wall(), Setup()
    setup.telemetry.metrics.clock = wall
    await setup.open()
    wall.jump = jump
    await asyncio.sleep(60)
    await setup.post(CALL, SESSION, LEGACY)
    setup.say(http(result(1)))
    assert setup.telemetry.value("mcp_sessions") == 1
    await asyncio.sleep(2 * 1800)
    assert setup.telemetry.value("mcp_sessions") == 0
    assert setup.telemetry.value("mcp_session_duration_seconds_sum") == pytest.approx(1860, abs=5)


@JUMPS
@on_fake_time
async def test_health_goes_by_what_happens(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wall, telemetry = Wall(), Telemetry()
    telemetry.metrics.clock = wall
    for module in (health_tracker, run):
        monkeypatch.setattr(module, "time", wall)
    found = HealthTracker(telemetry.recorder, is_probed=False)
    found.call_succeeded()
    for _ in range(3):
        wall.jump += jump
        await asyncio.sleep(2)
        found.call_failed("gone")
    assert found.state.value == "error"
    for _ in range(3):
        wall.jump -= jump
        await asyncio.sleep(10)
        found.call_succeeded()
    assert found.state.value == "ok"
    assert found.since == pytest.approx(wall(), abs=30 + abs(jump))


def test_only_those_who_tell_the_time_ask_for_it() -> None:
    package = ROOT / "exporter"
    asking = {str(path.relative_to(package)) for path in package.rglob("*.py") if _asks(path)}
    assert asking <= TELLS_THE_TIME


def _asks(path: Path) -> bool:
    nodes = ast.walk(ast.parse(path.read_text()))
    return any(
        isinstance(node, ast.ImportFrom)
        and node.module == "time"
        and any(alias.name == "time" for alias in node.names)
        for node in nodes
    )

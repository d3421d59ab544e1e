"""The beat of the loop that relays, and what follows from it for health and readiness."""

from __future__ import annotations

import asyncio

import pytest

from exporter.web.liveness import PULSE, STALLED_AFTER, Heartbeat, Liveness, Phase
from tests.support.fakes import on_fake_time, virtual_loop


class Setup:
    """A heartbeat, and what it tells."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.beats: list[float] = []
        self.is_listening = True
        self.heartbeat = Heartbeat(self.lags.append, self.beats.append)
        self.liveness = Liveness(self.heartbeat, lambda: self.is_listening)
        self.liveness.phase = "serving"


@on_fake_time
async def test_a_loop_that_turns_beats_and_is_never_late() -> None:
    setup = Setup()
    setup.heartbeat.start()
    await asyncio.sleep(10 * PULSE)
    setup.heartbeat.stop()
    assert len(setup.beats) in (10, 11)
    assert max(setup.lags) == pytest.approx(0.0)
    assert setup.liveness.unhealthy() is None


@on_fake_time
async def test_a_beat_says_how_late_it_is() -> None:
    setup = Setup()
    setup.heartbeat.start()
    virtual_loop().clock.advance(PULSE + 0.2)  # a callback that holds the loop
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert setup.lags[-1] == pytest.approx(0.2)
    setup.heartbeat.stop()


@on_fake_time
async def test_a_loop_that_does_not_turn_is_unhealthy_until_it_turns_again() -> None:
    setup = Setup()
    setup.heartbeat.start()
    virtual_loop().clock.advance(STALLED_AFTER - 1)
    assert setup.liveness.unhealthy() is None
    virtual_loop().clock.advance(1)
    reason = "the loop that relays has not turned for 15 s"
    assert setup.liveness.unhealthy() == setup.liveness.unready() == reason
    await asyncio.sleep(PULSE)
    assert setup.liveness.unhealthy() is None
    assert setup.liveness.unready() is None
    setup.heartbeat.stop()


@pytest.mark.parametrize("phase", ["starting", "draining"])
def test_before_and_after_serving_it_is_healthy_but_not_ready(phase: Phase) -> None:
    setup = Setup()
    setup.liveness.phase = phase
    assert setup.liveness.unhealthy() is None
    assert setup.liveness.unready() == f"it is {phase}"


def test_an_exporter_that_accepts_no_connections_is_not_ready() -> None:
    setup = Setup()
    setup.is_listening = False
    assert setup.liveness.unready() == "the MCP listener accepts no connections"
    assert setup.liveness.unhealthy() is None

"""The beat of the loop that relays, and what follows from it for health and readiness."""

from __future__ import annotations

import asyncio

import pytest

from exporter.web.liveness import PULSE, STALLED_AFTER, Heartbeat, Liveness, Phase
from tests.support.fakes import on_fake_time, virtual_loop


class Scene:
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
    scene = Scene()
    scene.heartbeat.start()
    await asyncio.sleep(10 * PULSE)
    scene.heartbeat.stop()
    assert len(scene.beats) in (10, 11)
    assert max(scene.lags) == pytest.approx(0.0)
    assert scene.liveness.unhealthy() is None


@on_fake_time
async def test_a_beat_says_how_late_it_is() -> None:
    scene = Scene()
    scene.heartbeat.start()
    virtual_loop().clock.advance(PULSE + 0.2)  # a callback that holds the loop
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert scene.lags[-1] == pytest.approx(0.2)
    scene.heartbeat.stop()


@on_fake_time
async def test_a_loop_that_does_not_turn_is_unhealthy_until_it_turns_again() -> None:
    scene = Scene()
    scene.heartbeat.start()
    virtual_loop().clock.advance(STALLED_AFTER - 1)
    assert scene.liveness.unhealthy() is None
    virtual_loop().clock.advance(1)
    reason = "the loop that relays has not turned for 15 s"
    assert scene.liveness.unhealthy() == scene.liveness.unready() == reason
    await asyncio.sleep(PULSE)
    assert scene.liveness.unhealthy() is None
    assert scene.liveness.unready() is None
    scene.heartbeat.stop()


@pytest.mark.parametrize("phase", ["starting", "draining"])
def test_before_and_after_serving_it_is_healthy_but_not_ready(phase: Phase) -> None:
    scene = Scene()
    scene.liveness.phase = phase
    assert scene.liveness.unhealthy() is None
    assert scene.liveness.unready() == f"it is {phase}"


def test_an_exporter_that_accepts_no_connections_is_not_ready() -> None:
    scene = Scene()
    scene.is_listening = False
    assert scene.liveness.unready() == "the MCP listener accepts no connections"
    assert scene.liveness.unhealthy() is None

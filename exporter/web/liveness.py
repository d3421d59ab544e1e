"""Whether the exporter serves and the loop that relays turns, as other threads can see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Literal

PULSE = 0.5
"""Seconds between two beats of the loop that relays."""

STALLED_AFTER = 15.0
"""Seconds without a beat after which the exporter is not healthy."""

Phase = Literal["starting", "serving", "draining"]


class Heartbeat:
    """Beats on the loop that relays. ``observe_lag`` is told how late each beat is, in seconds,
    and ``on_beat`` when it was."""

    def __init__(
        self, observe_lag: Callable[[float], object], on_beat: Callable[[float], object]
    ) -> None:
        self._observe_lag = observe_lag
        self._on_beat = on_beat
        self._last = monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def age(self) -> float:
        """Seconds since the last beat; may be read on any thread."""
        return monotonic() - self._last

    def start(self) -> None:
        """Beat now, and from now on."""
        self._last = monotonic() - PULSE
        self._beat()

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        now = monotonic()
        self._observe_lag(max(0.0, now - self._last - PULSE))
        self._last = now
        self._on_beat(now)
        self._timer = asyncio.get_running_loop().call_later(PULSE, self._beat)


class Liveness:
    """What ``/-/healthy`` and ``/-/ready`` say."""

    def __init__(self, heartbeat: Heartbeat, is_listening: Callable[[], bool]) -> None:
        self._heartbeat = heartbeat
        self._is_listening = is_listening
        self.phase: Phase = "starting"

    def unhealthy(self) -> str | None:
        """Why it should be started again, or ``None``."""
        age = self._heartbeat.age
        if age < STALLED_AFTER:
            return None
        return f"the loop that relays has not turned for {age:.0f} s"

    def unready(self) -> str | None:
        """Why no new client should be sent here, or ``None``."""
        if self.phase != "serving":
            return f"it is {self.phase}"
        if not self._is_listening():
            return "the MCP listener accepts no connections"
        return self.unhealthy()

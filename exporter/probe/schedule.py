"""When a server is probed and its tools are listed: pure, times come in, times go out.

An interval runs from start to start, so that a slow reply does not stretch it.
"""

from __future__ import annotations

from collections.abc import Callable

from exporter.config.model import ProbeSettings

JITTER = 0.1
"""The part of the interval by which probes are spread, so that servers are not hit in step."""

URGENT_SHARE = 0.25
"""The part of the interval after which a probe follows one that leaves the state open."""

SHORTEST = 1.0
"""Seconds that an urgent probe, or a listing after a change, waits at least."""


class Schedule:
    """The schedule of one server. ``jitter`` gives a factor around 1."""

    def __init__(self, settings: ProbeSettings, now: float, jitter: Callable[[], float]) -> None:
        self.probe_at = now
        self.list_at = now
        self._settings = settings
        self._jitter = jitter
        self._last_probe = now
        self._last_listing: float | None = None

    def next_at(self, can_list: bool) -> float:
        """The time of the next probe or listing."""
        return min(self.probe_at, self.list_at) if can_list else self.probe_at

    def probed(
        self, started: float, now: float, is_settled: bool, retry_after: float = 0.0
    ) -> None:
        """A probe that began at ``started`` is over; the server asks for a pause of ``retry_after``
        seconds."""
        self._last_probe = started
        pause = self._settings.interval if is_settled else self._urgent
        self.probe_at = max(started + pause * self._jitter(), now + retry_after, now)

    def listed(self, now: float) -> None:
        """The tools were listed."""
        self._last_listing = now
        self.list_at = now + self._settings.list_interval * self._jitter()

    def not_listed(self, now: float) -> None:
        """A listing failed: it is tried again with the next probe."""
        self._last_listing = now
        self.list_at = max(self.probe_at, now)

    def recheck(self, now: float) -> None:
        """Real calls contradict the state: probe soon."""
        self.probe_at = min(self.probe_at, max(now, self._last_probe + self._soon))

    def tools_changed(self, now: float) -> None:
        """The server says that its tools changed. It may say so very often."""
        if self._last_listing is None:
            self.list_at = min(self.list_at, now)
        else:
            self.list_at = min(self.list_at, max(now, self._last_listing + self._soon))

    @property
    def _urgent(self) -> float:
        return max(self._settings.interval * URGENT_SHARE, self._soon)

    @property
    def _soon(self) -> float:
        return min(SHORTEST, self._settings.interval)

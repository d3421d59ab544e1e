"""Keeps the probes of one server to their schedule."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic

from exporter.config.model import Server
from exporter.probe.history import History
from exporter.probe.run import exit_record, probe
from exporter.probe.schedule import JITTER, Schedule
from exporter.probe.target import ProbeEvents, Target
from exporter.probe.tool_tracker import ToolTracker
from exporter.probe.transcript import Transcript
from exporter.telemetry.health_tracker import HealthTracker
from exporter.telemetry.recorder import ServerRecorder

LATE = 1.0
"""Seconds; a probe that starts later than this says so in the log."""

_FOREVER = float("inf")
_EARLY = 0.01  # seconds by which a timer may be early

log = logging.getLogger(__name__)


class Prober:
    """Probes one server on a task of its own; no other server waits for it.

    ``open_target`` makes the target, which tells the prober what happens between two probes.
    """

    def __init__(
        self,
        server: Server,
        recorder: ServerRecorder,
        history: History,
        open_target: Callable[[ProbeEvents], Target],
    ) -> None:
        self._settings = server.probe
        self._recorder = recorder
        self._history = history
        self._target = open_target(self)
        self.health = HealthTracker(
            recorder, is_probed=server.probe.enabled, recheck=self.probe_soon
        )
        self._tools = ToolTracker(server, recorder, self._target.redact)
        self._schedule = Schedule(self._settings, _FOREVER, _jitter)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def start(self, delay: float = 0.0) -> None:
        """Begin after ``delay`` seconds, unless probing is switched off for this server."""
        if self._settings.enabled:
            self._schedule = Schedule(self._settings, monotonic() + delay, _jitter)
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop, and leave nothing behind."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await self._target.close()
        # Both know the prober: without these cycles, what is replaced is freed at once.
        self._target.forget_events()
        self.health.recheck = None

    def probe_soon(self) -> None:
        """Probe before it is due: real calls contradict the state."""
        self._schedule.recheck(monotonic())
        self._wake.set()

    def tools_shown(self, data: bytes, cursor: str | None) -> None:
        """Take the page of tools that a client was sent for ``cursor``."""
        if self._tools.shown(data, cursor):
            self.tools_changed()

    # ProbeEvents

    def tools_changed(self) -> None:
        """List the tools soon: the server, or what a client was shown, says that they changed."""
        self._schedule.tools_changed(monotonic())
        self._wake.set()

    def child_exited(self, reason: str, transcript: Transcript) -> None:
        """The child ended between two probes: a failure, but no probe."""
        if self._task is None or self._task.done():
            return
        self.health.fail(reason)
        self._history.add(exit_record(self._recorder.name, reason, transcript))
        self.probe_soon()

    async def _run(self) -> None:
        while True:
            await self._wait()
            try:
                await self._do_what_is_due()
            except Exception:  # a fault of ours must not end the schedule
                log.exception("probe itself failed", extra={"server": self._recorder.name})
                self._recorder.failed("probe")
                self._schedule.probed(monotonic(), monotonic(), is_settled=True)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            pause = self._schedule.next_at(self._target.can_list) - monotonic()
            if pause <= _EARLY:
                return
            timer = loop.call_later(pause, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                timer.cancel()

    async def _do_what_is_due(self) -> None:
        now = monotonic()
        late = now - self._schedule.probe_at
        if late >= -_EARLY:
            if late > LATE:
                extra = {"server": self._recorder.name, "seconds": round(late, 3)}
                log.warning("probe starts late", extra=extra)
            await self._probe(now)
        elif self._target.can_list and now >= self._schedule.list_at - _EARLY:
            await self._list()

    async def _probe(self, now: float) -> None:
        is_listing_due = now >= self._schedule.list_at
        record = await probe(
            self._target,
            self._recorder,
            self.health,
            self._tools,
            timeout=self._settings.timeout,
            ends_at=now + self._settings.interval * (1 - JITTER),
            lists_tools=is_listing_due,
        )
        self._history.add(record)
        retry_after = record.result.retry_after
        self._schedule.probed(now, monotonic(), self.health.is_settled, retry_after)
        if is_listing_due:
            self._note_listing(record.tools is not None)

    async def _list(self) -> None:
        try:
            count = await self._tools.list_own(self._target, self._schedule.probe_at)
        finally:
            self._target.detach()
        self._note_listing(count is not None)

    def _note_listing(self, is_done: bool) -> None:
        if is_done:
            self._schedule.listed(monotonic())
        else:
            self._schedule.not_listed(monotonic())


def _jitter() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  not a secret

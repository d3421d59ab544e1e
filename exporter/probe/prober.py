"""Keeps one server's checkups to their schedule, and takes the signs of real traffic."""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic

from exporter.probe.history import History
from exporter.probe.run import ProbeRunner
from exporter.probe.schedule import JITTER, Schedule
from exporter.probe.stdio import StdioProbe
from exporter.probe.transcript import Transcript

LATE = 1.0
"""Seconds; a probe that starts later than this says so in the log."""

_FOREVER = float("inf")
_EARLY = 0.01  # seconds by which a timer may be early

log = logging.getLogger(__name__)


class Prober:
    """Probes one server on a task of its own; no other server waits for it."""

    def __init__(self, checkup: ProbeRunner, history: History) -> None:
        self._checkup = checkup
        self._history = history
        self._settings = checkup.server.probe
        self._schedule = Schedule(self._settings, _FOREVER, _jitter)
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        checkup.vitals.on_doubt = self.probe_soon
        checkup.probe.on_list_changed = self.list_soon
        if isinstance(checkup.probe, StdioProbe):
            checkup.probe.on_exit = self._exited

    def start(self, delay: float = 0.0) -> None:
        """Begin after ``delay`` seconds, unless probing is switched off for this server."""
        if self._settings.enabled:
            self._schedule = Schedule(self._settings, monotonic() + delay, _jitter)
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop, and leave nothing behind."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._checkup.probe.close()

    def probe_soon(self) -> None:
        """Real traffic leaves the server's state in doubt."""
        self._schedule.hurry(monotonic())
        self._wake.set()

    def list_soon(self) -> None:
        """The server said that its tools changed."""
        self._schedule.tools_changed(monotonic())
        self._wake.set()

    def tools_heard(self, data: bytes, cursor: str | None) -> None:
        """A client was sent a page of tools."""
        if self._checkup.heard(data, cursor):
            self.list_soon()

    async def _run(self) -> None:
        while True:
            await self._wait()
            try:
                await self._do_what_is_due()
            except Exception:  # noqa: BLE001  a fault of ours must not end the schedule
                self._checkup.failed()
                self._schedule.probed(monotonic(), monotonic(), is_settled=True)

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            pause = self._schedule.next_at(self._checkup.can_list) - monotonic()
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
                extra = {"server": self._name, "seconds": round(late, 3)}
                log.warning("probe starts late", extra=extra)
            await self._probe(now)
        elif self._checkup.can_list and now >= self._schedule.list_at - _EARLY:
            await self._list()

    async def _probe(self, now: float) -> None:
        is_listing_due = now >= self._schedule.list_at
        ends_at = now + self._settings.interval * (1 - JITTER)
        record = await self._checkup.run(self._settings.timeout, ends_at, is_listing_due)
        self._history.add(record)
        settled = self._checkup.vitals.is_settled
        self._schedule.probed(now, monotonic(), settled, record.finding.rest)
        if is_listing_due:
            self._note_listing(record.tools is not None)

    async def _list(self) -> None:
        self._note_listing(await self._checkup.list_tools(self._schedule.probe_at))

    def _note_listing(self, is_done: bool) -> None:
        if is_done:
            self._schedule.listed(monotonic())
        else:
            self._schedule.not_listed(monotonic())

    def _exited(self, reason: str, dialogue: Transcript) -> None:
        if self._task is not None and not self._task.done():
            self._history.add(self._checkup.exited(reason, dialogue))
            self.probe_soon()

    @property
    def _name(self) -> str:
        return self._checkup.server.name


def _jitter() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  not a secret

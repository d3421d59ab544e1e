"""The schedule of one server's probes: at start, then at intervals with jitter."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic

from exporter.call import UpstreamError
from exporter.child import Ledger
from exporter.config import Server
from exporter.http_probe import HttpProbe
from exporter.inventory import Inventory
from exporter.probe import Finding, Probe, UnauthorizedError
from exporter.reaper import Reaper
from exporter.recorder import ServerRecorder
from exporter.stdio_probe import StdioProbe
from exporter.vitals import Vitals

JITTER = 0.1
"""The part of the interval by which probes are spread, so that servers are not hit in step."""

URGENT_SHARE = 0.25
"""The part of the interval after which a probe follows one that leaves the state in doubt."""

log = logging.getLogger(__name__)


class Prober:
    """Probes one server on a task of its own; no other server waits for it."""

    def __init__(
        self, server: Server, recorder: ServerRecorder, vitals: Vitals, reaper: Reaper
    ) -> None:
        self._server = server
        self._settings = server.probe
        self._recorder = recorder
        self._vitals = vitals
        self._inventory = Inventory()
        self._probe: Probe = make_probe(server, recorder, reaper, self._exited)
        self._task: asyncio.Task[None] | None = None
        self._next_listing = 0.0
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Begin, unless probing is switched off for this server."""
        if self._settings.enabled:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop, and leave nothing behind."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._probe.close()

    def list_soon(self) -> None:
        """The server said that its tools changed: list them with the next probe, which is now."""
        self._next_listing = 0.0
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._once()
            except Exception:  # a fault of ours must not end the schedule
                log.exception("probe failed in itself", extra={"server": self._server.name})
                self._recorder.failed("probe")
            self._wake.clear()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _once(self) -> None:
        self._note(await self._probe.run())
        if self._probe.identity is not None:
            identity = self._probe.identity
            self._recorder.is_known_as(identity.name, identity.version, identity.protocol_version)
        if self._probe.is_acquainted and self._is_listing_due():
            await self._list()

    def _note(self, finding: Finding) -> None:
        self._recorder.probed(finding.result, finding.seconds)
        if finding.is_alive:
            self._vitals.succeed()
        else:
            self._vitals.fail(finding.text)

    def _is_listing_due(self) -> bool:
        changed, self._probe.list_changed = self._probe.list_changed, False
        return changed or monotonic() >= self._next_listing

    async def _list(self) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout):
                tools = await self._probe.tools()
        except (UpstreamError, UnauthorizedError, TimeoutError) as error:
            extra = {"server": self._server.name, "reason": str(error) or "timeout"}
            log.info("tools could not be listed", extra=extra)
            return
        self._next_listing = monotonic() + self._settings.list_interval
        self._recorder.listed(tools)
        self._recorder.set_tools(tools)
        for change in self._inventory.update(tools):
            self._recorder.tool_changed(change.kind)
            extra = {"server": self._server.name, "tool": change.tool, "change": change.kind}
            log.warning("tool definition changed %s", change.diff, extra=extra)

    def _exited(self, reason: str) -> None:
        """The prober's child ended between two probes: that is a failed one."""
        if self._task is not None and not self._task.done():
            self._recorder.probed("process_exit", 0.0)
            self._vitals.fail(reason)

    def _pause(self) -> float:
        interval = self._settings.interval
        if not self._vitals.is_settled:
            interval = max(interval * URGENT_SHARE, min(1.0, interval))
        return interval * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  not a secret


def make_probe(
    server: Server, ledger: Ledger, reaper: Reaper, on_exit: Callable[[str], None]
) -> Probe:
    """The probe for a server's transport."""
    if server.transport == "stdio":
        return StdioProbe(server, ledger, reaper, on_exit)
    return HttpProbe(server)

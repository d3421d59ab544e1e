"""Probes a server, lists its tools, and writes down what came of it.

The same for the schedule, for ``/probe`` and for the terminal; only where it is written differs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from time import monotonic, time

from exporter.config.model import Server
from exporter.probe.base import Era, Probe, ProbeResult, ReachedError
from exporter.probe.history import Record
from exporter.probe.http import HttpProbe
from exporter.probe.sse import SseProbe
from exporter.probe.stdio import StdioProbe
from exporter.probe.tool_inventory import Change, Inventory, Pages
from exporter.probe.transcript import Transcript
from exporter.protocol import jsonrpc
from exporter.protocol.failures import Fault, UpstreamError
from exporter.telemetry.health_tracker import HealthTracker
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.process.reaper import Reaper

log = logging.getLogger(__name__)


class ProbeRunner:
    """Everything that is found out about one server, and how."""

    def __init__(
        self, server: Server, recorder: ServerRecorder, vitals: HealthTracker, reaper: Reaper
    ) -> None:
        self.server = server
        self.vitals = vitals
        self.probe = make_probe(server, recorder, reaper)
        self.inventory = Inventory(server.probe.list_interval)
        self._recorder = recorder
        self._pages = Pages()
        self._last_refusal = ""

    @property
    def can_list(self) -> bool:
        """Whether the prober may ask for the tools: the server answers, in a known era."""
        return self.probe.era is not Era.UNKNOWN

    async def run(self, patience: float, ends_at: float, is_listing_due: bool = True) -> Record:
        """Probe within ``patience`` seconds, then list the tools, where that is due.

        The whole ends at ``ends_at`` (monotonic). What is found out is written down at once.
        """
        dialogue, when = Transcript(self.probe.mask), time()
        tools = None
        try:
            finding = await self.probe.run(dialogue, patience, ends_at)
            self._note(finding)
            if is_listing_due and finding.is_alive and self.can_list:
                tools = await self._list(ends_at)
        finally:
            self.probe.hush()
        count = None if tools is None else len(tools)
        return Record(self.server.name, when, finding, dialogue.steps, count)

    async def list_tools(self, ends_at: float) -> bool:
        """List the tools alone; answers whether that succeeded."""
        try:
            return await self._list(ends_at) is not None
        finally:
            self.probe.hush()

    def heard(self, data: bytes, cursor: str | None) -> bool:
        """Read a page of tools that a client was sent; answers whether it holds anything new."""
        page = jsonrpc.read_tools(data)
        if page is None:
            return False
        self._recorder.listed(page[0])
        listing = self._pages.take(page[0], cursor, page[1])
        if listing is None:
            return False
        is_news = self.inventory.differs(listing)
        self._learn(self.inventory.hear(listing, monotonic()))
        return is_news

    def exited(self, reason: str, dialogue: Transcript) -> Record:
        """The prober's child ended between two probes: that is a bad sign, but no probe."""
        self.vitals.fail(reason)
        finding = ProbeResult(Fault.EXIT, 0.0, reason)
        return Record(self.server.name, time(), finding, dialogue.steps)

    def failed(self) -> None:
        """The probe failed in itself: a fault of the exporter's."""
        log.exception("probe failed in itself", extra={"server": self.server.name})
        self._recorder.failed("probe")

    def _note(self, finding: ProbeResult) -> None:
        self._recorder.probed(finding.result, finding.seconds)
        if finding.is_alive:
            self.vitals.succeed()
        else:
            self.vitals.fail(finding.text)
        identity = self.probe.identity
        if identity is not None:
            self._recorder.is_known_as(identity.name, identity.version, identity.protocol_version)

    async def _list(self, ends_at: float) -> Mapping[str, bytes] | None:
        try:
            async with asyncio.timeout(ends_at - monotonic()):
                tools = await self.probe.tools()
        except (UpstreamError, ReachedError, TimeoutError) as error:
            self._log_refusal(self.probe.mask(str(error)) or "no reply in time")
            return None
        self._last_refusal = ""
        self._recorder.listed(tools)
        self._learn(self.inventory.list_own(tools, monotonic()))
        return tools

    def _learn(self, changes: list[Change]) -> None:
        self._recorder.set_tools(self.inventory.definitions)
        for change in changes:
            self._recorder.tool_changed(change.kind)
            extra = {"server": self.server.name, "tool": change.tool, "change": change.kind}
            if change.diff:
                extra["diff"] = self.probe.mask(change.diff)
            log.warning("tool definition changed", extra=extra)

    def _log_refusal(self, reason: str) -> None:
        if reason != self._last_refusal:
            extra = {"server": self.server.name, "reason": reason}
            log.info("tools could not be listed", extra=extra)
        self._last_refusal = reason


def make_probe(server: Server, recorder: ServerRecorder, reaper: Reaper) -> Probe:
    """The probe for a server's transport."""
    if server.transport == "stdio":
        return StdioProbe(server, recorder, reaper)
    return SseProbe(server) if server.transport == "sse" else HttpProbe(server)

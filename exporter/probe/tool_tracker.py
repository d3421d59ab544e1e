"""The tools of one server, as the prober lists them and as its clients are shown them: counted,
measured, and their changes logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from exporter.config.model import Server
from exporter.probe.target import ReachedError, Target
from exporter.probe.tool_inventory import Change, Inventory, Pages
from exporter.protocol import jsonrpc
from exporter.protocol.failures import UpstreamError
from exporter.telemetry.recorder import ServerRecorder

log = logging.getLogger(__name__)


class ToolTracker:
    """Compares each listing with what is known. ``redact`` takes secrets out of logged diffs."""

    def __init__(
        self, server: Server, recorder: ServerRecorder, redact: Callable[[str], str]
    ) -> None:
        self._server = server.name
        self._recorder = recorder
        self._redact = redact
        self._inventory = Inventory(server.probe.list_interval)
        self._pages = Pages()
        self._last_failure = ""

    async def list_own(self, target: Target, ends_at: float) -> int | None:
        """List the tools until ``ends_at`` (monotonic). Return their number if that succeeds."""
        try:
            async with asyncio.timeout(ends_at - monotonic()):
                tools = await target.tools()
        except (UpstreamError, ReachedError, TimeoutError) as error:
            self._log_failure(self._redact(str(error)) or "no reply in time")
            return None
        self._last_failure = ""
        self._recorder.listed(tools)
        self._note(self._inventory.list_own(tools, monotonic()))
        return len(tools)

    def shown(self, data: bytes, cursor: str | None) -> bool:
        """Take the page that a client was sent for ``cursor``. Return whether it holds news."""
        page = jsonrpc.read_tools(data)
        if page is None:
            return False
        self._recorder.listed(page[0])
        listing = self._pages.take(page[0], cursor, page[1])
        if listing is None:
            return False
        is_news = self._inventory.differs(listing)
        self._note(self._inventory.list_shown(listing, monotonic()))
        return is_news

    def _note(self, changes: list[Change]) -> None:
        self._recorder.set_tools(self._inventory.definitions)
        for change in changes:
            self._recorder.tool_changed(change.kind)
            extra = {"server": self._server, "tool": change.tool, "change": change.kind}
            if change.diff:
                extra["diff"] = self._redact(change.diff)
            log.warning("tool definition changed", extra=extra)

    def _log_failure(self, reason: str) -> None:
        if reason != self._last_failure:
            extra = {"server": self._server, "reason": reason}
            log.info("tools could not be listed", extra=extra)
        self._last_failure = reason

"""The tools of one server, as the prober lists them and as its clients are shown them: counted,
measured, and their changes logged.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic

from exporter.config.model import Server
from exporter.probe.target import ReachedError, Target
from exporter.probe.tool_diff import MAX_LINES, diff
from exporter.probe.tool_inventory import Change, Inventory, Pages, definitions
from exporter.protocol.failures import UpstreamError
from exporter.protocol.label_values import MODIFIED, TOOL_CHANGES
from exporter.protocol.printable import printable
from exporter.protocol.tool_page import read_tools
from exporter.telemetry.recorder import ServerRecorder

LOGGED_AT_ONCE = 10
LOG_INTERVAL = 60.0
"""Changes are logged in one line a listing: so many lines at once, then one in so many seconds."""

_NAMES = 20
_NAME_LENGTH = 64
_DIFFED = 20

log = logging.getLogger(__name__)


class ToolTracker:
    """Compares each listing with what is known. ``redact`` takes secrets out of logged diffs."""

    def __init__(
        self,
        server: Server,
        recorder: ServerRecorder,
        redact: Callable[[str], str],
        *,
        is_logged: bool = True,
    ) -> None:
        self._server = server.name
        self._recorder = recorder
        self._redact = redact
        self._is_logged = is_logged
        self._inventory = Inventory(server.probe.list_interval)
        self._pages = Pages()
        self._quota = LogQuota(LOGGED_AT_ONCE, LOG_INTERVAL)
        self._last_failure = ""

    async def list_own(self, target: Target, ends_at: float) -> int | None:
        """List the tools until ``ends_at`` (monotonic). Return their number if that succeeds."""
        try:
            async with asyncio.timeout(ends_at - monotonic()):
                listing = await target.list_tools()
        except (UpstreamError, ReachedError, TimeoutError) as error:
            self._log_failure(self._redact(str(error)) or "no reply in time")
            return None
        if listing.cut:
            self._recorder.unparsed("too_large")
        self._log_failure(self._redact(listing.cut))
        self._recorder.listed(listing.tools)
        tools = definitions(listing.tools)
        is_whole = not listing.cut
        self._note(self._inventory.list_own(tools, monotonic(), is_whole=is_whole))
        return len(tools)

    def shown(self, data: bytes, cursor: str | None) -> bool:
        """Take the page that a client was sent for ``cursor``. Return whether it holds news."""
        page = read_tools(data)
        if page is None:
            return False
        self._recorder.listed(page.tools)
        if page.is_cut:
            self._recorder.unparsed("too_large")
            return False
        listing = self._pages.take(definitions(page.tools), cursor, page.next_cursor)
        if listing is None:
            return False
        is_news = self._inventory.differs(listing)
        self._note(self._inventory.list_shown(listing, monotonic()))
        return is_news

    def _note(self, changes: list[Change]) -> None:
        self._recorder.set_tools(len(self._inventory), self._inventory.size)
        for kind, count in Counter(change.kind for change in changes).items():
            self._recorder.tools_changed(kind, count)
        if changes and self._quota.take(monotonic()):
            log.warning("tool definitions changed", extra=self._described(changes))

    def _described(self, changes: list[Change]) -> dict[str, object]:
        found: dict[str, object] = {"server": self._server}
        for kind in TOOL_CHANGES:
            names = [change.tool for change in changes if change.kind == kind]
            if names:
                found[kind] = _listed(names)
        text = "\n".join(_diffs([change for change in changes if change.kind == MODIFIED]))
        if text:
            found["diff"] = self._redact(text)
        if self._quota.skipped:
            found["skipped"] = self._quota.skipped
            self._quota.skipped = 0
        return found

    def _log_failure(self, reason: str) -> None:
        if reason and reason != self._last_failure and self._is_logged:
            extra = {"server": self._server, "reason": reason}
            log.info("tools could not be listed", extra=extra)
        self._last_failure = reason


class LogQuota:
    """Allows ``burst`` lines at once, and one more every ``interval`` seconds."""

    def __init__(self, burst: int, interval: float) -> None:
        self.skipped = 0
        self._burst = burst
        self._interval = interval
        self._full_at = float("-inf")

    def take(self, now: float) -> bool:
        """Whether a line may be logged at ``now`` (monotonic); counts the others."""
        full_at = max(self._full_at, now) + self._interval
        if full_at - now > self._burst * self._interval:
            self.skipped += 1
            return False
        self._full_at = full_at
        return True


def _listed(names: list[str]) -> str:
    shown = [printable(name[:_NAME_LENGTH]) for name in names[:_NAMES]]
    more = [f"and {len(names) - _NAMES} more"] if len(names) > _NAMES else []
    return ", ".join(shown + more)


def _diffs(changes: list[Change]) -> list[str]:
    """The diffs of modified tools, in as many lines as a diff of one may have."""
    lines: list[str] = []
    for place, change in enumerate(changes):
        if len(lines) > MAX_LINES - 3 or place == _DIFFED:
            return [*lines, f"… and {len(changes) - place} more tools"]
        lines.append(f"{printable(change.tool[:_NAME_LENGTH])}:")
        if change.before and change.after:
            lines += diff(change.before, change.after)[: MAX_LINES - 1 - len(lines)]
        else:
            lines.append("(too many definitions are kept to show what changed)")
    return lines

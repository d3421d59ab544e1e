"""What an exporter holds on to, and the wait until it holds no more than before."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.exporting import Exporter
from tests.support.running import wait_for

GAUGES = ("mcp_sessions", "mcp_requests_in_flight", "mcp_server_processes")
PATIENCE = 120.0


@dataclass(frozen=True)
class HeldResources:
    """Numbers of what an exporter holds on to: processes, descriptors by kind, gauges."""

    counts: Counter[str]

    @classmethod
    def of(cls, exporter: Exporter) -> HeldResources:
        """What it holds on to now."""
        scrape = exporter.scrape()
        counts = exporter.descriptors()
        counts["processes"] = len(exporter.descendants())
        counts.update({name: int(scrape.total(name)) for name in GAUGES})
        return cls(counts)

    @classmethod
    def told(cls, exporter: Exporter, told: Path) -> HeldResources:
        """The same, and the tasks and objects that a telling exporter tells of."""
        told.unlink(missing_ok=True)
        os.kill(exporter.pid, signal.SIGUSR2)
        wait_for(told.exists, PATIENCE, "the exporter tells")
        return cls(cls.of(exporter).counts + Counter(json.loads(told.read_text())))

    def beyond(self, other: HeldResources) -> dict[str, int]:
        """What is more than there was."""
        return dict(self.counts - other.counts)


def wait_for_release(
    now: Callable[[], HeldResources], before: HeldResources, patience: float = PATIENCE
) -> dict[str, int]:
    """What is still there, in the end, that was not; nothing where all is well."""
    left: dict[str, int] = {}

    def look() -> bool:
        left.clear()
        left.update(now().beyond(before))
        return not left

    try:
        wait_for(look, patience, "all is as it was before")
    except AssertionError:
        return left
    return {}

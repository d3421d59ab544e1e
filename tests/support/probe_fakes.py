"""Doubles of what a probe asks, and of who is told what happens between two probes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from exporter.config.model import Server
from exporter.probe.target import Era, Listing, ProbeEvents, ProbeResult, Replied, Target
from exporter.probe.transcript import Transcript
from tests.support.fakes import virtual_loop


def refusal_of_version(request_id: object, *supported: str) -> dict[str, object]:
    """An ``initialize`` is refused, and other versions are offered."""
    data = {"supported": list(supported)}
    error = {"code": -32602, "message": "Unsupported protocol version", "data": data}
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


class ProbeLog:
    """Keeps what a target tells of the time between two probes."""

    def __init__(self) -> None:
        self.changes = 0
        self.exits: list[str] = []

    def tools_changed(self) -> None:
        self.changes += 1

    def child_exited(self, reason: str, transcript: Transcript) -> None:
        del transcript
        self.exits.append(reason)


class FakeTarget(Target):
    """The test says what a check finds, what is listed, and how long that takes."""

    def __init__(self, server: Server, events: ProbeEvents | None = None) -> None:
        super().__init__(server, events)
        self.era = Era.MODERN
        self.found = ProbeResult("success", 0.25)
        self.check_takes = 0.0
        self.listing: dict[str, bytes] | Exception = {}
        self.cut = ""
        self.listing_takes = 0.0
        self.fault: Exception | None = None
        self.checked_at: list[float] = []
        self.listed_at: list[float] = []
        self.limits: list[tuple[float, float]] = []
        self.is_busy = False
        self.detached = 0
        self.is_closed = False

    async def check(self, transcript: Transcript, timeout: float, ends_at: float) -> ProbeResult:  # noqa: ASYNC109
        assert not self.is_busy, "probes overlap"
        transcript.note("sent", "ping")
        self.checked_at.append(self._now)
        self.limits.append((timeout, ends_at - virtual_loop().time()))
        self.is_busy = True
        await asyncio.sleep(self.check_takes)
        self.is_busy = False
        if self.fault is not None:
            raise self.fault
        return self.found

    async def list_tools(self) -> Listing:
        self.listed_at.append(self._now)
        await asyncio.sleep(self.listing_takes)
        if isinstance(self.listing, Exception):
            raise self.listing
        return Listing(self.listing, self.cut)

    def detach(self) -> None:
        self.detached += 1

    async def close(self) -> None:
        self.is_closed = True

    async def _check(self) -> None:
        raise AssertionError("check is the test's own")

    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        raise AssertionError(method, params)

    @property
    def _now(self) -> float:
        return virtual_loop().time() - 1000.0

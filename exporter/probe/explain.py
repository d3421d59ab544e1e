"""One probe from nothing, explained: what was said, and the metrics that it would give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from exporter.config.model import Server, masked_url
from exporter.probe.history import Record
from exporter.probe.run import ProbeRunner
from exporter.probe.transcript import Step
from exporter.telemetry.health_tracker import HealthTracker
from exporter.telemetry.metrics import Metrics, ProbeView
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.process.reaper import Reaper

AT_ONCE = 8
"""Servers that are explained at the same time: each may be a process that starts."""

_INDENT = "\n" + " " * 20


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one probe found; ``metrics`` can be encoded like a registry."""

    server: Server
    record: Record
    metrics: ProbeView

    @property
    def text(self) -> str:
        """All of it, for a person."""
        title = "Metrics that it would give:"
        return f"{render(self.record)}\n{title}\n\n{self.metrics.text}\n{describe(self.server)}"


async def explain(server: Server, reaper: Reaper, limit: float | None = None) -> Explanation:
    """Probe a server and list its tools within ``limit`` seconds, and throw the books away.

    It begins with nothing: a new connection, a new session, for stdio a new child. They end
    with it. The limit's default is the time that the schedule would give them.
    """
    metrics = Metrics.throwaway()
    recorder = ServerRecorder(metrics, server.name, server.transport)
    checkup = ProbeRunner(server, recorder, HealthTracker(recorder, is_logged=False), reaper)
    limit = server.probe.interval if limit is None else limit
    ends_at = monotonic() + limit
    try:
        record = await checkup.run(min(limit, server.probe.timeout), ends_at)
        view = metrics.probe_view()
    finally:
        await checkup.probe.close()
    return Explanation(server, record, view)


async def explain_all(servers: Iterable[Server]) -> AsyncIterator[Explanation]:
    """Explain servers, some at a time, in their order."""
    reaper, turn = Reaper(), asyncio.Semaphore(AT_ONCE)

    async def take_turn(server: Server) -> Explanation:
        async with turn:
            return await explain(server, reaper)

    tasks = [asyncio.create_task(take_turn(server)) for server in servers]
    try:
        for task in tasks:
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        reaper.close()


def render(record: Record) -> str:
    """The record as text, one step after the other."""
    finding = record.finding
    when = datetime.fromtimestamp(record.when, UTC).isoformat(timespec="milliseconds")
    lines = [f"Probe of {record.server} at {when}", ""]
    lines += [_render_step(step) for step in record.steps]
    lines += ["", f"Result: {finding.result} after {finding.seconds:.3f} s"]
    if finding.text:
        lines.append(f"Reason: {finding.text}")
    if finding.rest:
        lines.append(f"Asks to be left alone for {finding.rest:g} s")
    if record.tools is not None:
        lines.append(f"Tools: {record.tools}")
    return "\n".join(lines) + "\n"


def _render_step(step: Step) -> str:
    text = step.text.rstrip().replace("\n", _INDENT)
    return f"{step.seconds:8.3f} s {step.speaker:<9}{text}"


def describe(server: Server) -> str:
    """The server's configuration, without secrets."""
    probe = server.probe
    lines = [f"Configuration of {server.name}:", "", f"transport: {server.transport}"]
    if server.command is not None:
        lines += [f"command: {server.command}", f"arguments: {len(server.args)}"]
        lines.append(f"env: {', '.join(server.env) or 'none'}")
    if server.url is not None:
        lines += [
            f"url: {masked_url(server.url)}",
            f"headers: {', '.join(server.headers) or 'none'}",
        ]
    lines.append(f"probe: interval {probe.interval:g} s, timeout {probe.timeout:g} s")
    if not probe.enabled:
        lines.append("probe: switched off; this one was asked for")
    return "\n".join(lines) + "\n"

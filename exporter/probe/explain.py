"""One probe on a throwaway registry: its transcript, and the metrics that it gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from prometheus_client import Gauge

from exporter.config.model import Server, masked_url
from exporter.config.redact import Redactor
from exporter.config.validators import format_duration
from exporter.probe.history import Record
from exporter.probe.run import open_target, probe
from exporter.probe.tool_tracker import ToolTracker
from exporter.probe.transcript import Step
from exporter.telemetry.health_tracker import HealthTracker
from exporter.telemetry.metrics import Metrics, ProbeView
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.process.reaper import Reaper

AT_ONCE = 8
"""Servers that are explained at the same time: each may be a process that starts."""

SUCCESS_HELP = "1 if the server replied to this probe, if only to ask for a token, else 0."

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
    """Probe a server and list its tools within ``limit`` seconds, on a throwaway registry.

    It begins with nothing: a new connection, a new session, for stdio a new child. They end
    with it. The limit's default is the time that the schedule would give them.
    """
    metrics = Metrics.throwaway()
    recorder = ServerRecorder(metrics, server.name, server.transport)
    target = open_target(server, recorder, reaper)
    limit = server.probe.interval if limit is None else limit
    try:
        record = await probe(
            target,
            recorder,
            # This probe decides alone: there is no second one to confirm it.
            HealthTracker(recorder, is_logged=False, failures_to_error=1),
            ToolTracker(server, recorder, target.redact, is_logged=False),
            timeout=min(limit, server.probe.timeout),
            ends_at=monotonic() + limit,
        )
        success = Gauge("mcp_probe_success", SUCCESS_HELP, ["server"], registry=metrics.registry)
        success.labels(server.name).set(record.result.is_alive)
        view = metrics.probe_view()
    finally:
        await target.close()
    return Explanation(server, record, view)


async def explain_all(servers: Iterable[Server]) -> AsyncIterator[Explanation]:
    """Explain servers, ``AT_ONCE`` at a time, in their order."""
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
    result = record.result
    when = datetime.fromtimestamp(record.when, UTC).isoformat(timespec="milliseconds")
    lines = [f"Probe of {record.server} at {when}", ""]
    lines += [_render_step(step) for step in record.steps]
    lines += ["", f"Result: {result.value} after {result.seconds:.3f} s"]
    if result.reason:
        lines.append(f"Reason: {result.reason}")
    if result.retry_after:
        lines.append(f"Asks to be left alone for {result.retry_after:g} s")
    if record.tools is not None:
        lines.append(f"Tools: {record.tools}")
    return "\n".join(lines) + "\n"


def _render_step(step: Step) -> str:
    text = step.text.rstrip().replace("\n", _INDENT)
    return f"{step.seconds:8.3f} s {step.kind:<9}{text}"


def describe(server: Server) -> str:
    """The server's configuration, without secrets."""
    settings, redact = server.probe, Redactor(server)
    lines = [f"Configuration of {server.name}:", "", f"transport: {server.transport}"]
    if server.command is not None:
        lines += [f"command: {redact(server.command)}", f"arguments: {len(server.args)}"]
        lines.append(f"env: {', '.join(server.env) or 'none'}")
    if server.url is not None:
        lines += [
            f"url: {redact(masked_url(server.url))}",
            f"headers: {', '.join(server.headers) or 'none'}",
        ]
    interval, timeout = format_duration(settings.interval), format_duration(settings.timeout)
    lines.append(f"probe: interval {interval}, timeout {timeout}")
    if not settings.enabled:
        lines.append("probe: switched off; this one was asked for")
    return "\n".join(lines) + "\n"

"""One probe from nothing, explained: what was said, and the metrics that it would give."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from exporter.checkup import Checkup
from exporter.config import Server
from exporter.dialogue import Step
from exporter.history import Record
from exporter.metrics import Metrics, ProbeView
from exporter.reaper import Reaper
from exporter.recorder import ServerRecorder
from exporter.vitals import Vitals

_INDENT = "\n" + " " * 20


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one probe found; ``metrics`` can be encoded like a registry."""

    record: Record
    metrics: ProbeView


async def explain(server: Server, reaper: Reaper, limit: float | None = None) -> Explanation:
    """Probe a server and list its tools within ``limit`` seconds, and throw the books away.

    It begins with nothing: a new connection, a new session, for stdio a new child. They end
    with it. The limit's default is the time that the schedule would give them.
    """
    metrics = Metrics.throwaway()
    recorder = ServerRecorder(metrics, server.name, server.transport)
    checkup = Checkup(server, recorder, Vitals(recorder, is_logged=False), reaper)
    limit = server.probe.interval if limit is None else limit
    ends_at = monotonic() + limit
    try:
        record = await checkup.run(min(limit, server.probe.timeout), ends_at)
        view = metrics.probe_view()
    finally:
        await checkup.probe.close()
    return Explanation(record, view)


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

"""One probe of one server.

The schedule, ``/probe``, the terminal and the tests run the same function: what differs is the
registry that it writes to, and what the target has kept from before.
"""

from __future__ import annotations

from time import time

from exporter.config.model import Server
from exporter.probe.history import Record
from exporter.probe.http import HttpTarget
from exporter.probe.sse import SseTarget
from exporter.probe.stdio import StdioTarget
from exporter.probe.target import ProbeEvents, ProbeResult, Target
from exporter.probe.tool_tracker import ToolTracker
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import Fault
from exporter.telemetry.client_streams import ClientStreams
from exporter.telemetry.health_tracker import HealthTracker
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.process.reaper import Reaper


def open_target(
    server: Server,
    recorder: ServerRecorder,
    reaper: Reaper,
    events: ProbeEvents | None = None,
    clients: ClientStreams | None = None,
) -> Target:
    """The target for a server's transport; nothing is opened before the first probe."""
    if server.transport == "stdio":
        return StdioTarget(server, recorder, reaper, events)
    if server.transport == "sse":
        return SseTarget(server, events, clients)
    return HttpTarget(server, events)


async def probe(
    target: Target,
    recorder: ServerRecorder,
    health: HealthTracker,
    tools: ToolTracker,
    *,
    timeout: float,  # noqa: ASYNC109
    ends_at: float,
    lists_tools: bool = True,
) -> Record:
    """Prove the server alive within ``timeout`` seconds, then for the tools.

    The whole ends at ``ends_at`` (monotonic). What is found out is recorded at once: a slow
    listing does not hold the health back.
    """
    transcript, when, count = Transcript(target.redact), time(), None
    try:
        result = await target.check(transcript, timeout, ends_at)
        _record(result, target, recorder, health)
        if lists_tools and result.is_alive and target.can_list:
            count = await tools.list_own(target, ends_at)
    finally:
        target.detach()
    return Record(target.server.name, when, result, transcript.steps, count)


def exit_record(server: str, reason: str, transcript: Transcript) -> Record:
    """The record of a child that ended between two probes."""
    return Record(server, time(), ProbeResult(Fault.EXIT, 0.0, reason), transcript.steps)


def _record(
    result: ProbeResult, target: Target, recorder: ServerRecorder, health: HealthTracker
) -> None:
    recorder.probed(result.value, result.seconds)
    if result.is_alive:
        health.succeed()
    else:
        health.fail(result.reason)
    identity = target.identity
    if identity is not None:
        recorder.is_known_as(identity.name, identity.version, identity.protocol_version)

"""The configured servers and all that belongs to each: what relays, what probes, what records."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

from exporter.config.model import Config, ProbeSettings, Server
from exporter.probe.history import History
from exporter.probe.prober import Prober
from exporter.probe.run import ProbeRunner
from exporter.relay.gateway import Gateway
from exporter.relay.http.sse_upstream import SseUpstream
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl
from exporter.relay.stdio.upstream import StdioUpstream
from exporter.telemetry.health_tracker import HealthTracker
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.observer import Observer
from exporter.telemetry.recorder import ServerRecorder
from exporter.transport.process.reaper import Reaper
from exporter.web.pages import ServerSummary

START_SPACING = 0.005
"""Seconds between the first probes of two servers: not all children are to start at once."""

DRAIN_TIME = 10.0
"""Seconds that requests in flight are given when their server goes."""


@dataclass(frozen=True, slots=True)
class ServerRuntime:
    """Everything that belongs to one configured server."""

    server: Server
    recorder: ServerRecorder
    observer: Observer
    upstream: HttpUpstream | StdioUpstream
    vitals: HealthTracker
    prober: Prober


@dataclass(frozen=True, slots=True)
class Difference:
    """What a new configuration changes: the names of servers."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class ServerSet:
    """Adds, replaces and removes servers while the others go on undisturbed."""

    def __init__(
        self,
        metrics: Metrics,
        gateway: Gateway,
        history: History,
        reaper: Reaper,
        own_url: OwnUrl,
        recorder_type: type[ServerRecorder] = ServerRecorder,
    ) -> None:
        self._metrics = metrics
        self._gateway = gateway
        self._history = history
        self._reaper = reaper
        self._own_url = own_url
        self._loop = asyncio.get_running_loop()
        self._watched: dict[str, ServerRuntime] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._recorder_type = recorder_type

    def apply(self, config: Config) -> Difference:
        """Serve what the configuration says. Whoever is unchanged keeps sessions and children."""
        wanted = config.servers
        difference = Difference(
            added=[name for name in wanted if name not in self._watched],
            changed=[
                name
                for name, server in wanted.items()
                if name in self._watched and self._watched[name].server != server
            ],
            removed=[name for name in self._watched if name not in wanted],
        )
        for name in (*difference.removed, *difference.changed):
            self._release(name, for_good=name in difference.removed)
        for position, name in enumerate((*difference.changed, *difference.added)):
            watched = self._add(wanted[name], config.limits.observed_bytes)
            watched.prober.start(delay=position * START_SPACING)
        self._watched = {name: self._watched[name] for name in wanted}
        return difference

    def observer(self, name: str) -> Observer | None:
        """Who observes the server of this name."""
        watched = self._watched.get(name)
        return watched.observer if watched is not None else None

    def wrapped(self, name: str) -> Observer:
        """An observer for a server that is not configured, but reports from where it runs."""
        recorder = self._recorder_type(self._metrics, name, "stdio")
        server = Server(name, "stdio", probe=ProbeSettings(enabled=False))
        return self._observe(server, recorder)[2]

    def find(self, name: str) -> Server | None:
        """The server of this name."""
        watched = self._watched.get(name)
        return watched.server if watched is not None else None

    @property
    def names(self) -> list[str]:
        """The names of the servers, in the order of the configuration."""
        return list(self._watched)

    def rows(self) -> Iterator[ServerSummary]:
        """The servers as the landing page shows them."""
        for name, watched in list(self._watched.items()):
            yield ServerSummary(
                name,
                watched.server.transport,
                watched.vitals.state,
                watched.vitals.last_error,
                f"/{quote(name)}/mcp",
            )

    def drain(self) -> None:
        """End the streams on which no reply is due."""
        for watched in self._watched.values():
            watched.upstream.drain()

    async def close(self) -> None:
        """End everything now; what still waits is answered with an error."""
        closing = [watched.upstream.close() for watched in self._watched.values()]
        closing += [watched.prober.close() for watched in self._watched.values()]
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*closing, *self._leaving, return_exceptions=True)

    def _add(self, server: Server, observed_bytes: int) -> ServerRuntime:
        recorder = self._recorder_type(self._metrics, server.name, server.transport)
        vitals, prober, observer = self._observe(server, recorder)
        upstream: HttpUpstream | StdioUpstream
        if server.transport == "stdio":
            upstream = StdioUpstream(server, observer, recorder, self._reaper, self._loop)
        else:
            kind = SseUpstream if server.transport == "sse" else HttpUpstream
            upstream = kind(server, observer, self._loop, observed_bytes, self._own_url)
        watched = ServerRuntime(server, recorder, observer, upstream, vitals, prober)
        self._watched[server.name] = watched
        self._gateway.add(server.name, upstream)
        return watched

    def _observe(
        self, server: Server, recorder: ServerRecorder
    ) -> tuple[HealthTracker, Prober, Observer]:
        vitals = HealthTracker(recorder, is_probed=server.probe.enabled)
        prober = Prober(ProbeRunner(server, recorder, vitals, self._reaper), self._history)
        observer = Observer(recorder)
        observer.tools_heard, observer.list_changed = prober.tools_heard, prober.list_soon
        if server.probe.passive:
            observer.alive, observer.lost = vitals.heard, vitals.missed
        return vitals, prober, observer

    def _release(self, name: str, for_good: bool) -> None:
        watched = self._watched.pop(name)
        self._gateway.remove(name)
        watched.recorder.forget_identity()
        task = self._loop.create_task(self._see_off(watched, for_good))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _see_off(self, watched: ServerRuntime, for_good: bool) -> None:
        """Let requests in flight end, then end sessions and children; at last the series go."""
        watched.upstream.drain()
        closing = asyncio.create_task(watched.prober.close())
        deadline = self._loop.time() + DRAIN_TIME
        try:
            # Looked at now and then: it is rare, and no hot path pays for it.
            while watched.upstream.is_busy and self._loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            await watched.upstream.close()
            await closing
        if for_good and watched.server.name not in self._watched:
            watched.recorder.forget()

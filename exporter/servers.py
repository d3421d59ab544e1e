"""The configured servers, and for each its relay, its prober and its recorder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from exporter.config.model import Config, Limits, ProbeSettings, Server
from exporter.probe.history import History
from exporter.probe.prober import Prober
from exporter.probe.run import open_target
from exporter.relay.gateway import Gateway
from exporter.relay.http.sse_upstream import SseUpstream
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl
from exporter.relay.stdio.param_headers import ParamHeaders
from exporter.relay.stdio.upstream import StdioUpstream
from exporter.telemetry.client_streams import ClientStreams
from exporter.telemetry.health_tracker import HealthTracker
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.observer import Observer
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.spans.details import Peer
from exporter.telemetry.spans.joiner import Joiner
from exporter.transport.process.reaper import Reaper
from exporter.web.pages import ServerSummary

START_SPACING = 0.005
"""Seconds between the first probes of two servers: children do not all start at once."""

SERVERS_A_TURN = 8
"""Servers that are replaced in one turn of the loop, each in half a millisecond or so."""

DRAIN_TIME = 10.0
"""Seconds that requests in flight are given when their server is removed."""


@dataclass(frozen=True, slots=True)
class ServerRuntime:
    """Everything that belongs to one configured server."""

    server: Server
    recorder: ServerRecorder
    observer: Observer
    upstream: HttpUpstream | StdioUpstream
    prober: Prober


@dataclass(frozen=True, slots=True)
class ServerEvents:
    """Tells the prober and the health state what the traffic says; ``health`` where it counts."""

    prober: Prober
    health: HealthTracker | None

    def tools_listed(self, reply: bytes, cursor: str | None) -> None:
        """A client was shown a page of the server's tools."""
        self.prober.tools_shown(reply, cursor)

    def list_changed(self) -> None:
        """The server said that its tools changed."""
        self.prober.tools_changed()

    def alive(self) -> None:
        """The server has just said something."""
        if self.health is not None:
            self.health.call_succeeded()

    def lost(self, reason: str) -> None:
        """A real request found the server unreachable, or lost it."""
        if self.health is not None:
            self.health.call_failed(reason)


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
        self._runtimes: dict[str, ServerRuntime] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._recorder_type = recorder_type

    def apply(self, config: Config) -> Difference:
        """Serve what the configuration says; what is unchanged keeps sessions and children."""
        difference = self._difference(config.servers)
        for _ in self._steps(difference, config):
            pass
        return difference

    async def apply_in_turns(self, config: Config) -> Difference:
        """The same in several turns of the loop: many servers must not hold up others' calls."""
        difference = self._difference(config.servers)
        for count, _ in enumerate(self._steps(difference, config), 1):
            if not count % SERVERS_A_TURN:
                await asyncio.sleep(0)
        return difference

    def _difference(self, wanted: Mapping[str, Server]) -> Difference:
        return Difference(
            added=[name for name in wanted if name not in self._runtimes],
            changed=[
                name
                for name, server in wanted.items()
                if name in self._runtimes and self._runtimes[name].server != server
            ],
            removed=[name for name in self._runtimes if name not in wanted],
        )

    def _steps(self, difference: Difference, config: Config) -> Iterator[None]:
        """Change one server after the other; each is there, in its old or new form, in between."""
        wanted = config.servers
        for name in difference.removed:
            self._remove(name, is_final=True)
            yield
        for position, name in enumerate((*difference.changed, *difference.added)):
            self._serve(wanted[name], config.limits, position * START_SPACING)
            yield
        self._runtimes = {name: self._runtimes[name] for name in wanted}

    def observer(self, name: str) -> Observer | None:
        """The observer of the server of this name."""
        runtime = self._runtimes.get(name)
        return runtime.observer if runtime is not None else None

    def wrapped(self, name: str) -> Observer:
        """An observer for a server that is not configured, but reports from where it runs."""
        recorder = self._recorder_type(self._metrics, name, "stdio")
        server = Server(name, "stdio", probe=ProbeSettings(enabled=False))
        return self._observe(recorder, self._prober(server, recorder), server)

    def find(self, name: str) -> Server | None:
        """The server of this name."""
        runtime = self._runtimes.get(name)
        return runtime.server if runtime is not None else None

    @property
    def names(self) -> list[str]:
        """The names of the servers, in the order of the configuration."""
        return list(self._runtimes)

    def rows(self) -> Iterator[ServerSummary]:
        """The servers as the landing page shows them."""
        for name, runtime in list(self._runtimes.items()):
            health = runtime.prober.health
            calls, failures = runtime.recorder.call_counts()
            yield ServerSummary(
                name,
                runtime.server.transport,
                health.state,
                health.since,
                health.last_error,
                f"/{quote(name)}/mcp",
                calls,
                failures,
            )

    def drain(self) -> None:
        """End the streams on which no reply is due."""
        for runtime in self._runtimes.values():
            runtime.upstream.drain()

    async def close(self) -> None:
        """End everything now; requests in flight get an error."""
        closing = [runtime.upstream.close() for runtime in self._runtimes.values()]
        closing += [runtime.prober.close() for runtime in self._runtimes.values()]
        for task in self._closing:
            task.cancel()
        await asyncio.gather(*closing, *self._closing, return_exceptions=True)

    def _serve(self, server: Server, limits: Limits, delay: float) -> None:
        """Serve a server that is new or has changed; it is probed first after a delay."""
        known = self._runtimes.get(server.name)
        if known is not None and replace(known.server, propagate=server.propagate) == server:
            # Whether it is told of spans is no reason to end its sessions.
            known.observer.propagate(server.propagate)
            self._runtimes[server.name] = replace(known, server=server)
            return
        if known is not None:
            self._remove(server.name, is_final=False)
        self._add(server, limits).prober.start(delay=delay)

    def _add(self, server: Server, limits: Limits) -> ServerRuntime:
        param_headers = ParamHeaders() if server.transport == "stdio" else None
        recorder = self._recorder_type(self._metrics, server.name, server.transport, param_headers)
        clients = ClientStreams()
        prober = self._prober(server, recorder, clients)
        observer = self._observe(recorder, prober, server)
        upstream: HttpUpstream | StdioUpstream
        if param_headers is not None:
            upstream = StdioUpstream(
                server, observer, recorder, self._reaper, self._loop, param_headers
            )
        elif server.transport == "sse":
            upstream = SseUpstream(server, observer, self._loop, limits, self._own_url, clients)
        else:
            upstream = HttpUpstream(server, observer, self._loop, limits, self._own_url)
        runtime = ServerRuntime(server, recorder, observer, upstream, prober)
        self._runtimes[server.name] = runtime
        self._gateway.add(server.name, upstream)
        return runtime

    def _prober(
        self, server: Server, recorder: ServerRecorder, clients: ClientStreams | None = None
    ) -> Prober:
        return Prober(
            server,
            recorder,
            self._history,
            lambda events: open_target(server, recorder, self._reaper, events, clients),
        )

    def _observe(self, recorder: ServerRecorder, prober: Prober, server: Server) -> Observer:
        events = ServerEvents(prober, prober.health if server.probe.passive else None)
        metrics = self._metrics
        joiner = Joiner(metrics.tracing, metrics.spans, server.propagate, _peer(server))
        return Observer(recorder, events, joiner)

    def _remove(self, name: str, is_final: bool) -> None:
        runtime = self._runtimes.pop(name)
        self._gateway.remove(name)
        runtime.recorder.forget_identity()
        task = self._loop.create_task(self._close(runtime, is_final))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close(self, runtime: ServerRuntime, is_final: bool) -> None:
        """Let requests in flight end, then end sessions and children, then drop the series."""
        runtime.upstream.drain()
        closing = asyncio.create_task(runtime.prober.close())
        deadline = self._loop.time() + DRAIN_TIME
        try:
            # Polled: it is rare, and no hot path pays for it.
            while runtime.upstream.is_busy and self._loop.time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        finally:
            await runtime.upstream.close()
            await closing
        if is_final and runtime.server.name not in self._runtimes:
            runtime.recorder.forget()


def _peer(server: Server) -> Peer:
    if server.url is None:
        return Peer()
    parts = urlsplit(server.url)
    return Peer(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))

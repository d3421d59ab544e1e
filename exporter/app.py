"""The composition root: builds the parts, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from time import time
from urllib.parse import quote

from prometheus_client import CollectorRegistry

from exporter import __version__
from exporter.call import ConfigError
from exporter.checkup import Checkup
from exporter.config import Config, Server
from exporter.explanation import Explanation, explain
from exporter.gateway import Gateway
from exporter.history import History
from exporter.http_upstream import HttpUpstream
from exporter.listener import Listener, ListenerLimits
from exporter.metrics import Metrics
from exporter.oauth import OwnUrl
from exporter.observation import Observer
from exporter.pages import ServerRow
from exporter.prober import Prober
from exporter.reaper import Reaper
from exporter.recorder import ServerRecorder
from exporter.sse_upstream import SseUpstream
from exporter.stdio_upstream import StdioUpstream
from exporter.vitals import Vitals
from exporter.web import Web, WebThread

START_SPACING = 0.005
"""Seconds between the first probes of two servers: not all children are to start at once."""

DRAIN_TIME = 10.0
"""Seconds that requests in flight are given when the exporter stops."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the two listeners listen."""

    mcp_host: str
    mcp_port: int
    web_host: str
    web_port: int


@dataclass(frozen=True, slots=True)
class Watched:
    """Everything that belongs to one configured server."""

    server: Server
    upstream: HttpUpstream | StdioUpstream
    vitals: Vitals
    prober: Prober


class App:
    """The running exporter."""

    def __init__(self, config: Config, external_url: str | None = None, revision: str = "") -> None:
        self._config = config
        self._own_url = OwnUrl(external_url)
        self._loop = asyncio.get_running_loop()
        limits = config.limits
        self.metrics = Metrics(
            CollectorRegistry(),
            clock=time,
            clients=limits.clients,
            tools_per_server=limits.tools_per_server,
            tools_total=limits.tools_total,
        )
        self.metrics.collect_runtime(__version__, revision)
        self.history = History()
        self._reaper = Reaper()
        self._watched: dict[str, Watched] = {}
        self._gateway: Gateway | None = None
        self._listener: Listener | None = None
        self._web: WebThread | None = None
        self._is_ready = False

    async def start(self, addresses: Addresses) -> None:
        """Open both listeners and begin to probe. Raises ``ConfigError`` where one is taken."""
        self._gateway = Gateway(self.metrics, is_loopback(addresses.mcp_host))
        for server in self._config.servers.values():
            self._add(server)
        limits = ListenerLimits(body_bytes=self._config.limits.request_bytes)
        self._listener = Listener(self._gateway, self._loop, limits)
        web = Web(self.metrics.registry, lambda: self._is_ready, self._rows, self.history, self)
        self._web = WebThread(web)
        mcp = await self._open_mcp(self._listener, addresses)
        web_address = self._open_web(self._web, addresses)
        self._is_ready = True
        self.metrics.reload_successful.set(1)
        self.metrics.reload_timestamp.set(time())
        for position, watched in enumerate(self._watched.values()):
            watched.prober.start(delay=position * START_SPACING)
        log.info(
            "mcp-exporter is ready",
            extra={
                "version": __version__,
                "mcp": "http://{}:{}".format(*mcp),
                "web": "http://{}:{}".format(*web_address),
                "servers": len(self._watched),
            },
        )

    async def stop(self) -> None:
        """Stop to accept, let requests end, stop the children."""
        log.info("mcp-exporter is stopping")
        self._is_ready = False
        for watched in self._watched.values():
            watched.upstream.drain()
        if self._listener is not None:
            await self._listener.close(DRAIN_TIME)
        closing = [w.upstream.close() for w in self._watched.values()]
        closing += [w.prober.close() for w in self._watched.values()]
        await asyncio.gather(*closing)
        if self._web is not None:
            self._web.close()
        self._reaper.close()
        log.info("mcp-exporter has stopped")

    # What the web listener's thread asks for

    @property
    def servers(self) -> list[str]:
        """The names of the configured servers."""
        return list(self._watched)

    def find(self, name: str) -> Server | None:
        """The server of this name."""
        watched = self._watched.get(name)
        return watched.server if watched is not None else None

    def explain(self, server: Server, limit: float | None) -> Future[Explanation]:
        """Begin to probe a server, within ``limit`` seconds."""
        return asyncio.run_coroutine_threadsafe(self._explain(server, limit), self._loop)

    async def _explain(self, server: Server, limit: float | None) -> Explanation:
        explanation = await explain(server, self._reaper, limit)
        self.history.add(explanation.record)
        return explanation

    @staticmethod
    async def _open_mcp(listener: Listener, at: Addresses) -> tuple[str, int]:
        try:
            return await listener.open(at.mcp_host, at.mcp_port)
        except OSError as error:
            raise _taken("--mcp.listen-address", at.mcp_host, at.mcp_port, error) from None

    @staticmethod
    def _open_web(web: WebThread, at: Addresses) -> tuple[str, int]:
        try:
            return web.open(at.web_host, at.web_port)
        except OSError as error:
            raise _taken("--web.listen-address", at.web_host, at.web_port, error) from None

    def _add(self, server: Server) -> None:
        recorder = ServerRecorder(self.metrics, server.name, server.transport)
        vitals = Vitals(recorder, is_probed=server.probe.enabled)
        prober = Prober(Checkup(server, recorder, vitals, self._reaper), self.history)
        observer = Observer(recorder)
        observer.tools_heard, observer.list_changed = prober.tools_heard, prober.list_soon
        if server.probe.passive:
            observer.alive, observer.lost = vitals.heard, vitals.missed
        upstream: HttpUpstream | StdioUpstream
        if server.transport == "stdio":
            upstream = StdioUpstream(server, observer, recorder, self._reaper, self._loop)
        else:
            observed = self._config.limits.observed_bytes
            kind = SseUpstream if server.transport == "sse" else HttpUpstream
            upstream = kind(server, observer, self._loop, observed, self._own_url)
        self._watched[server.name] = Watched(server, upstream, vitals, prober)
        if self._gateway is not None:
            self._gateway.add(server.name, upstream)

    def _rows(self) -> Iterator[ServerRow]:
        for name, watched in list(self._watched.items()):
            yield ServerRow(
                name,
                watched.server.transport,
                watched.vitals.state,
                watched.vitals.last_error,
                f"/{quote(name)}/mcp",
            )


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _taken(flag: str, host: str, port: int, error: OSError) -> ConfigError:
    reason = error.strerror or str(error)
    return ConfigError(f"{flag}: cannot listen on {host}:{port}: {reason}; choose another address")

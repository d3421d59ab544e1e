"""The composition root: builds the parts, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import monotonic, time

from prometheus_client import CollectorRegistry

from exporter import __version__
from exporter.access import UNRESTRICTED, AccessFiles, AllowedNames
from exporter.config import redacted
from exporter.config.errors import ConfigError
from exporter.config.model import Limits, Server
from exporter.config.source import ConfigSource, Loaded
from exporter.listeners import Listeners, listener_limits
from exporter.probe.explain import Explanation, explain
from exporter.probe.history import History
from exporter.relay.gateway import Gateway
from exporter.relay.oauth import OwnUrl
from exporter.reload import Reloader
from exporter.servers import ServerSet
from exporter.systemd import SystemdNotifier
from exporter.telemetry.call_log import LoggedRejections, LoggingRecorder
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.spans.export import LAST_SPANS_TIME, SpanExport
from exporter.transport.garbage import FrozenObjects
from exporter.transport.http.connector import proxy_for
from exporter.transport.http.origin import is_loopback_name
from exporter.transport.http.server import HttpServer
from exporter.transport.process.reaper import Reaper
from exporter.web.liveness import Heartbeat, Liveness
from exporter.web.pages import ServerSummary
from exporter.web.server import Web, WebThread
from exporter.wrap import unix_socket
from exporter.wrap.receiver import ReportServer
from exporter.wrap.wrapped_server import Names, WrappedServer

QUIET_TIME = 2.0
"""Seconds without a connection after which ``drain_delay`` ends early."""

CHILDREN_TIME = 6.0
"""Seconds in which the last child is gone: two for each step from closed input to SIGKILL."""

POLL = 0.05
"""Seconds between two looks at what a stop waits for. It is rare, and no hot path pays for it."""

LAST_REPLY_TIME = 0.5
"""Seconds that the last replies are given to be read."""

LAST_WORDS_TIME = 1.0
"""Seconds that the last line of the log may take where a stop is not waited for."""

EXIT_ABORTED = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says: where to listen, which clients to accept, how to stop."""

    mcp_host: str
    mcp_port: int
    web_host: str
    web_port: int
    external_url: str | None = None
    wrap_socket: str = ""
    access: AccessFiles = UNRESTRICTED
    names: AllowedNames = field(default_factory=AllowedNames)
    logs_calls: bool = False
    reload_interval: float = 0.0
    """Seconds between two looks at the files that were read; 0: none."""
    drain_delay: float = 0.0
    """Seconds that connections are still accepted after a stop was asked for."""
    drain_timeout: float = 5.0
    """Seconds that requests in flight are given after that. With the seconds that children are
    given, the default stays near the ten that container engines wait before they kill."""

    @property
    def stop_time(self) -> float:
        """Seconds that a stop takes at most, the last scrape included."""
        ends = CHILDREN_TIME + LAST_SPANS_TIME + 2.0
        return 2 * self.drain_delay + self.drain_timeout + ends


def build(source: ConfigSource, settings: Settings, revision: str = "") -> App:
    """All parts, wired; nothing listens yet. Raises ``ConfigError``."""
    loaded = source.read()
    limits = loaded.config.limits
    credentials = settings.access.read()
    metrics = _metrics(limits, revision)
    history, reaper, notifier = History(), Reaper(), SystemdNotifier(os.environ)
    gateway = Gateway(
        LoggedRejections(metrics) if settings.logs_calls else metrics,
        settings.names.mcp_policy(
            settings.mcp_host, settings.external_url, is_guarded=settings.access.guards_mcp
        ),
    )
    gateway.tokens = credentials.tokens
    servers = ServerSet(
        metrics,
        gateway,
        history,
        reaper,
        OwnUrl(settings.external_url, is_tls=credentials.mcp_tls is not None),
        LoggingRecorder if settings.logs_calls else ServerRecorder,
    )
    mcp = HttpServer(gateway, asyncio.get_running_loop(), listener_limits(limits))
    web = WebThread(
        metrics.count_rejection, settings.names.web_policy(settings.web_host, settings.external_url)
    )
    listeners = Listeners(gateway, mcp, web, settings.access, credentials)
    spans = SpanExport(metrics, lambda url: proxy_for(url, None, os.environ))
    frozen = FrozenObjects()
    reloader = Reloader(source, metrics, servers, listeners, notifier, spans, frozen)
    heartbeat = Heartbeat(metrics.loop_lag.observe, notifier.alive)
    liveness = Liveness(heartbeat, lambda: mcp.is_listening)
    names = Names(metrics, servers.observer, servers.wrapped)
    return App(
        loaded=loaded,
        settings=settings,
        servers=servers,
        spans=spans,
        listeners=listeners,
        reloader=reloader,
        receiver=ReportServer(settings.wrap_socket, metrics, lambda: WrappedServer(names, metrics)),
        pages=Web(
            metrics.exposition(),
            Administration(servers, listeners, reloader, history, reaper, settings.external_url),
            history,
            liveness,
        ),
        heartbeat=heartbeat,
        liveness=liveness,
        notifier=notifier,
        reaper=reaper,
    )


def _say_aborted() -> None:
    log.warning("mcp-exporter was told to stop again: it ends at once")
    logging.shutdown()


def _metrics(limits: Limits, revision: str) -> Metrics:
    metrics = Metrics(
        CollectorRegistry(),
        clock=time,
        clients=limits.clients,
        tools_per_server=limits.tools_per_server,
        tools_total=limits.tools_total,
    )
    metrics.collect_runtime(__version__, revision)
    return metrics


class Administration:
    """What the scrape listener's thread asks of the loop that relays."""

    def __init__(
        self,
        servers: ServerSet,
        listeners: Listeners,
        reloader: Reloader,
        history: History,
        reaper: Reaper,
        external_url: str | None,
    ) -> None:
        self._servers = servers
        self._listeners = listeners
        self._external_url = external_url
        self._reloader = reloader
        self._history = history
        self._reaper = reaper
        self._loop = asyncio.get_running_loop()

    @property
    def servers(self) -> list[str]:
        """The names of the configured servers."""
        return self._servers.names

    def find(self, name: str) -> Server | None:
        """The server of this name."""
        return self._servers.find(name)

    def rows(self) -> Iterable[ServerSummary]:
        """The servers as the landing page shows them."""
        return self._servers.rows()

    def mcp_url(self, host: str) -> str:
        """Where clients reach the MCP listener, who reach this machine by ``host``."""
        if self._external_url is not None:
            return self._external_url.rstrip("/")
        return self._listeners.mcp_url_for(host)

    def shown_config(self) -> str:
        """The configuration in force, without secrets."""
        return redacted.render(self._reloader.config)

    def reload(self) -> Future[str]:
        """Begin to read the configuration again."""
        return asyncio.run_coroutine_threadsafe(self._reloader.reload(), self._loop)

    def turn(self) -> Future[None]:
        """Ends when the loop that relays has ended what it is at now."""
        future: Future[None] = Future()
        self._loop.call_soon_threadsafe(future.set_result, None)
        return future

    def explain(self, server: Server, limit: float | None) -> Future[Explanation]:
        """Begin to probe a server, within ``limit`` seconds."""
        return asyncio.run_coroutine_threadsafe(self._explain(server, limit), self._loop)

    async def _explain(self, server: Server, limit: float | None) -> Explanation:
        explanation = await explain(server, self._reaper, limit)
        self._history.add(explanation.record)
        return explanation


@dataclass(slots=True, kw_only=True)
class App:
    """The running exporter."""

    loaded: Loaded
    """The first configuration; later ones are the reloader's."""
    settings: Settings
    servers: ServerSet
    spans: SpanExport
    listeners: Listeners
    reloader: Reloader
    receiver: ReportServer
    pages: Web
    heartbeat: Heartbeat
    liveness: Liveness
    notifier: SystemdNotifier
    reaper: Reaper
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Open both listeners and begin to probe. Raises ``ConfigError`` where one is taken."""
        self.heartbeat.start()
        at = self.settings
        mcp = await self.listeners.open_mcp(at.mcp_host, at.mcp_port)
        web = self.listeners.open_web(self.pages, at.web_host, at.web_port)
        self.reloader.start(self.loaded, at.reload_interval)
        await self._open_receiver()
        self.liveness.phase = "serving"
        is_readable = at.access.tokens is not None and at.access.mcp_tls is None
        if is_readable and not is_loopback_name(at.mcp_host):
            log.warning("tokens come without TLS: they can be read and used on the way")
        log.info("mcp-exporter is ready", extra={"version": __version__, "mcp": mcp, "web": web})
        self.notifier.ready(self.reloader.status)

    async def stop(self) -> None:
        """Send new clients elsewhere, let requests end, stop the children; scrapes end last."""
        log.info("mcp-exporter is stopping")
        self.notifier.stopping(self.settings.stop_time)
        was_serving, self.liveness.phase = self.liveness.phase == "serving", "draining"
        self.reloader.close()
        delay = self.settings.drain_delay if was_serving else 0.0
        await self._be_left(delay)
        await self._let_requests_end()
        await self.servers.close()  # what still waits gets an error
        await self.listeners.mcp.close(LAST_REPLY_TIME)
        await self.spans.close()
        await self._be_scraped(delay)
        self.listeners.web.close()
        self.heartbeat.stop()
        self.reaper.close()
        log.info("mcp-exporter has stopped")

    def abort(self) -> None:
        """End this process now, wherever it hangs. The reaper ends the children, for its input is
        closed with us."""
        last = threading.Thread(target=_say_aborted, daemon=True)
        last.start()
        last.join(LAST_WORDS_TIME)  # perhaps it hangs because nobody reads the log
        os._exit(EXIT_ABORTED)

    def hang_up(self) -> None:
        """Reload because of SIGHUP; a bad configuration is in the log, and changes nothing."""
        task = asyncio.get_running_loop().create_task(self._hang_up())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _hang_up(self) -> None:
        with contextlib.suppress(ConfigError):
            await self.reloader.reload()

    async def _be_left(self, delay: float) -> None:
        """Go on accepting until balancers have noticed, and clients have left by themselves."""
        mcp = self.listeners.mcp
        mcp.draining = True  # each connection ends with its next reply
        now = monotonic()
        deadline, quiet_since = now + delay, now
        while now < min(deadline, quiet_since + QUIET_TIME):
            await asyncio.sleep(POLL)
            now = monotonic()
            quiet_since = now if mcp.connections else quiet_since

    async def _let_requests_end(self) -> None:
        drained = asyncio.create_task(self.listeners.mcp.drain(self.settings.drain_timeout))
        await asyncio.sleep(0)  # the port is closed before streams end, so that no client returns
        self.servers.drain()
        await self.receiver.close()
        await drained

    async def _be_scraped(self, delay: float) -> None:
        """Wait until the last counts were scraped, where there are scrapes at all."""
        now = monotonic()
        deadline = now + delay
        since = now
        while now < deadline and self.pages.is_scrape_due(since):
            await asyncio.sleep(POLL)
            now = monotonic()

    async def _open_receiver(self) -> None:
        path = self.settings.wrap_socket
        if not path:
            return
        try:
            await self.receiver.open()
        except OSError as error:
            reason = error.strerror or str(error)
            if path != unix_socket.default_path():
                raise ConfigError(
                    f"--wrap.socket: cannot listen on {path}: {reason}; choose another path"
                ) from None
            extra = {"path": path, "reason": reason}
            log.info("wrapped servers cannot report to this exporter", extra=extra)

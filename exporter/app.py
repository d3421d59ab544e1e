"""The composition root: builds the parts, starts them in order, stops them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import ssl
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, time

from prometheus_client import CollectorRegistry

from exporter import __version__
from exporter.access import NOBODY_ASKED, AccessFiles, Credentials
from exporter.config import redacted
from exporter.config.errors import ConfigError
from exporter.config.model import Config, Server
from exporter.probe.explain import Explanation, explain
from exporter.probe.history import History
from exporter.relay.gateway import Gateway
from exporter.relay.oauth import OwnUrl
from exporter.reload import Reloader
from exporter.servers import ServerSet
from exporter.systemd import SystemdNotifier
from exporter.telemetry import call_log
from exporter.telemetry.call_log import LoggingRecorder
from exporter.telemetry.metrics import Metrics
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.server import HttpServer
from exporter.transport.process.reaper import Reaper
from exporter.web.pages import ServerSummary
from exporter.web.server import Web, WebThread
from exporter.wrap import unix_socket as wrap_socket
from exporter.wrap.receiver import ReportServer
from exporter.wrap.wrapped_server import Names, WrappedServer

DRAIN_TIME = 5.0
"""Seconds that requests in flight are given when the exporter stops. With the seconds that
children are given, this stays below the ten that container engines wait before they kill."""

FAREWELL_TIME = 0.5
"""Seconds that the last answers are given to leave."""

PULSE = 0.5
"""Seconds between two looks at how late the event loop is."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says: where to listen, and which file to read."""

    config_file: Path
    mcp_host: str
    mcp_port: int
    web_host: str
    web_port: int
    external_url: str | None = None
    wrap_socket: str = ""
    access: AccessFiles = NOBODY_ASKED
    logs_calls: bool = False


class App:
    """The running exporter."""

    def __init__(self, config: Config, settings: Settings, revision: str = "") -> None:
        self._settings = settings
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
        self._first_config = config
        self._reaper = Reaper()
        self._gateway = Gateway(self.metrics, is_loopback(settings.mcp_host), settings.external_url)
        own_url = OwnUrl(settings.external_url, is_tls=settings.access.mcp_tls is not None)
        self._fleet = ServerSet(self.metrics, self._gateway, self.history, self._reaper, own_url)
        if settings.logs_calls:
            self._fleet.recorder_type = LoggingRecorder
            self._gateway.on_refused = call_log.refused
        self._listener = HttpServer(self._gateway, self._loop)
        self._listener.screen = self._gateway.screen
        self._listener.on_cut = self.metrics.turned_away
        self._chores: set[asyncio.Task[None]] = set()
        self._reloader = Reloader(
            settings.config_file,
            os.environ,
            self.metrics,
            self._fleet,
            self._apply_limits,
            self._prepare_access,
        )
        self._web = WebThread(
            Web(self.metrics.exposition(), self, self.history), self.metrics.turned_away
        )
        names = Names(self.metrics, self._fleet.observer, self._fleet.wrapped)
        self._reception = ReportServer(
            settings.wrap_socket, self.metrics, lambda: WrappedServer(names, self.metrics)
        )
        self._supervisor = SystemdNotifier(os.environ)
        self.is_ready = False
        self._pulse: asyncio.TimerHandle | None = None
        self._next_pulse = 0.0

    async def start(self) -> None:
        """Open both listeners and begin to probe. Raises ``ConfigError`` where one is taken."""
        credentials = self._settings.access.read()
        self._gateway.tokens = credentials.tokens
        mcp = await self._open_mcp(credentials.mcp_tls)
        web = self._open_web(credentials)
        self._reloader.start(self._first_config)
        await self._open_reception()
        self.is_ready = True
        self._feel_pulse()
        is_readable = credentials.tokens is not None and credentials.mcp_tls is None
        if is_readable and not is_loopback(self._settings.mcp_host):
            log.warning("tokens come without TLS: whoever listens on the way can use them")
        urls = {"mcp": _url(mcp, credentials.mcp_tls), "web": _url(web, credentials.web_tls)}
        log.info("mcp-exporter is ready", extra={"version": __version__, **urls})
        self._supervisor.ready(self._status())

    async def stop(self) -> None:
        """Stop to accept, let requests end, stop the children."""
        log.info("mcp-exporter is stopping")
        self._supervisor.stopping()
        self.is_ready = False
        if self._pulse is not None:
            self._pulse.cancel()
        self._fleet.drain()
        await self._reception.close()
        await self._listener.drain(DRAIN_TIME)
        await self._fleet.close()  # answers what still waits
        await self._listener.close(FAREWELL_TIME)
        self._web.close()
        self._reaper.close()
        log.info("mcp-exporter has stopped")

    def _feel_pulse(self) -> None:
        """Note how late this timer is, and set the next one."""
        now = monotonic()
        if self._next_pulse:
            self.metrics.loop_lag.observe(max(0.0, now - self._next_pulse))
        self._next_pulse = now + PULSE
        self._supervisor.alive(now)
        self._pulse = self._loop.call_later(PULSE, self._feel_pulse)

    def hang_up(self) -> None:
        """Reload because of SIGHUP; a bad configuration is in the log, and changes nothing."""
        with contextlib.suppress(ConfigError):
            self._reload_now()

    # What the web listener's thread asks for

    @property
    def servers(self) -> list[str]:
        """The names of the configured servers."""
        return self._fleet.names

    def find(self, name: str) -> Server | None:
        """The server of this name."""
        return self._fleet.find(name)

    def rows(self) -> Iterable[ServerSummary]:
        """The servers as the landing page shows them."""
        return self._fleet.rows()

    def shown_config(self) -> str:
        """The configuration in force, without secrets."""
        return redacted.render(self._reloader.config)

    def reload(self) -> Future[str]:
        """Begin to read the configuration again, on the loop that relays."""
        return asyncio.run_coroutine_threadsafe(self._reload(), self._loop)

    def explain(self, server: Server, limit: float | None) -> Future[Explanation]:
        """Begin to probe a server, within ``limit`` seconds."""
        return asyncio.run_coroutine_threadsafe(self._explain(server, limit), self._loop)

    async def _reload(self) -> str:
        return self._reload_now()

    def _reload_now(self) -> str:
        self._supervisor.reloading()
        try:
            return self._reloader.reload()
        finally:
            self._supervisor.ready(self._status())

    def _status(self) -> str:
        count = len(self._fleet.names)
        return f"Relays to {count} server{'s' if count != 1 else ''}"

    async def _explain(self, server: Server, limit: float | None) -> Explanation:
        explanation = await explain(server, self._reaper, limit)
        self.history.add(explanation.record)
        return explanation

    def _apply_limits(self, config: Config) -> None:
        limits = config.limits
        self._listener.limits = ListenerLimits(
            head_bytes=limits.header_bytes,
            body_bytes=limits.request_bytes,
            read_timeout=limits.read_timeout,
            idle_timeout=limits.keep_alive,
            write_timeout=limits.write_timeout,
            connections=limits.connections,
        )
        self._gateway.admission.apply(limits)

    def _prepare_access(self) -> Callable[[], None]:
        credentials = self._settings.access.read()
        return lambda: self._put_into_force(credentials)

    def _put_into_force(self, credentials: Credentials) -> None:
        self._gateway.tokens = credentials.tokens
        if self._settings.access.web is not None:
            self._web.renew(credentials.web, credentials.web_tls)
        if credentials.mcp_tls is not None:
            chore = self._loop.create_task(self._listener.door.renew(credentials.mcp_tls))
            self._chores.add(chore)
            chore.add_done_callback(self._chores.discard)

    async def _open_mcp(self, tls: ssl.SSLContext | None) -> tuple[str, int]:
        at = self._settings
        try:
            return await self._listener.open(at.mcp_host, at.mcp_port, tls)
        except OSError as error:
            raise _taken("--mcp.listen-address", at.mcp_host, at.mcp_port, error) from None

    async def _open_reception(self) -> None:
        path = self._settings.wrap_socket
        if not path:
            return
        try:
            await self._reception.open()
        except OSError as error:
            reason = error.strerror or str(error)
            if path != wrap_socket.default_path():
                raise ConfigError(
                    f"--wrap.socket: cannot listen on {path}: {reason}; choose another path"
                ) from None
            extra = {"path": path, "reason": reason}
            log.info("wrapped servers cannot report to this exporter", extra=extra)

    def _open_web(self, credentials: Credentials) -> tuple[str, int]:
        at = self._settings
        try:
            return self._web.open(at.web_host, at.web_port, credentials.web, credentials.web_tls)
        except OSError as error:
            raise _taken("--web.listen-address", at.web_host, at.web_port, error) from None


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(address: tuple[str, int], tls: ssl.SSLContext | None) -> str:
    return "{}://{}:{}".format("http" if tls is None else "https", *address)


def _taken(flag: str, host: str, port: int, error: OSError) -> ConfigError:
    code = error.errno or 0  # of the system; below that, a name was not found
    reason = os.strerror(code) if code > 0 else error.strerror or str(error)
    return ConfigError(f"{flag}: cannot listen on {host}:{port}: {reason}; choose another address")

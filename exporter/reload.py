"""Reads the configuration again while the exporter runs, when it is told to or by itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from exporter.config import digests
from exporter.config.errors import ConfigError
from exporter.config.model import Config
from exporter.config.source import ConfigSource, Loaded
from exporter.listeners import Listeners
from exporter.servers import Difference, ServerSet
from exporter.systemd import SystemdNotifier
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.spans.export import SpanExport
from exporter.transport.garbage import FrozenObjects

SETTLE_TIME = 1.0
"""Seconds for which a file must stay as it is before it is read: it may be half written."""

log = logging.getLogger(__name__)


class Reloader:
    """Holds the configuration that is in force.

    Files are read on a thread, and servers replaced in several turns of the loop: neither holds
    up calls.
    """

    def __init__(
        self,
        source: ConfigSource,
        metrics: Metrics,
        servers: ServerSet,
        listeners: Listeners,
        notifier: SystemdNotifier,
        spans: SpanExport,
        frozen: FrozenObjects,
    ) -> None:
        self._source = source
        self._metrics = metrics
        self._servers = servers
        self._listeners = listeners
        self._notifier = notifier
        self._spans = spans
        self._access_digests: digests.Digests = {}
        self._errors: Mapping[str, str] = {}
        self._left_out: Mapping[str, str] = {}
        self._frozen = frozen
        self._lock = asyncio.Lock()
        self._is_closed = False
        self._watching: asyncio.Task[None] | None = None
        self.config = Config(servers={})

    def start(self, loaded: Loaded, interval: float) -> None:
        """Put the first configuration into force, and look for others, 0: never."""
        self._access_digests = digests.current(self._listeners.paths())
        self._finish(loaded, self._servers.apply(loaded.config))
        self._frozen.settle()
        if interval:
            self._watching = asyncio.get_running_loop().create_task(self._watch(interval))

    def close(self) -> None:
        """Reload no more."""
        self._is_closed = True
        if self._watching is not None:
            self._watching.cancel()

    async def reload(self) -> str:
        """Read all files again; returns what changed.

        Raises ``ConfigError`` where a file other than those of the directory is wrong: then what
        that file says stays as it was.
        """
        return await self._reload(frozenset(), with_access=True)

    @property
    def status(self) -> str:
        """One line for systemd."""
        count = len(self._servers.names)
        return f"Relays to {count} server{'s' if count != 1 else ''}"

    # Looking for changes

    async def _watch(self, interval: float) -> None:
        while True:
            await asyncio.sleep(interval)
            with contextlib.suppress(ConfigError):  # it is in the log
                await self._look(min(interval, SETTLE_TIME))

    async def _look(self, settle_time: float) -> None:
        """Reload what has changed and is written whole; the rest is for the next look."""
        first, access = await asyncio.to_thread(self._snapshot)
        changed = self._source.changed(first)
        is_access_changed = access != self._access_digests
        if not changed and not is_access_changed:
            return
        await asyncio.sleep(settle_time)
        second, access_now = await asyncio.to_thread(self._snapshot)
        unsettled = digests.changed(first, second)
        with_access = is_access_changed and access == access_now
        if changed - unsettled or with_access:
            await self._reload(unsettled, with_access)

    def _snapshot(self) -> tuple[digests.Digests, digests.Digests]:
        return self._source.snapshot(), digests.current(self._listeners.paths())

    # Reading

    async def _reload(self, unsettled: frozenset[Path], with_access: bool) -> str:
        async with self._lock:
            if self._is_closed:
                raise ConfigError("the exporter is stopping: nothing was reloaded")
            self._notifier.reloading()
            try:
                return await self._read(unsettled, with_access)
            except ConfigError as error:
                self._metrics.reload_successful.set(0)
                log.error("configuration not reloaded", extra={"reason": str(error)})
                raise
            finally:
                if not self._is_closed:
                    self._notifier.ready(self.status)

    async def _read(self, unsettled: frozenset[Path], with_access: bool) -> str:
        renew_access: Callable[[], None] | None = None
        if with_access:
            self._access_digests = await asyncio.to_thread(digests.current, self._listeners.paths())
            renew_access = await asyncio.to_thread(self._listeners.prepare)
        loaded = await asyncio.to_thread(self._source.read, unsettled)
        if renew_access is not None:
            renew_access()
        difference = await self._servers.apply_in_turns(loaded.config)
        text = self._finish(loaded, difference)
        self._frozen.settle()
        if loaded.error is not None:
            raise loaded.error
        return text

    def _finish(self, loaded: Loaded, difference: Difference) -> str:
        self.config = loaded.config
        self._listeners.apply_limits(loaded.config.limits)
        self._spans.apply(loaded.config.tracing)
        self._metrics.reload_successful.set(1)
        self._metrics.reload_timestamp.set(self._metrics.clock())
        self._metrics.config_files_failed.set(len(loaded.errors))
        self._log_news(loaded)
        changes = {
            "added": len(difference.added),
            "changed": len(difference.changed),
            "removed": len(difference.removed),
        }
        count = len(loaded.config.servers)
        log.info("configuration loaded", extra={"servers": count, **changes})
        text = ", ".join(f"{count} {kind}" for kind, count in changes.items())
        return text if not loaded.errors else f"{text}; wrong: {', '.join(loaded.errors)}"

    def _log_news(self, loaded: Loaded) -> None:
        for file, reason in loaded.errors.items():
            if self._errors.get(file) != reason:
                log.error("configuration file not loaded", extra={"reason": reason})
        for server, reason in loaded.left_out.items():
            if self._left_out.get(server) != reason:
                log.warning("server left out", extra={"server": server, "reason": reason})
        self._errors, self._left_out = loaded.errors, loaded.left_out

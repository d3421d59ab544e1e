"""Reads the configuration again while the exporter runs: whole, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from exporter.config.errors import ConfigError
from exporter.config.load import load_config
from exporter.config.model import Config
from exporter.listeners import Listeners
from exporter.servers import ServerSet
from exporter.systemd import SystemdNotifier
from exporter.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Reloader:
    """Holds the configuration that is in force."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        metrics: Metrics,
        servers: ServerSet,
        listeners: Listeners,
        notifier: SystemdNotifier,
    ) -> None:
        self._path = path
        self._environ = environ
        self._metrics = metrics
        self._servers = servers
        self._listeners = listeners
        self._notifier = notifier
        self._is_closed = False

    def start(self, loaded: Config) -> None:
        """Put the first configuration into force."""
        self._put_into_force(loaded)

    def reload(self) -> str:
        """Read all files again; returns what changed.

        Raises ``ConfigError``: then all stays as it is.
        """
        if self._is_closed:
            raise ConfigError("the exporter is stopping: nothing was reloaded")
        self._notifier.reloading()
        try:
            return self._reload()
        finally:
            self._notifier.ready(self.status)

    def close(self) -> None:
        """Reload no more."""
        self._is_closed = True

    @property
    def status(self) -> str:
        """One line for whoever supervises this process."""
        count = len(self._servers.names)
        return f"Relays to {count} server{'s' if count != 1 else ''}"

    def _reload(self) -> str:
        try:
            loaded = load_config(self._path, self._environ)
            renew_access = self._listeners.prepare()
        except ConfigError as error:
            self._metrics.reload_successful.set(0)
            log.error("configuration not reloaded", extra={"reason": str(error)})
            raise
        renew_access()
        return self._put_into_force(loaded)

    def _put_into_force(self, loaded: Config) -> str:
        self._listeners.apply_limits(loaded.limits)
        difference = self._servers.apply(loaded)
        self.config = loaded
        self._metrics.reload_successful.set(1)
        self._metrics.reload_timestamp.set(self._metrics.clock())
        changes = {
            "added": len(difference.added),
            "changed": len(difference.changed),
            "removed": len(difference.removed),
        }
        log.info("configuration loaded", extra={"servers": len(loaded.servers), **changes})
        return ", ".join(f"{count} {kind}" for kind, count in changes.items())

"""Reads the configuration again while the exporter runs: whole, or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from exporter.config.errors import ConfigError
from exporter.config.load import load_config
from exporter.config.model import Config
from exporter.servers import ServerSet
from exporter.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Reloader:
    """Holds the configuration that is in force.

    ``prepare`` reads what else there is to read, or raises ``ConfigError``; what it answers
    puts that into force.
    """

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        metrics: Metrics,
        fleet: ServerSet,
        apply_limits: Callable[[Config], None],
        prepare: Callable[[], Callable[[], None]],
    ) -> None:
        self._path = path
        self._environ = environ
        self._metrics = metrics
        self._fleet = fleet
        self._apply_limits = apply_limits
        self._prepare = prepare

    def start(self, loaded: Config) -> None:
        """Put the first configuration into force."""
        self._put_into_force(loaded)

    def reload(self) -> str:
        """Read the file again; answers what changed. Raises ``ConfigError``: all stays as it is."""
        try:
            loaded = load_config(self._path, self._environ)
            put_rest_into_force = self._prepare()
        except ConfigError as error:
            self._metrics.reload_successful.set(0)
            log.error("configuration not reloaded", extra={"reason": str(error)})
            raise
        put_rest_into_force()
        return self._put_into_force(loaded)

    def _put_into_force(self, loaded: Config) -> str:
        self._apply_limits(loaded)
        difference = self._fleet.apply(loaded)
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

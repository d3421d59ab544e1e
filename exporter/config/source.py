"""Where the configuration comes from: a file, a directory of servers, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

from exporter.config import digests
from exporter.config.digests import Digests, FileReader
from exporter.config.directory import ServerDirectory
from exporter.config.errors import ConfigError
from exporter.config.load import parse_config
from exporter.config.model import Config, Server


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read: what is to be in force, and what of it is not as it is written."""

    config: Config
    errors: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with which file, whose last good servers are in ``config``."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Which server of which file is not in force, though the file is right, and why."""
    error: ConfigError | None = None
    """What is wrong with the configuration file, where its last good content is in force."""


class ConfigSource:
    """Reads the configuration, as often as it is wanted. Not for two threads at once."""

    def __init__(
        self, file: Path | None, directory: Path | None, environ: Mapping[str, str]
    ) -> None:
        self._file = file
        self._environ = environ
        self._directory = ServerDirectory(directory, environ) if directory is not None else None
        self._digests: Digests = {}
        self._config: Config | None = None
        self._error: ConfigError | None = None

    def read(self, unsettled: frozenset[Path] = frozenset()) -> Loaded:
        """Read what is not what it was, but for files that are still being written.

        A wrong configuration file raises ``ConfigError``, unless there is a directory beside it
        and there was a good one before.
        """
        now = self.snapshot()
        is_same = self._digests and not digests.changed(self._digests, _of(self._digests, now))
        if not is_same and (self._config is None or unsettled.isdisjoint(self._digests)):
            self._read_file()
        config = self._config
        if config is None or (self._error is not None and self._directory is None):
            raise self._error or ConfigError(f"{self._file}: is still being written")
        if self._directory is None:
            return Loaded(config)
        self._directory.read(config.defaults, now, unsettled)
        return self._merged(config, self._directory)

    def snapshot(self) -> dict[Path, bytes]:
        """The digests of all files now: those that were read, and those that are there."""
        paths = set(self._digests)
        if self._directory is not None:
            paths |= self._directory.watched()
        return digests.current(paths)

    def changed(self, snapshot: Digests) -> frozenset[Path]:
        """The files that were others when they were read."""
        read = {**self._digests, **(self._directory.digests if self._directory else {})}
        return digests.changed(read, snapshot)

    def _read_file(self) -> None:
        if self._file is None:
            self._config = Config(servers={})
            return
        reader = FileReader()
        try:
            text = reader(self._file)
            self._config = parse_config(
                text,
                str(self._file),
                self._environ,
                reader,
                needs_servers=self._directory is None,
            )
            self._error = None
        except ConfigError as error:
            self._error = error
        self._digests = reader.digests

    def _merged(self, config: Config, directory: ServerDirectory) -> Loaded:
        servers: dict[str, Server] = dict(config.servers)
        origin = dict.fromkeys(servers, self._file)
        left_out: dict[str, str] = {}
        for path, file in directory.files.items():
            for name, server in file.servers.items():
                if name in servers:
                    left_out[f"{path}: {name}"] = f"{origin[name]} has a server of this name"
                elif len(servers) >= config.limits.servers:
                    left_out[f"{path}: {name}"] = f"limits.servers is {config.limits.servers}"
                else:
                    servers[name], origin[name] = server, path
        merged = replace(config, servers=MappingProxyType(servers))
        errors = directory.errors
        if self._error is not None:
            errors = {str(self._file): str(self._error), **errors}
        return Loaded(merged, errors, left_out, self._error)


def _of(paths: Iterable[Path], now: Digests) -> Digests:
    return {path: now[path] for path in paths}

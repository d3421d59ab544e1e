"""A directory of files that hold servers alone. Of a wrong file, its last good servers stay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.config.digests import MISSING, Digests, FileReader
from exporter.config.errors import ConfigError
from exporter.config.load import parse_servers
from exporter.config.model import Server

SUFFIXES = frozenset({".json", ".yml", ".yaml", ".toml"})


@dataclass(frozen=True, slots=True)
class ServerFile:
    """One file as it was read last."""

    digests: Digests
    """Of the file and of what it names."""
    servers: Mapping[str, Server]
    """The last good ones."""
    error: str | None = None
    """Why it is wrong now."""


class ServerDirectory:
    """Its files by path, in the order of their names."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self.files: dict[Path, ServerFile] = {}
        self.error: str | None = None
        """Why the directory itself cannot be read; its files stay as they were."""
        self._environ = environ
        self._defaults: Server | None = None

    def read(self, defaults: Server, now: Digests, unsettled: frozenset[Path]) -> None:
        """Read what is not what it was; ``now`` are the digests of all files, and ``unsettled`` is
        still being written: that stays as it was. ``defaults`` are the configuration file's."""
        try:
            names = self._paths()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self.error = f"{self.path}: cannot be read: {reason}; check the path"
            return
        self.error = None
        is_anew, self._defaults = defaults != self._defaults, defaults
        before = self.files
        kept = [path for path in before if path in unsettled]
        self.files = {}
        for path in sorted({*names, *kept}):
            file = before.get(path)
            if path in unsettled or (file is not None and not unsettled.isdisjoint(file.digests)):
                if file is not None:
                    self.files[path] = file
            elif file is None or is_anew or not _is_same(file.digests, now):
                self.files[path] = self._read(path, file, defaults)
            else:
                self.files[path] = file

    def watched(self) -> set[Path]:
        """What is to be looked at: all that was read, and all that is there."""
        paths = {path for file in self.files.values() for path in file.digests}
        try:
            return paths.union(self._paths())
        except OSError:
            return paths

    @property
    def digests(self) -> dict[Path, bytes]:
        """Of all files that were read."""
        return {path: value for file in self.files.values() for path, value in file.digests.items()}

    @property
    def errors(self) -> dict[str, str]:
        """What is wrong with which file."""
        found = {
            str(path): file.error for path, file in self.files.items() if file.error is not None
        }
        return found if self.error is None else {**found, str(self.path): self.error}

    def _paths(self) -> list[Path]:
        return sorted(_wanted(self.path.iterdir()))

    def _read(self, path: Path, before: ServerFile | None, defaults: Server) -> ServerFile:
        reader = FileReader()
        try:
            text = reader(path)
            servers = parse_servers(text, str(path), self._environ, reader, defaults)
        except ConfigError as error:
            kept = before.servers if before is not None else {}
            return ServerFile(reader.digests, kept, str(error))
        return ServerFile(reader.digests, servers)


def _is_same(digests: Digests, now: Digests) -> bool:
    return all(now.get(path, MISSING) == value for path, value in digests.items())


def _wanted(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        is_hidden = path.name.startswith(".")  # as Kubernetes' ..data, and what editors leave
        if path.suffix.lower() in SUFFIXES and not is_hidden and path.is_file():
            yield path

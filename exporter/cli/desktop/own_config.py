"""The exporter's own configuration as ``import`` reads and writes it: its remote servers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from exporter.config import document, files
from exporter.config.errors import ConfigError
from exporter.config.load import load_config, parse_config
from exporter.config.variables import foreign_as_literal, variables_of


def expander(path: Path) -> Callable[[str], str]:
    """What replaces the variables in a client's file; a text with one that is not set stays."""
    variables = variables_of(path.absolute(), os.environ, document.load)

    def expand(text: str) -> str:
        try:
            return variables.expand(foreign_as_literal(text, path.absolute()))
        except ConfigError:
            return text

    return expand


class OwnConfig:
    """The file that the exporter is to serve; ``base_url`` is how clients reach it."""

    def __init__(self, path: Path, base_url: str) -> None:
        self._path = path
        self._base_url = base_url.rstrip("/")

    @property
    def is_there(self) -> bool:
        """Whether there is anything of this name, even a link that leads nowhere."""
        return os.path.lexists(self._path)

    def remotes(self) -> dict[str, tuple[str, str]]:
        """The URL of each remote server that is served, and the exporter's own for it."""
        if not self._path.exists():
            return {}
        loaded = load_config(self._path, os.environ)
        return {
            name: (server.url, f"{self._base_url}/{quote(name)}/{_place(server.transport)}")
            for name, server in loaded.servers.items()
            if server.url is not None
        }

    def entry(self, remote: Mapping[str, Any], path: Path) -> dict[str, Any]:
        """A remote server of a client's file as this file has it; empty where it is our own."""
        if str(remote.get("url", "")).startswith(f"{self._base_url}/"):
            return {}
        return {key: _translated(value, path.absolute()) for key, value in remote.items()}

    def write(self, remotes: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
        """Write the servers that can be used; say which, and which cannot."""
        usable = {}
        for name, entry in remotes.items():
            try:
                parse_config(_text({name: entry}), str(self._path), os.environ)
            except ConfigError as problem:
                yield f"{name}: left alone, for the exporter could not use it: {problem}"
            else:
                usable[name] = entry
        if not usable:
            return
        try:
            files.create(self._path, _text(usable).encode())  # headers may be secrets
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigError(f"{self._path}: cannot be written: {reason.lower()}") from None
        yield f"{self._path}: written for the exporter, with {', '.join(usable)}"


def _translated(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _translated(member, path) for key, member in value.items()}
    return foreign_as_literal(value, path) if isinstance(value, str) else value


def _text(servers: Mapping[str, Mapping[str, Any]]) -> str:
    return json.dumps({"servers": servers}, indent=2, ensure_ascii=False) + "\n"


def _place(transport: str) -> str:
    return "sse" if transport == "sse" else "mcp"

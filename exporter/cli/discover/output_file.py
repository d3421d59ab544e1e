"""The file of found servers: whole at each moment, and bounded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from exporter.cli.discover.services import DiscoveredServer


class OutputFile:
    """What is in it stays until another list is known."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._written: str | None = None
        self._names: list[str] | None = None
        """Of what is in the file, the oldest first; unknown before it was written once."""

    def read(self) -> dict[str, DiscoveredServer]:
        """What an earlier process wrote; nothing where there is none, or another program's."""
        try:
            servers = json.loads(self._path.read_text())["servers"]
            return {
                name: DiscoveredServer(name, each["url"], each.get("type", "http"))
                for name, each in servers.items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def write(self, found: Mapping[str, DiscoveredServer]) -> bool:
        """Put these into it, where it says anything else; whether it did. Raises ``OSError``.

        What is in it goes before what is new, so that nobody loses a place to others over the
        limit, here or in the exporter.
        """
        names = list(self.read()) if self._names is None else self._names
        older = [name for name in names if name in found]
        kept = [*older, *sorted(found.keys() - set(older))][: self._limit]
        text = json.dumps({"servers": {name: found[name].settings for name in kept}}, indent=1)
        if text == self._written:
            return False
        # A name with a dot before it is not read by who watches the directory.
        new = self._path.with_name(f".{self._path.name}.new")
        new.write_text(text + "\n")
        new.replace(self._path)
        self._written, self._names = text, kept
        return True

    def left_out(self, found: Mapping[str, DiscoveredServer]) -> int:
        """How many of them are over the limit."""
        return max(0, len(found) - self._limit)

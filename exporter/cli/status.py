"""``mcp-exporter status``: asks, draws, and asks again."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from time import sleep, time

from exporter.cli import status_source, status_tables
from exporter.cli.status_source import Facts
from exporter.config.errors import ConfigError

REFRESH = 2.0
"""Seconds between two looks of ``--watch``."""


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """What the command line says; ``since`` in seconds."""

    prometheus_url: str
    web_url: str
    since: float
    server: str | None
    is_json: bool
    is_watched: bool


def run(wishes: StatusOptions) -> int:
    """Show it; answers 1 where a server is in error. Raises ``ConfigError``."""
    if not wishes.is_watched:
        return _show(wishes)
    try:
        while True:
            _show(wishes)
            sleep(REFRESH)
    except KeyboardInterrupt:
        return 0


def _show(wishes: StatusOptions) -> int:
    try:
        found = _only(_ask(wishes), wishes.server)
    except ConfigError as problem:
        if not wishes.is_watched:
            raise
        _draw(f"{problem}\n", wishes)
        return 2
    _draw(_drawn(found, wishes), wishes)
    return int("error" in found.states.values())


def _ask(wishes: StatusOptions) -> Facts:
    if wishes.prometheus_url:
        return status_source.ask_prometheus(wishes.prometheus_url, wishes.since)
    return status_source.ask_exporter(wishes.web_url)


def _only(found: Facts, server: str | None) -> Facts:
    if server is None:
        return found
    known = sorted(row.server for row in status_tables.servers(found))
    if server not in known:
        raise ConfigError(f"--server: there is no server {server!r}; known: {', '.join(known)}")
    return Facts(
        found.window,
        {name: state for name, state in found.states.items() if name == server},
        {name: since for name, since in found.since.items() if name == server},
        {name: count for name, count in found.tools.items() if name == server},
        {key: count for key, count in found.calls.items() if key[0] == server},
        {key: buckets for key, buckets in found.buckets.items() if key[0] == server},
        {key: at for key, at in found.last.items() if key[0] == server},
    )


def _drawn(found: Facts, wishes: StatusOptions) -> str:
    if wishes.is_json:
        return (
            json.dumps(status_tables.as_json(found), indent=None if wishes.is_watched else 2) + "\n"
        )
    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return status_tables.as_text(found, time(), is_coloured)


def _draw(text: str, wishes: StatusOptions) -> None:
    if wishes.is_watched and sys.stdout.isatty() and not wishes.is_json:
        text = "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in text.splitlines()) + "\x1b[J"
    sys.stdout.write(text)
    sys.stdout.flush()

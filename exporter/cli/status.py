"""``mcp-exporter status``: asks, draws, and asks again."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from time import sleep, time

from exporter.cli import status_source, status_tables
from exporter.cli.status_source import StatusData
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


def run(options: StatusOptions) -> int:
    """Show it; return 1 where a server is in error. Raises ``ConfigError``."""
    if not options.is_watched:
        return _show(options)
    try:
        while True:
            _show(options)
            sleep(REFRESH)
    except KeyboardInterrupt:
        return 0


def _show(options: StatusOptions) -> int:
    try:
        found = _only(_ask(options), options.server)
    except ConfigError as problem:
        if not options.is_watched:
            raise
        _print(f"{problem}\n", options)
        return 2
    _print(_text(found, options), options)
    return int("error" in found.states.values())


def _ask(options: StatusOptions) -> StatusData:
    if options.prometheus_url:
        return status_source.ask_prometheus(options.prometheus_url, options.since)
    return status_source.ask_exporter(options.web_url)


def _only(found: StatusData, server: str | None) -> StatusData:
    if server is None:
        return found
    known = sorted(row.server for row in status_tables.servers(found))
    if server not in known:
        raise ConfigError(f"--server: there is no server {server!r}; known: {', '.join(known)}")
    return found.only(server)


def _text(found: StatusData, options: StatusOptions) -> str:
    if options.is_json:
        indent = None if options.is_watched else 2
        return json.dumps(status_tables.as_json(found), indent=indent) + "\n"
    is_terminal = sys.stdout.isatty()
    is_coloured = is_terminal and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size().columns if is_terminal else None
    return status_tables.as_text(found, time(), is_coloured, width)


def _print(text: str, options: StatusOptions) -> None:
    if options.is_watched and sys.stdout.isatty() and not options.is_json:
        text = screen(text, shutil.get_terminal_size().lines)
    sys.stdout.write(text)
    sys.stdout.flush()


def screen(text: str, height: int) -> str:
    """The text in place of what was there; what does not fit is said, so that nothing scrolls."""
    lines = text.splitlines()
    if len(lines) >= height:
        lines = [*lines[: max(1, height - 2)], f"… {len(lines) - height + 2} more lines"]
    return "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"

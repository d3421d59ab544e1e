"""Takes the exporter out of a client's file again, in the text itself: pure.

For files that changed since they were rewritten, so that the backup is no longer what they were:
some clients keep more in theirs than servers, and write it every day.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from exporter.cli.desktop.rewrite import is_wrapped, listings, settings_of
from exporter.cli.desktop.syntax import JSON, Edit, Syntax
from exporter.config import client_keys
from exporter.config.jsonc import Value


def find(text: str, remotes: Mapping[str, tuple[str, str]], syntax: Syntax = JSON) -> list[Edit]:
    """What to exchange; ``remotes`` has the server's URL and the exporter's by name. Raises
    ``ValueError`` where the text cannot be read."""
    found: list[Edit] = []
    for listed in listings(syntax.read(text)):
        for name, entry in (listed.members or {}).items():
            settings = settings_of(entry)
            is_own = is_wrapped(settings)
            if is_own:
                found += _unwrap(text, settings)
            elif name in remotes:
                found += _direct(settings, *remotes[name], syntax)
    return found


def urls(text: str, syntax: Syntax = JSON) -> dict[str, str]:
    """The URL of each remote server of a file, as it is written. Raises ``ValueError``."""
    found: dict[str, str] = {}
    for listed in listings(syntax.read(text)):
        for name, entry in (listed.members or {}).items():
            settings = settings_of(entry)
            for url in filter(None, map(settings.text, client_keys.URL_KEYS)):
                found[name] = url
    return found


def _unwrap(text: str, entry: Value) -> Iterator[Edit]:
    args, command = entry.get("args"), entry.get("command")
    items = (args.items if args is not None else None) or []
    words = [item.plain for item in items]
    at = words.index("--") + 1 if "--" in words else len(words)
    if command is None or at >= len(words):
        return
    own = items[at]
    yield Edit(command.start, command.end, text[own.start : own.end])
    if at + 1 < len(items):
        yield Edit(items[0].start, items[at + 1].start, "")
    else:
        comma = re.compile(r"\s*,").match(text, own.end)
        yield Edit(items[0].start, comma.end() if comma else own.end, "")


def _direct(entry: Value, theirs: str, ours: str, syntax: Syntax) -> Iterator[Edit]:
    for key in client_keys.URL_KEYS:
        value = entry.get(key)
        if value is not None and value.plain == ours:
            yield Edit(value.start, value.end, syntax.quoted(theirs))

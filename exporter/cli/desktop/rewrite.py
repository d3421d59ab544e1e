"""Puts the servers of a client's file behind the exporter, in the text itself: pure.

Only the values that must change are exchanged; comments, order, unknown keys and line ends stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.cli.desktop.syntax import JSON, Edit, Syntax, gap_before
from exporter.config import client_keys
from exporter.config.jsonc import Value

STDIO = "stdio"

WRAPPED = "runs through wrap"
RELAYED = "goes through the exporter"
ALREADY = "already"

_MODULE = ["-m", "exporter", "wrap"]
_PROGRAM = re.compile(r"mcp-exporter(\.exe)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """One server of a file: what it is, and what becomes of it."""

    name: str
    transport: str
    fate: str
    edits: tuple[Edit, ...] = ()
    remote: Mapping[str, Any] | None = None
    """What the exporter must be told to reach it, where it is remote."""


@dataclass(frozen=True, slots=True)
class ExporterRoute:
    """How clients get to the exporter: ``program`` starts ``wrap``, ``isolated`` does so whatever
    Python variables are set, ``remotes`` maps the URLs of configured servers by name to those of
    the exporter, and ``expand`` replaces the variables of a client's URL as the exporter does."""

    program: Sequence[str]
    remotes: Mapping[str, tuple[str, str]]
    isolated: Sequence[str] = ()
    expand: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class _Entry:
    """A server in a client's file; its ``settings`` may be inside ``whole``."""

    text: str
    syntax: Syntax
    name: str
    settings: Value
    whole: Value


def find(text: str, route: ExporterRoute, syntax: Syntax = JSON) -> list[Found]:
    """The servers of a client's file. Raises ``ValueError`` where that cannot be read."""
    return [
        _look(_Entry(text, syntax, name, settings_of(whole), whole), route)
        for listed in listings(syntax.read(text))
        for name, whole in (listed.members or {}).items()
    ]


def apply(text: str, found: Sequence[Found]) -> str:
    """The text with every edit."""
    return exchange(text, [edit for each in found for edit in each.edits])


def exchange(text: str, edits: Sequence[Edit]) -> str:
    """The text with these edits."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text


def listings(root: Value | None) -> Iterator[Value]:
    """Where clients list servers: all of them, Codex, VS Code, its settings, projects of Claude
    Code."""
    if root is None:
        return
    places = [root.get("mcpServers"), root.get("servers"), root.get("mcp.servers")]
    places.append(root.get("mcp_servers"))
    settings = root.get("mcp")
    places.append(settings.get("servers") if settings else None)
    projects = root.get("projects")
    for project in (projects.members or {}).values() if projects else ():
        places.append(project.get("mcpServers"))
    for place in places:
        if place is not None and place.members is not None:
            yield place


def settings_of(entry: Value) -> Value:
    """Where a server's command or URL is: in the entry, or in its ``transport``."""
    inner = entry.get("transport")
    keys = ("command", *client_keys.URL_KEYS)
    is_inside = inner is not None and any(inner.text(key) is not None for key in keys)
    return inner if inner is not None and is_inside else entry


def _look(entry: _Entry, route: ExporterRoute) -> Found:
    if entry.settings.text("command") is not None:
        return _look_at_stdio(entry, route)
    for key in client_keys.URL_KEYS:
        url = entry.settings.text(key)
        if url is not None:
            return _look_at_remote(entry, key, url, route)
    return Found(entry.name, "?", "left alone: it has neither a command nor a URL")


def _look_at_stdio(entry: _Entry, route: ExporterRoute) -> Found:
    name, settings = entry.name, entry.settings
    command, args = settings.members["command"], settings.get("args")  # type: ignore[index]
    if is_wrapped(settings):
        return Found(name, STDIO, f"{ALREADY} {WRAPPED}")
    if args is not None and args.items is None:
        return Found(name, STDIO, "left alone: its args are not a list")
    if not name or name.startswith("-"):
        return Found(name, STDIO, "left alone: wrap would take its name for a flag")
    if " " in command.plain and not re.search(r"[\\/].* |\$\{", command.plain):
        return Found(name, STDIO, "left alone: its command holds arguments; put them into args")
    if "debug" in ((entry.whole.get("dev") or command).members or {}):
        return Found(name, STDIO, "left alone: the client debugs it, and must start it itself")
    sets_python = _sets_python(settings) or _sets_python(entry.whole)
    program = route.isolated if route.isolated and sets_python else route.program
    own = [*program[1:], "wrap", name, "--", command.plain]
    edits = (
        Edit(command.start, command.end, entry.syntax.quoted(program[0])),
        _insert_arguments(entry, own),
    )
    return Found(name, STDIO, WRAPPED, edits)


def _sets_python(entry: Value) -> bool:
    """Whether its environment may send Python to other modules than ours."""
    env = entry.get("env")
    return "envFile" in (entry.members or {}) or any(
        key.startswith("PYTHON") for key in (env.members if env else None) or ()
    )


def _insert_arguments(entry: _Entry, own: Sequence[str]) -> Edit:
    args = entry.settings.get("args")
    words = [entry.syntax.quoted(word) for word in own]
    if args is None:
        return entry.syntax.add_arguments(entry.text, entry.settings, words)
    if not args.items:
        return Edit(args.start + 1, args.start + 1, ", ".join(words))
    first = args.items[0].start
    gap = gap_before(entry.text, first) if "\n" in entry.text[args.start : first] else " "
    return Edit(first, first, "".join(f"{word},{gap}" for word in words))


def _look_at_remote(entry: _Entry, key: str, url: str, route: ExporterRoute) -> Found:
    name, settings = entry.name, entry.settings
    transport = _transport(settings)
    known, ours = route.remotes.get(name, ("", ""))
    if url in {new for _, new in route.remotes.values()}:
        return Found(name, transport, f"{ALREADY} {RELAYED}")
    remote = {"url": url} | _type(settings) | _headers(settings, entry.whole)
    if known != route.expand(url):
        reason = (
            "the exporter knows another URL by this name"
            if known
            else "the exporter does not serve it"
        )
        return Found(name, transport, f"left alone: {reason}", remote=remote)
    value = settings.members[key]  # type: ignore[index]
    edit = Edit(value.start, value.end, entry.syntax.quoted(ours))
    return Found(name, transport, RELAYED, (edit,), remote)


def _type(settings: Value) -> dict[str, Any]:
    word = next(filter(None, map(settings.text, client_keys.TRANSPORT_KEYS)), None)
    return {"type": word} if word is not None else {}


def _headers(*places: Value) -> dict[str, Any]:
    """The headers that a client sends, wherever it keeps them; the first place wins."""
    found: dict[str, Any] = {}
    for place in reversed(places):
        asked = place.get("requestInit")
        own = (place.get("http_headers"), place.get("headers"))
        for headers in (asked.get("headers") if asked else None, *own):
            found |= headers.decoded() if headers is not None and headers.members else {}
    return {"headers": found} if found else {}


def _transport(entry: Value) -> str:
    for key in client_keys.TRANSPORT_KEYS:
        word = entry.text(key)
        if word is not None:
            return client_keys.TRANSPORTS.get(word.lower(), "http")
    return "http"


def is_wrapped(entry: Value) -> bool:
    """Whether a server runs through ``wrap``."""
    args = entry.get("args")
    words = [entry.text("command"), *((item.plain for item in args.items or ()) if args else ())]
    names = [re.split(r"[\\/]", word)[-1] for word in words if isinstance(word, str)]
    if names[1:2] == ["wrap"] and _PROGRAM.fullmatch(names[0]):
        return True
    return names[1:4] == _MODULE or names[3:6] == _MODULE

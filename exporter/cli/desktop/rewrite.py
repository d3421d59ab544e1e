"""Puts the servers of a client's file behind the exporter, in the text itself: pure.

Only the values that must change are exchanged; comments, order, unknown keys and line ends stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.config import client_keys, jsonc
from exporter.config.jsonc import Value

STDIO = "stdio"

WRAPPED = "runs through wrap"
RELAYED = "goes through the exporter"
ALREADY = "already"

_MODULE = ["-m", "exporter", "wrap"]
_PROGRAM = re.compile(r"mcp-exporter(\.exe)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Edit:
    """``text[start:end]`` becomes ``new``."""

    start: int
    end: int
    new: str


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
    the exporter."""

    program: Sequence[str]
    remotes: Mapping[str, tuple[str, str]]
    isolated: Sequence[str] = ()


def find(text: str, route: ExporterRoute) -> list[Found]:
    """The servers of a client's file. Raises ``ValueError`` where it is not JSON."""
    found: list[Found] = []
    if jsonc.is_empty(text):
        return found  # as some clients make it
    root = jsonc.read(text)
    for listed in listings(root):
        for name, entry in (listed.members or {}).items():
            found.append(_look(text, name, entry, route))
    return found


def apply(text: str, found: Sequence[Found]) -> str:
    """The text with every edit."""
    return exchange(text, [edit for each in found for edit in each.edits])


def exchange(text: str, edits: Sequence[Edit]) -> str:
    """The text with these edits."""
    for edit in sorted(edits, key=lambda edit: edit.start, reverse=True):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text


def listings(root: Value) -> Iterator[Value]:
    """Where clients list servers: all of them, VS Code, its settings, projects of Claude Code."""
    places = [root.get("mcpServers"), root.get("servers"), root.get("mcp.servers")]
    settings = root.get("mcp")
    places.append(settings.get("servers") if settings else None)
    projects = root.get("projects")
    for project in (projects.members or {}).values() if projects else ():
        places.append(project.get("mcpServers"))
    for place in places:
        if place is not None and place.members is not None:
            yield place


def _look(text: str, name: str, entry: Value, route: ExporterRoute) -> Found:
    if entry.text("command") is not None:
        return _look_at_stdio(text, name, entry, route)
    for key in client_keys.URL_KEYS:
        url = entry.text(key)
        if url is not None:
            return _look_at_remote(name, entry, key, url, route)
    return Found(name, "?", "left alone: it has neither a command nor a URL")


def _look_at_stdio(text: str, name: str, entry: Value, route: ExporterRoute) -> Found:
    command, args = entry.members["command"], entry.get("args")  # type: ignore[index]
    if is_wrapped(entry):
        return Found(name, STDIO, f"{ALREADY} {WRAPPED}")
    if args is not None and args.items is None:
        return Found(name, STDIO, "left alone: its args are not a list")
    if not name or name.startswith("-"):
        return Found(name, STDIO, "left alone: wrap would take its name for a flag")
    if " " in command.plain and not re.search(r"[\\/].* |\$\{", command.plain):
        return Found(name, STDIO, "left alone: its command holds arguments; put them into args")
    if "debug" in ((entry.get("dev") or command).members or {}):
        return Found(name, STDIO, "left alone: the client debugs it, and must start it itself")
    program = route.isolated if route.isolated and _sets_python(entry) else route.program
    own = [*program[1:], "wrap", name, "--", command.plain]
    edits = (
        Edit(command.start, command.end, quoted(program[0])),
        _insert_arguments(text, entry, own),
    )
    return Found(name, STDIO, WRAPPED, edits)


def _sets_python(entry: Value) -> bool:
    """Whether its environment may send Python to other modules than ours."""
    env = entry.get("env")
    return "envFile" in (entry.members or {}) or any(
        key.startswith("PYTHON") for key in (env.members if env else None) or ()
    )


def _insert_arguments(text: str, entry: Value, own: Sequence[str]) -> Edit:
    args, command = entry.get("args"), entry.members["command"]  # type: ignore[index]
    words = [quoted(word) for word in own]
    if args is None:
        gap = _gap(text, entry.start_of("command"))
        return Edit(command.end, command.end, f',{gap}"args": [{", ".join(words)}]')
    if not args.items:
        return Edit(args.start + 1, args.start + 1, ", ".join(words))
    first = args.items[0].start
    gap = _gap(text, first) if "\n" in text[args.start : first] else " "
    return Edit(first, first, "".join(f"{word},{gap}" for word in words))


def _look_at_remote(name: str, entry: Value, key: str, url: str, route: ExporterRoute) -> Found:
    transport = _transport(entry)
    known, ours = route.remotes.get(name, ("", ""))
    if url in {new for _, new in route.remotes.values()}:
        return Found(name, transport, f"{ALREADY} {RELAYED}")
    told = {key: entry.get(key) for key in ("type", "headers")}
    remote = {"url": url} | {key: value.decoded() for key, value in told.items() if value}
    if known != url:
        reason = (
            "the exporter knows another URL by this name"
            if known
            else "the exporter does not serve it"
        )
        return Found(name, transport, f"left alone: {reason}", remote=remote)
    value = entry.members[key]  # type: ignore[index]
    return Found(name, transport, RELAYED, (Edit(value.start, value.end, quoted(ours)),), remote)


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


def _gap(text: str, start: int) -> str:
    """The white space before a place, with its line break, so that what is put there fits in."""
    found = re.search(r"(\r?\n)?[ \t]*$", text[:start])
    return found[0] if found and found[1] else " "


def quoted(text: str) -> str:
    """As JSON."""
    has_halves = any("\ud800" <= letter <= "\udfff" for letter in text)
    return json.dumps(text, ensure_ascii=has_halves)  # half a character has no UTF-8

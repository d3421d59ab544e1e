"""The tools that one server lists, and how the list changes: pure.

Two see the list: the prober, and the observer of the clients' traffic. A server may show its
users other tools than the prober, or show the prober none. What the prober lists is compared
with what it listed before; of what clients are shown, a name or a definition that was never
seen before counts as a change, once.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from exporter.protocol.label_values import ADDED, MODIFIED, REMOVED

DIFF_LENGTH = 4000
MAX_TOOLS = 10_000


@dataclass(frozen=True, slots=True)
class Change:
    """One tool that was ``added``, ``removed`` or ``modified``, with a unified diff."""

    kind: str
    tool: str
    diff: str = ""


@dataclass(slots=True)
class _ListedTool:
    definition: bytes
    seen: float
    is_own: bool = False
    was_counted: bool = False
    variants: set[bytes] = field(default_factory=set)


class Inventory:
    """Remembers the definitions. ``timeout``: seconds after which a tool that only clients saw,
    and see no more, counts as removed."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._tools: dict[str, _ListedTool] = {}
        self._has_own = False
        self._has_shown = False
        self._intermittent: set[str] = set()

    @property
    def definitions(self) -> dict[str, bytes]:
        """The tools that the server lists now, to any client."""
        return {name: tool.definition for name, tool in self._tools.items()}

    def differs(self, tools: Mapping[str, bytes]) -> bool:
        """Whether a client was shown something else than what is known."""
        own = {name for name, tool in self._tools.items() if tool.is_own}
        return not own <= tools.keys() or any(
            name not in self._tools or self._tools[name].definition != definition
            for name, definition in tools.items()
        )

    def list_own(self, tools: Mapping[str, bytes], now: float) -> list[Change]:
        """Take what the prober listed. Return what changed since the last time."""
        is_first, self._has_own = not self._has_own, True
        changes = []
        for name, definition in tools.items():
            known = self._tools.get(name)
            if known is None:
                self._tools[name] = _ListedTool(definition, now, True, not is_first)
                changes.append(Change(ADDED, name))
                continue
            if not known.is_own and not known.was_counted:
                changes.append(Change(ADDED, name))
                known.was_counted = not is_first
            changes += _take_own(name, known, definition, now)
        gone = [name for name, tool in self._tools.items() if tool.is_own and name not in tools]
        changes += self._remove(gone)
        return [] if is_first else changes

    def list_shown(self, tools: Mapping[str, bytes], now: float) -> list[Change]:
        """Take what a client was shown. Return what was never seen before."""
        is_first, self._has_shown = not self._has_shown, True
        changes = []
        for name, definition in tools.items():
            known = self._tools.get(name)
            if known is not None:
                changes += _take_shown(name, known, definition, now)
            elif len(self._tools) < MAX_TOOLS:
                counts = not is_first and name not in self._intermittent
                self._tools[name] = _ListedTool(definition, now, was_counted=counts)
                changes += [Change(ADDED, name)] if counts else []
        return changes + self._remove(list(self._overdue(tools, now)))

    def _overdue(self, tools: Mapping[str, bytes], now: float) -> Iterator[str]:
        for name, tool in self._tools.items():
            is_missing = not tool.is_own and name not in tools
            if is_missing and now - tool.seen > self._timeout and name not in self._intermittent:
                # If it comes back it belongs to some users only: its coming and going is no
                # change of the server.
                yield name

    def _remove(self, names: list[str]) -> list[Change]:
        for name in names:
            if not self._tools.pop(name).is_own and len(self._intermittent) < MAX_TOOLS:
                self._intermittent.add(name)
        return [Change(REMOVED, name) for name in names]


class Pages:
    """Puts listings together that pass by page by page."""

    _KEPT = 8

    def __init__(self) -> None:
        self._begun: dict[str, dict[str, bytes]] = {}

    def take(
        self, tools: Mapping[str, bytes], cursor: str | None, next_cursor: str | None
    ) -> dict[str, bytes] | None:
        """Take the page for ``cursor``. Return the listing if it is complete now."""
        before = self._begun.pop(cursor, None) if cursor else {}
        if before is None or len(before) > MAX_TOOLS:
            return None  # its beginning was not seen, or it has no end
        listing = {**before, **tools}
        if not next_cursor:
            return listing
        self._begun[next_cursor] = listing
        if len(self._begun) > self._KEPT:
            del self._begun[next(iter(self._begun))]
        return None


def _take_own(name: str, known: _ListedTool, definition: bytes, now: float) -> list[Change]:
    known.is_own, known.seen = True, now
    if definition == known.definition:
        known.variants.clear()  # what clients were shown is what the server lists now
        return []
    if definition in known.variants:
        return []  # clients are shown another one, which was counted
    known.variants.clear()
    return _modify(name, known, definition)


def _take_shown(name: str, known: _ListedTool, definition: bytes, now: float) -> list[Change]:
    known.seen = now
    if definition == known.definition or definition in known.variants:
        return []
    if len(known.variants) < 8:
        known.variants.add(known.definition)
    return _modify(name, known, definition)


def _modify(name: str, known: _ListedTool, definition: bytes) -> list[Change]:
    before, known.definition = known.definition, definition
    diff = _diff(before, definition)
    return [Change(MODIFIED, name, diff)] if diff else []


def _diff(before: bytes, after: bytes) -> str:
    lines = difflib.unified_diff(
        _pretty(before), _pretty(after), "before", "after", lineterm="", n=1
    )
    text = "\n".join(lines)
    return text if len(text) <= DIFF_LENGTH else f"{text[:DIFF_LENGTH]}…"


def _pretty(definition: bytes) -> list[str]:
    try:
        members = json.loads(definition)
    except (ValueError, RecursionError):
        return [_visible(definition.decode(errors="replace"))]
    text = json.dumps(members, indent=1, sort_keys=True, ensure_ascii=False)
    return [_visible(line) for line in text.split("\n")]


def _visible(line: str) -> str:
    """The line with what a reader would not see written out: it may speak to models alone."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in line
    )

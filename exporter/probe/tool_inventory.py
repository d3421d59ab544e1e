"""The tools that one server lists, and how the list changes: pure and bounded.

Two see the list: the prober, and the observer of the clients' traffic. A server may show its
users other tools than the prober, or show the prober none. What the prober lists is compared
with what it listed before; of what clients are shown, a name or a definition that was never
seen before counts as a change, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from exporter.probe import tool_diff
from exporter.protocol.label_values import ADDED, MODIFIED, REMOVED
from exporter.protocol.tool_page import MAX_TOOLS

MAX_KEPT = 8 * 1024 * 1024
"""Bytes of definitions that are kept of one server, for diffs; of the rest the digest alone."""

MAX_COMPARED = 512 * 1024
"""Bytes of one listing in which members in another order are told from a change."""

_MAX_VARIANTS = 8


class Definition(NamedTuple):
    """A tool's definition: its digest, its size, and its beginning as far as that is kept."""

    digest: bytes
    size: int
    text: bytes = b""

    @classmethod
    def of(cls, data: bytes) -> Definition:
        """The definition that was listed as ``data``."""
        return cls(hashlib.sha256(data).digest(), len(data), data[: tool_diff.KEPT])


@dataclass(frozen=True, slots=True)
class Change:
    """One tool that was ``added``, ``removed`` or ``modified``, then with what it was before."""

    kind: str
    tool: str
    before: bytes = b""
    after: bytes = b""


@dataclass(slots=True)
class _ListedTool:
    definition: Definition
    seen: float
    is_own: bool = False
    was_counted: bool = False
    variants: set[bytes] = field(default_factory=set)


def definitions(tools: Mapping[str, bytes]) -> dict[str, Definition]:
    """The definitions of a listing."""
    return {name: Definition.of(data) for name, data in tools.items()}


class Inventory:
    """Remembers the definitions. ``grace``: seconds after which a tool that only clients saw,
    and see no more, counts as removed."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._tools: dict[str, _ListedTool] = {}
        self._has_own = False
        self._has_shown = False
        self._intermittent: set[str] = set()
        self._kept = 0
        self._comparable = 0

    def __contains__(self, name: str) -> bool:
        return name in self._tools

    def __len__(self) -> int:
        return len(self._tools)

    @property
    def size(self) -> int:
        """Bytes of all definitions as they were listed."""
        return sum(tool.definition.size for tool in self._tools.values())

    def differs(self, tools: Mapping[str, Definition]) -> bool:
        """Whether a client was shown something else than what is known."""
        own = {name for name, tool in self._tools.items() if tool.is_own}
        return not own <= tools.keys() or any(
            name not in self._tools or self._tools[name].definition.digest != definition.digest
            for name, definition in tools.items()
        )

    def list_own(
        self, tools: Mapping[str, Definition], now: float, *, is_whole: bool = True
    ) -> list[Change]:
        """Take what the prober listed. Return what changed since the last time.

        Of a listing that is not whole, what is missing may still be there.
        """
        is_first, self._has_own = not self._has_own, True
        self._comparable = MAX_COMPARED
        changes = []
        for name, definition in tools.items():
            known = self._tools.get(name)
            if known is None:
                if self._add(name, definition, now, is_own=True, was_counted=not is_first):
                    changes.append(Change(ADDED, name))
                continue
            if not known.is_own and not known.was_counted:
                changes.append(Change(ADDED, name))
                known.was_counted = not is_first
            changes += self._take_own(name, known, definition, now)
        gone = [name for name, tool in self._tools.items() if tool.is_own and name not in tools]
        changes += self._remove(gone if is_whole else ())
        return [] if is_first else changes

    def list_shown(self, tools: Mapping[str, Definition], now: float) -> list[Change]:
        """Take what a client was shown. Return what was never seen before."""
        is_first, self._has_shown = not self._has_shown, True
        self._comparable = MAX_COMPARED
        changes = []
        for name, definition in tools.items():
            known = self._tools.get(name)
            if known is not None:
                changes += self._take_shown(name, known, definition, now)
                continue
            counts = not is_first and name not in self._intermittent
            if self._add(name, definition, now, is_own=False, was_counted=counts) and counts:
                changes.append(Change(ADDED, name))
        return changes + self._remove(list(self._overdue(tools, now)))

    def _add(
        self, name: str, definition: Definition, now: float, *, is_own: bool, was_counted: bool
    ) -> bool:
        if len(self._tools) >= MAX_TOOLS:
            return False
        self._tools[name] = _ListedTool(self._keep(definition), now, is_own, was_counted)
        return True

    def _keep(self, definition: Definition) -> Definition:
        """The definition with its text, if there is room for that."""
        if self._kept + len(definition.text) > MAX_KEPT:
            return definition._replace(text=b"")
        self._kept += len(definition.text)
        return definition

    def _take_own(
        self, name: str, known: _ListedTool, definition: Definition, now: float
    ) -> list[Change]:
        known.is_own, known.seen = True, now
        if definition.digest == known.definition.digest:
            known.variants.clear()  # what clients were shown is what the server lists now
            return []
        if definition.digest in known.variants:
            return []  # clients are shown another one, which was counted
        known.variants.clear()
        return self._modify(name, known, definition)

    def _take_shown(
        self, name: str, known: _ListedTool, definition: Definition, now: float
    ) -> list[Change]:
        known.seen = now
        if definition.digest == known.definition.digest or definition.digest in known.variants:
            return []
        if len(known.variants) < _MAX_VARIANTS:
            known.variants.add(known.definition.digest)
        return self._modify(name, known, definition)

    def _modify(self, name: str, known: _ListedTool, definition: Definition) -> list[Change]:
        before = known.definition
        self._kept -= len(before.text)
        known.definition = self._keep(definition)
        if self._is_same(before, definition):
            return []
        return [Change(MODIFIED, name, before.text, definition.text)]

    def _is_same(self, before: Definition, after: Definition) -> bool:
        if not before.text or self._comparable < before.size + after.size:
            return False
        self._comparable -= before.size + after.size
        return tool_diff.is_same(before.text, after.text)

    def _overdue(self, tools: Mapping[str, Definition], now: float) -> Iterator[str]:
        for name, tool in self._tools.items():
            is_missing = not tool.is_own and name not in tools
            if is_missing and now - tool.seen > self._grace and name not in self._intermittent:
                # If it comes back it belongs to some users only: its coming and going is no
                # change of the server.
                yield name

    def _remove(self, names: Iterable[str]) -> list[Change]:
        changes = []
        for name in names:
            tool = self._tools.pop(name)
            self._kept -= len(tool.definition.text)
            if not tool.is_own and len(self._intermittent) < MAX_TOOLS:
                self._intermittent.add(name)
            changes.append(Change(REMOVED, name))
        return changes


class Pages:
    """Puts listings together that pass by page by page."""

    _LISTINGS = 8

    def __init__(self, max_bytes: int = MAX_KEPT) -> None:
        self._max_bytes = max_bytes
        self._begun: dict[str, dict[str, Definition]] = {}

    def take(
        self, tools: Mapping[str, Definition], cursor: str | None, next_cursor: str | None
    ) -> dict[str, Definition] | None:
        """Take the page for ``cursor``. Return the listing if it is complete now."""
        before = self._begun.pop(cursor, None) if cursor else {}
        if before is None:
            return None  # its beginning was not seen, or was given up
        listing = {**before, **tools}
        if not next_cursor:
            return listing
        if len(listing) <= MAX_TOOLS and len(next_cursor) <= tool_diff.KEPT:
            self._begun[next_cursor] = listing
        while len(self._begun) > self._LISTINGS or self._size > self._max_bytes:
            del self._begun[next(iter(self._begun))]
        return None

    @property
    def _size(self) -> int:
        listings = self._begun.values()
        return sum(len(each.text) for listing in listings for each in listing.values())

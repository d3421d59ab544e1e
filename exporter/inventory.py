"""The tools that one server lists, and how the list changes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One tool that was ``added``, ``removed`` or ``modified``, with a unified diff."""

    kind: str
    tool: str
    diff: str = ""


class Inventory:
    """Remembers the definitions; the first listing is no change."""

    def __init__(self) -> None:
        self._tools: dict[str, bytes] | None = None

    def update(self, tools: Mapping[str, bytes]) -> list[Change]:
        """Take a complete listing; answers what changed since the last one."""
        before, self._tools = self._tools, dict(tools)
        if before is None:
            return []
        changes = [Change("added", name) for name in tools if name not in before]
        changes += [Change("removed", name) for name in before if name not in tools]
        for name, definition in tools.items():
            if name in before and before[name] != definition:
                changes.append(Change("modified", name, _diff(before[name], definition)))
        return [change for change in changes if change.kind != "modified" or change.diff]


def _diff(before: bytes, after: bytes) -> str:
    lines = difflib.unified_diff(
        _pretty(before), _pretty(after), "before", "after", lineterm="", n=1
    )
    return "\n".join(lines)


def _pretty(definition: bytes) -> list[str]:
    return json.dumps(json.loads(definition), indent=1, sort_keys=True, ensure_ascii=False).split(
        "\n"
    )

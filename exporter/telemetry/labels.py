"""Admits label values: what peers say is hostile until the server's own lists prove otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exporter.protocol import errors
from exporter.protocol.label_values import OTHER
from exporter.protocol.spec import METHODS, PROTOCOL_VERSIONS

CLIENT_LENGTH = 64

Overflow = Callable[[str], None]
"""Called with the label's name each time one of its values is folded into ``_other``."""


def method_label(method: str | None) -> str:
    """The method itself where the specification has it, else ``_other``."""
    return method if method in METHODS else OTHER


def version_label(version: str | None) -> str:
    """The protocol version itself where it is a published one, else ``_other``."""
    return version if version in PROTOCOL_VERSIONS else OTHER


def code_label(code: float) -> str:
    """The error code as text where it is a known one, else ``other``."""
    return str(int(code)) if code in errors.CODES else "other"


class Clients:
    """At most ``limit`` client names, in the order of their arrival, printable and short."""

    def __init__(self, limit: int, overflow: Overflow) -> None:
        self._limit = limit
        self._overflow = overflow
        self._admitted: set[str] = set()

    def label(self, name: str | None) -> str:
        """The client's name where it is admitted, else ``_other``."""
        if name in self._admitted:
            return name
        if name and self._is_fit(name):
            self._admitted.add(name)
            return name
        if name:
            self._overflow("client")
        return OTHER

    def known(self, name: str | None) -> str | None:
        """The client's name, where it is admitted already."""
        return name if name in self._admitted else None

    def _is_fit(self, name: str) -> bool:
        fits = len(name) <= CLIENT_LENGTH and name.isprintable() and not name.startswith("_")
        return fits and len(self._admitted) < self._limit


class ToolBudget:
    """How many tools all servers together may still add as label values."""

    def __init__(self, limit: int) -> None:
        self.left = limit


class Tools:
    """The tool names of one server that may be label values: those that it lists itself.

    A cap on whatever comes first would let invented names fill the space and push the real
    tools out; both reference SDKs answer an unknown tool with an ordinary result.
    """

    def __init__(self, limit: int, budget: ToolBudget, overflow: Overflow) -> None:
        self._limit = limit
        self._budget = budget
        self._overflow = overflow
        self._admitted: set[str] = set()

    def admit(self, names: Iterable[str]) -> list[str]:
        """Admit the names that the server lists; return those that are new."""
        fresh = []
        for name in names:
            if name in self._admitted or not self._has_room(name):
                continue
            self._admitted.add(name)
            self._budget.left -= 1
            fresh.append(name)
        return fresh

    def label(self, name: str | None) -> str:
        """The tool's name where the server lists it, else ``_other``."""
        if name in self._admitted:
            return name
        self._overflow("tool")
        return OTHER

    def forget(self) -> None:
        """Give the names back to the budget, when the server is removed."""
        self._budget.left += len(self._admitted)
        self._admitted.clear()

    def _has_room(self, name: str) -> bool:
        fits = self._budget.left > 0 and len(self._admitted) < self._limit
        if not fits or not _is_encodable(name):
            self._overflow("tool")
            return False
        return True


def _is_encodable(name: str) -> bool:
    # A lone surrogate cannot be written as UTF-8: one such name would fail every scrape.
    return 0 < len(name) <= 256 and name.isprintable() and name != OTHER

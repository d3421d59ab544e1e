"""TOML as values that know their place in the text, so that one of them can be exchanged.

``tomllib`` decides what is TOML and what it says; this reader only finds where each value stands,
and what it found must be what ``tomllib`` read.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from exporter.config.jsonc import MAX_DEPTH, Value
from exporter.config.toml_nodes import TomlError, checked

_SKIPPED = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*+")
_SPACE = re.compile(r"[ \t]*+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d \d\d:[^\s,\]}#]+|[^\s,\]}#]+")
_STRINGS = (
    re.compile(r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*+"{3,5}'),
    re.compile(r"'''(?:[^']|'{1,2}(?!'))*+'{3,5}"),
    re.compile(r'"(?:[^"\\]|\\.)*+"'),
    re.compile(r"'[^']*+'"),
)


def read(text: str) -> Value:
    """The value of a whole text. Raises ``TomlError``."""
    values = checked(text.removeprefix("\ufeff"))
    root = _SpanReader(text).document()
    if root.decoded() != values:
        raise TomlError("its values could not be told apart", 1)
    return root


def is_table(text: str, value: Value) -> bool:
    """Whether a mapping is written on lines of its own, not in braces."""
    return not text.startswith("{", value.start)


class _SpanReader:
    """Reads a text that is known to be TOML."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = len(text) - len(text.removeprefix("\ufeff"))

    def document(self) -> Value:
        root = table = Value(self._at, len(self._text), members={})
        while self._skip():
            if self._text[self._at] == "[":
                table = self._header(root)
            else:
                self._pair(table, 0)
        return root

    def _skip(self) -> str:
        """The next character that means something; empty at the end."""
        match = _SKIPPED.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._text[self._at : self._at + 1]

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise TomlError("a value could not be read", self._text.count("\n", 0, self._at) + 1)
        self._at = match.end()
        return match[0]

    def _header(self, root: Value) -> Value:
        start = self._at
        is_list = self._text.startswith("[[", start)
        self._at += 1 + is_list
        *path, last = self._path()
        self._at += 1 + is_list
        holder = _descend(root, path, start)
        if not is_list:
            return _descend(holder, [last], start)
        listed = _members(holder).setdefault(last, Value(start, items=[]))
        if listed.items is None:
            raise TomlError("a list of tables could not be read", 1)
        listed.items.append(Value(start, members={}))
        return listed.items[-1]

    def _path(self) -> list[str]:
        """A key, with the names of the tables before it, up to what follows."""
        path: list[str] = []
        while True:
            self._take(_SPACE)
            path.append(self._key())
            self._take(_SPACE)
            if self._text[self._at] != ".":
                return path
            self._at += 1

    def _key(self) -> str:
        if self._text[self._at] in "\"'":
            return str(_decoded(self._take(_STRINGS[2 if self._text[self._at] == '"' else 3])))
        return self._take(_BARE_KEY)

    def _pair(self, table: Value, depth: int) -> None:
        name = Value(self._at)
        *path, name.plain = self._path()
        name.end = self._at
        self._at += 1  # the sign between them
        self._take(_SPACE)
        holder = _descend(table, path, table.start)
        value = self._value(depth)
        _members(holder)[name.plain] = value
        holder.pairs.append((name, value))

    def _value(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise TomlError("nested too deeply; flatten it", 1)
        value = Value(self._at)
        opening = self._text[self._at]
        if opening == "[":
            self._list(value, depth)
        elif opening == "{":
            self._inline(value, depth)
        elif opening in "\"'":
            value.plain = _decoded(self._string())
        else:
            value.plain = _decoded(self._take(_PLAIN))
        value.end = self._at
        return value

    def _list(self, value: Value, depth: int) -> None:
        value.items = []
        self._at += 1
        while self._skip() != "]":
            value.items.append(self._value(depth + 1))
        self._at += 1

    def _inline(self, value: Value, depth: int) -> None:
        value.members = {}
        self._at += 1
        while self._skip() != "}":
            self._pair(value, depth + 1)
        self._at += 1

    def _string(self) -> str:
        for pattern in _STRINGS[:2]:
            if self._text.startswith(pattern.pattern[:3], self._at):
                return self._take(pattern)
        return self._take(_STRINGS[2 if self._text[self._at] == '"' else 3])


def _descend(table: Value, path: list[str], start: int) -> Value:
    """The table at a path; those that no line names begin where this one does."""
    for name in path:
        child = _members(table).setdefault(name, Value(start, members={}))
        table = child.items[-1] if child.items else child
    return table


def _members(value: Value) -> dict[str, Value]:
    if value.members is None:
        value.members = {}
    return value.members


def _decoded(written: str) -> Any:
    return tomllib.loads(f"x = {written}")["x"]

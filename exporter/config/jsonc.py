"""JSON with comments and trailing commas, as values that know where they stand in the text.

So that one value can be exchanged and everything else stays as it was written: comments, order,
line ends. It reads what editors accept; ``document`` reads what the exporter itself is told.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null")
_DEPTH = 200


@dataclass(slots=True)
class Value:
    """One value at ``text[start:end]``; of an object its members, of a list its items."""

    start: int
    end: int = 0
    plain: Any = None
    """A string, number, boolean or null; ``None`` also for objects and lists."""
    members: dict[str, Value] | None = None
    items: list[Value] | None = None
    keys: dict[str, int] = field(default_factory=dict)
    """Where each member's key begins."""

    def get(self, key: str) -> Value | None:
        """A member, where this is an object that has it."""
        return (self.members or {}).get(key)

    def text(self, key: str) -> str | None:
        """A member that is a string."""
        member = self.get(key)
        return member.plain if member is not None and isinstance(member.plain, str) else None

    def decoded(self) -> Any:
        """The value as Python has it."""
        if self.members is not None:
            return {key: member.decoded() for key, member in self.members.items()}
        if self.items is not None:
            return [item.decoded() for item in self.items]
        return self.plain


def read(text: str) -> Value:
    """The value of a whole text. Raises ``ValueError`` with the line where it is none."""
    reader = _Reader(text)
    value = reader.value(0)
    if reader.peek():
        raise reader.error("there is more after the end")
    return value


def is_empty(text: str) -> bool:
    """Whether it holds nothing but white space and comments."""
    return not _Reader(text).peek()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder(strict=False)

    def value(self, depth: int) -> Value:
        opening = self.peek()
        if depth > _DEPTH:
            raise self.error("nested too deeply")
        value = Value(self._at)
        if opening == "{":
            self._object(value, depth)
        elif opening == "[":
            self._list(value, depth)
        else:
            value.plain = self._plain(opening)
        value.end = self._at
        return value

    def peek(self) -> str:
        """The next character that means something; empty at the end."""
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def error(self, problem: str) -> ValueError:
        line = self._text.count("\n", 0, self._at) + 1
        return ValueError(f"line {line}: {problem}")

    def _object(self, value: Value, depth: int) -> None:
        value.members = {}
        self._at += 1
        while self.peek() != "}":
            start = self._at
            if self.peek() != '"':
                raise self.error("expected a name in double quotes")
            key = self._plain('"')
            if self.peek() != ":":
                raise self.error('expected ":" after the name')
            self._at += 1
            value.keys[key] = start
            value.members[key] = self.value(depth + 1)
            self._comma("}")
        self._at += 1

    def _list(self, value: Value, depth: int) -> None:
        value.items = []
        self._at += 1
        while self.peek() != "]":
            value.items.append(self.value(depth + 1))
            self._comma("]")
        self._at += 1

    def _comma(self, closing: str) -> None:
        found = self.peek()
        if found == ",":
            self._at += 1
        elif found != closing:
            raise self.error(f'expected "," or "{closing}"')

    def _plain(self, opening: str) -> Any:
        word = _WORD.match(self._text, self._at)
        try:
            if opening == '"':
                plain, self._at = self._decoder.raw_decode(self._text, self._at)
                return plain
            if word is not None:
                plain = json.loads(word[0])
                self._at = word.end()
                return plain
        except ValueError:
            pass
        raise self.error("expected a value; is a quote or a bracket missing?")

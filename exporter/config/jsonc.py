"""JSON with comments and trailing commas, as values that know where they stand in the text.

So that a complaint can name the line, and one value can be exchanged while everything else stays
as it was written: comments, order, line ends. YAML cannot stand in: comments, tabs, U+2028 and
surrogate pairs differ.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 200

_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null")


class JsonError(ValueError):
    """What is no JSON, with the place in the text."""

    def __init__(self, text: str, at: int, problem: str) -> None:
        self.line = text.count("\n", 0, at) + 1
        self.problem = problem
        super().__init__(f"line {self.line}: {problem}")


@dataclass(slots=True)
class Value:
    """One value at ``text[start:end]``; of an object its members, of a list its items."""

    start: int
    end: int = 0
    plain: Any = None
    """A string, number, boolean or null; ``None`` also for objects and lists."""
    members: dict[str, Value] | None = None
    items: list[Value] | None = None
    pairs: list[tuple[Value, Value]] = field(default_factory=list)
    """An object's names and values as they were written, names that are there twice included."""

    def get(self, key: str) -> Value | None:
        """A member, where this is an object that has it."""
        return (self.members or {}).get(key)

    def start_of(self, key: str) -> int:
        """Where this name begins that is in quotes. Raises ``StopIteration`` without it."""
        return next(name.start for name, _ in self.pairs if name.plain == key)

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


def read(text: str, *, strict: bool = False) -> Value:
    """The value of a whole text; ``strict`` rejects control characters in strings, which editors
    accept. Raises ``JsonError``."""
    reader = _Reader(text, strict)
    value = reader.value(0)
    if reader.peek():
        raise reader.error("expected the end of the file; remove what follows")
    return value


def is_empty(text: str) -> bool:
    """Whether it holds nothing but white space and comments."""
    return not _Reader(text, strict=False).peek()


class _Reader:
    def __init__(self, text: str, strict: bool) -> None:
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder(strict=strict)

    def value(self, depth: int) -> Value:
        opening = self.peek()
        if depth > MAX_DEPTH:
            raise self.error("nested too deeply; flatten it")
        value = Value(self._at)
        if opening == "{":
            self._object(value, depth)
        elif opening == "[":
            self._list(value, depth)
        elif opening == '"':
            value.plain = self._string()
        else:
            value.plain = self._word()
        value.end = self._at
        return value

    def peek(self) -> str:
        """The next character that means something; empty at the end."""
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def error(self, problem: str) -> JsonError:
        return JsonError(self._text, self._at, problem)

    def _object(self, value: Value, depth: int) -> None:
        value.members = {}
        self._at += 1
        while self.peek() != "}":
            if self.peek() != '"':
                raise self.error("expected a name in double quotes")
            name = self.value(depth + 1)
            if self.peek() != ":":
                raise self.error('expected ":" after the name')
            self._at += 1
            member = self.value(depth + 1)
            value.pairs.append((name, member))
            value.members[name.plain] = member
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

    def _string(self) -> str:
        try:
            text, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as problem:
            self._at = problem.pos
            raise self.error(_string_problem(problem.msg)) from None
        return str(text)

    def _word(self) -> Any:
        word = _WORD.match(self._text, self._at)
        try:
            plain = json.loads(word[0] if word else "")
        except ValueError:
            raise self.error("expected a value; put text in double quotes") from None
        self._at += len(word[0]) if word else 0
        return plain


def _string_problem(message: str) -> str:
    if "escape" in message:
        return "an escape that JSON does not know; write \\\\ for a backslash"
    return "a string does not end on its line; close it, or write \\n for a line break"

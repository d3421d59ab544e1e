"""What differs between clients' files in JSON and in TOML: how they are read, and written into."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from exporter.config import jsonc, toml_spans
from exporter.config.jsonc import Value
from exporter.config.toml_nodes import TomlError

_COMMAND = re.compile(r"""(command|"command"|'command')\s*\Z""")
_LINE_END = re.compile(r"\r?\n|\Z")


@dataclass(frozen=True, slots=True)
class Edit:
    """``text[start:end]`` becomes ``new``."""

    start: int
    end: int
    new: str


class Syntax(Protocol):
    """One way to write a client's file."""

    def read(self, text: str) -> Value | None:
        """The whole of a file, ``None`` where it says nothing. Raises ``ValueError``."""

    def quoted(self, text: str) -> str:
        """A string as it is written."""

    def add_arguments(self, text: str, entry: Value, words: Sequence[str]) -> Edit:
        """Give a server that has none a list of arguments."""


class _Json:
    def read(self, text: str) -> Value | None:
        """The whole of a file; some clients make it empty. Raises ``ValueError``."""
        return None if jsonc.is_empty(text) else jsonc.read(text)

    def quoted(self, text: str) -> str:
        """A string as JSON."""
        has_halves = any("\ud800" <= letter <= "\udfff" for letter in text)
        return json.dumps(text, ensure_ascii=has_halves)  # half a character has no UTF-8

    def add_arguments(self, text: str, entry: Value, words: Sequence[str]) -> Edit:
        """Behind the command, on a line of its own where that has one."""
        end = entry.members["command"].end  # type: ignore[index]
        gap = gap_before(text, entry.start_of("command"))
        return Edit(end, end, f',{gap}"args": [{", ".join(words)}]')


class _Toml:
    def read(self, text: str) -> Value | None:
        """The whole of a file. Raises ``ValueError``."""
        try:
            return toml_spans.read(text)
        except TomlError as problem:
            raise ValueError(f"line {problem.line}: {problem}") from None

    def quoted(self, text: str) -> str:
        """A string as TOML, whose escapes JSON's are, but for one character."""
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")

    def add_arguments(self, text: str, entry: Value, words: Sequence[str]) -> Edit:
        """Behind the command; in a table on the next line, under the name that leads to it."""
        name, command = next(pair for pair in entry.pairs if pair[0].plain == "command")
        tables = _COMMAND.sub("", text[name.start : name.end])
        written = f"{tables}args = [{', '.join(words)}]"
        if not toml_spans.is_table(text, entry):
            return Edit(command.end, command.end, f", {written}")
        line_end = _LINE_END.search(text, command.end)
        at = line_end.start() if line_end else len(text)
        end = "\r\n" if text.startswith("\r\n", at) else "\n"
        indent = re.search(r"[ \t]*\Z", text[: name.start])
        return Edit(at, at, end + (indent[0] if indent else "") + written)


JSON: Syntax = _Json()
TOML: Syntax = _Toml()


def syntax_of(path: Path) -> Syntax:
    """The syntax of a file, by its name."""
    return TOML if path.suffix.lower() == ".toml" else JSON


def gap_before(text: str, start: int) -> str:
    """The white space before a place, with its line break, so that what is put there fits in."""
    found = re.search(r"(\r?\n)?[ \t]*$", text[:start])
    return found[0] if found and found[1] else " "

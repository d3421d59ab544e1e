"""TOML as the nodes that YAML has, so that one grammar and one kind of complaint serve both.

The library gives values without their places; the line of a key is found by reading the headers
of tables and the keys at the beginnings of lines. What stands inside an inline table or a list
has the line of the key that it belongs to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_PATH = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_PATH})\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = re.compile(rf"\s*({_PATH})\s*=")
_AT = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)

Path = tuple[str, ...]


class TomlError(ValueError):
    """The text is not TOML; ``line`` counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


def checked(text: str) -> dict[str, Any]:
    """What a text says. Raises ``TomlError``."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        last = text.count("\n") + 1
        match = _AT.fullmatch(str(error))
        line = int(match[2]) if match and match[2] else last
        raise TomlError(match[1] if match else str(error), line) from None
    except RecursionError:
        raise TomlError("nested too deeply; flatten it", 1) from None


def compose(text: str, source: str) -> yaml.Node | None:
    """The document as a node, ``None`` where it says nothing. Raises ``TomlError``."""
    values = checked(text)
    return _Composer(source, _lines(text)).node(values, (), 1) if values else None


class _Composer:
    def __init__(self, source: str, lines: Mapping[Path, int]) -> None:
        self._source = source
        self._lines = lines

    def node(self, value: Any, path: Path, line: int) -> yaml.Node:
        line = self._lines.get(path, line)
        mark = yaml.Mark(self._source, 0, line - 1, 0, None, 0)
        if isinstance(value, dict):
            pairs = [self._pair(key, child, path, line) for key, child in value.items()]
            return yaml.MappingNode(f"{_TAG}map", pairs, mark, mark)
        if isinstance(value, list):
            items = [self.node(child, path, line) for child in value]
            return yaml.SequenceNode(f"{_TAG}seq", items, mark, mark)
        kind, text = _scalar(value)
        return yaml.ScalarNode(f"{_TAG}{kind}", text, mark, mark)

    def _pair(self, key: str, value: Any, path: Path, line: int) -> tuple[yaml.Node, yaml.Node]:
        child = self.node(value, (*path, key), line)
        mark = child.start_mark
        return yaml.ScalarNode(f"{_TAG}str", key, mark, mark), child


def _scalar(value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return "bool", str(value).lower()
    if isinstance(value, str):
        return "str", value
    if isinstance(value, int | float):
        return ("int" if isinstance(value, int) else "float"), str(value)
    return "timestamp", str(value)


def _lines(text: str) -> dict[Path, int]:
    """Where each key is written first."""
    found: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.split("\n"), 1):
        header = _HEADER.fullmatch(line.rstrip("\r"))
        if header is not None:
            table = _path(header[1])
            _note(found, table, number)
            continue
        assignment = _ASSIGNMENT.match(line)
        if assignment is not None:
            _note(found, (*table, *_path(assignment[1])), number)
    return found


def _note(found: dict[Path, int], path: Path, line: int) -> None:
    for length in range(1, len(path) + 1):
        found.setdefault(path[:length], line)


def _path(text: str) -> Path:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, text))

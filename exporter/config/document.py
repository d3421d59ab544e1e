"""A YAML or JSON text as nodes that know their place, so that each complaint can name it."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

import yaml

from exporter.config.errors import ConfigError

_T = TypeVar("_T")

MAX_FILE_BYTES = 1024 * 1024

_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "map": "a mapping",
    "seq": "a list",
    "str": "a string",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "null": "null",
    "timestamp": "a date",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One value of the document, its dotted path, and the line (from 1) that it is on."""

    source: str
    path: str
    line: int
    raw: yaml.Node
    expand: Callable[[str], str]

    @property
    def kind(self) -> str:
        """What the value is, in words: "a string", "a list", "null" …"""
        return _KINDS.get(self.raw.tag.removeprefix(_TAG), "a value with a tag")

    def error(self, problem: str) -> ConfigError:
        """The complaint about this node, as one line that names file, line and path."""
        place = f"{self.path}: " if self.path else ""
        return ConfigError(one_line(f"{self.source}:{self.line}: {place}{problem}"))

    def mapping(self) -> dict[str, Node]:
        """The children by key, in the order of the file. Keys are text, however they look."""
        if self.kind != "a mapping":
            raise self.error(f"must be a mapping, not {self.kind}; write names with their values")
        found: dict[str, Node] = {}
        for key, value in self.raw.value:
            name, child = self._member(key, value)
            if name in found:
                raise child.error(f"written twice, first on line {found[name].line}; keep one")
            found[name] = child
        return found

    def items(self) -> list[Node]:
        """The elements of a list."""
        if self.kind != "a list":
            raise self.error(f"must be a list, not {self.kind}; write it as [...]")
        return [
            Node(self.source, f"{self.path}[{index}]", raw.start_mark.line + 1, raw, self.expand)
            for index, raw in enumerate(self.raw.value)
        ]

    def text(self) -> str:
        """A string, with its variables expanded. Numbers and booleans are refused: YAML would
        already have changed what was written (`on`, `0755`, `1e3`)."""
        if self.kind in ("a number", "a boolean", "a date"):
            raise self.error(f"must be a string, not {self.kind}; put it in quotes")
        if self.kind != "a string":
            raise self.error(f"must be a string, not {self.kind}; write one string")
        return self._expanded()

    def scalar(self) -> str:
        """The text of a string, number or boolean as it was written, variables expanded."""
        if not isinstance(self.raw, yaml.ScalarNode) or self.kind == "null":
            raise self.error(f"must be a single value, not {self.kind}; write one")
        return self._expanded()

    def _expanded(self) -> str:
        try:
            text = self.expand(self.raw.value)
        except ConfigError as problem:
            raise self.error(str(problem)) from None
        if "\0" in text:
            raise self.error("has a NUL character; remove it")
        return text

    def _member(self, key: yaml.Node, value: yaml.Node) -> tuple[str, Node]:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise Node(self.source, self.path, line, key, self.expand).error(
                "a key must be a name; put it in quotes"
            )
        path = f"{self.path}.{_segment(key.value)}" if self.path else _segment(key.value)
        child = Node(self.source, path, line, value, self.expand)
        if key.tag == f"{_TAG}merge":
            raise child.error("merge keys are not supported; write the keys out")
        return key.value, child


def read(
    text: str,
    source: str,
    expand: Callable[[str], str],
    wanted: str = 'a "servers" mapping',
) -> Node:
    """The root of the document. `source` names the file in complaints, and its suffix tells JSON
    from YAML; without one of theirs, a text that opens like JSON is JSON. `wanted` is what an
    empty text lacks.

    Raises ConfigError where the text is neither."""
    try:
        raw = _Json(text, source).document() if _is_json(text, source) else _yaml(text, source)
    except RecursionError:
        raise ConfigError(one_line(f"{source}: nested too deeply; flatten it")) from None
    if raw is None:
        raise ConfigError(one_line(f"{source}: is empty; add {wanted}"))
    return Node(source, "", raw.start_mark.line + 1, raw, expand)


def load(path: Path) -> str:
    """The text of a file of at most ``MAX_FILE_BYTES``. Raises ConfigError, always one line."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a path"
        raise file_error(path, f"cannot be read: {reason.lower()}; check the path") from None
    if len(data) > MAX_FILE_BYTES:
        raise file_error(path, f"is larger than {MAX_FILE_BYTES} bytes; shorten it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise file_error(path, "is not UTF-8; save it as UTF-8") from None


def file_error(path: Path, problem: str) -> ConfigError:
    """The complaint about a whole file, as one line."""
    return ConfigError(one_line(f"{path}: {problem}"))


def one_line(text: str) -> str:
    """`text` with every character that could break the line or hide in it written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """`text` in quotes for a complaint, shortened where it is long."""
    return f'"{text}"' if len(text) <= 80 else f'"{text[:77]}..."'


def _segment(key: str) -> str:
    return key if re.fullmatch(r"[\w@/$-]{1,80}", key) else quoted(key)


def _is_json(text: str, source: str) -> bool:
    suffix = PurePath(source).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return False
    return suffix in (".json", ".jsonc") or text.lstrip().startswith(("{", "//", "/*"))


def _yaml(text: str, source: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        mend = (
            "indent with spaces"
            if "'\\t'" in str(error.problem)
            else "check it and its indentation"
        )
        problem = f"{error.problem or error.context}; {mend}"
        raise ConfigError(one_line(f"{source}:{line}: not valid YAML: {problem}")) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = "not valid YAML: a control character; remove it"
        raise ConfigError(one_line(f"{source}:{line}: {problem}")) from None
    return node


class _Json:
    """Reads JSON with comments and trailing commas, as VS Code does, into YAML's nodes.

    YAML itself cannot stand in: comments, tabs, U+2028 and surrogate pairs differ."""

    _SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
    _LITERAL = re.compile(
        r"(?P<bool>true|false)|(?P<null>null)|(?P<int>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)", re.ASCII
    )

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._at = 0
        self._breaks = [match.start() for match in re.finditer("\n", text)]
        self._decoder = json.JSONDecoder()

    def document(self) -> yaml.Node | None:
        if self._peek() == "":
            return None
        node = self._value()
        if self._peek() != "":
            raise self._error("expected the end of the file; remove what follows")
        return node

    def _value(self) -> yaml.Node:
        opening = self._peek()
        mark = self._mark()
        if opening == "{":
            return yaml.MappingNode(f"{_TAG}map", self._members("}", self._pair), mark, mark)
        if opening == "[":
            return yaml.SequenceNode(f"{_TAG}seq", self._members("]", self._value), mark, mark)
        return self._string() if opening == '"' else self._literal()

    def _pair(self) -> tuple[yaml.Node, yaml.Node]:
        if self._peek() != '"':
            raise self._error("expected a name in double quotes")
        key = self._string()
        if self._peek() != ":":
            raise self._error('expected ":" after the name')
        self._at += 1
        return key, self._value()

    def _members(self, closing: str, member: Callable[[], _T]) -> list[_T]:
        found = []
        self._at += 1
        while self._peek() != closing:
            found.append(member())
            if self._peek() == ",":
                self._at += 1
            elif self._peek() != closing:
                raise self._error(f'expected "," or "{closing}"')
        self._at += 1
        return found

    def _string(self) -> yaml.Node:
        mark = self._mark()
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
        except json.JSONDecodeError as error:
            self._at = error.pos
            raise self._error(_string_problem(error.msg)) from None
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise self._error(
                "half a character in a string; write both halves, or the character itself"
            )
        return yaml.ScalarNode(f"{_TAG}str", value, mark, mark)

    def _literal(self) -> yaml.Node:
        mark = self._mark()
        match = self._LITERAL.match(self._text, self._at)
        if match is None:
            raise self._error("expected a value; put text in double quotes")
        self._at = match.end()
        return yaml.ScalarNode(f"{_TAG}{match.lastgroup}", match[0], mark, mark)

    def _peek(self) -> str:
        """The next character that means something, "" at the end."""
        space = self._SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        return self._text[self._at : self._at + 1]

    def _mark(self) -> yaml.Mark:
        return yaml.Mark(self._source, self._at, self._line() - 1, 0, None, 0)

    def _line(self) -> int:
        return bisect_left(self._breaks, self._at) + 1

    def _error(self, problem: str) -> ConfigError:
        return ConfigError(one_line(f"{self._source}:{self._line()}: not valid JSON: {problem}"))


def _string_problem(message: str) -> str:
    if "escape" in message:
        return "an escape that JSON does not know; write \\\\ for a backslash"
    return "a string does not end on its line; close it, or write \\n for a line break"

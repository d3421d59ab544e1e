"""A YAML or JSON text as nodes that know their place, so that each complaint can name it."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from exporter.config import jsonc, toml_nodes
from exporter.config.errors import ConfigError
from exporter.config.jsonc import MAX_DEPTH, JsonError, Value
from exporter.protocol.printable import printable

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
_TOML = re.compile(r"""(?:\s|\#[^\n]*)*+\[\[?[\w."'-]+\]\]?[ \t]*(?:\#.*)?\n\s*+[\w"'-]+[ \t]*=""")
"""A table's name in brackets, and below it a key that is set by ``=``."""

_TOO_DEEP = "nested too deeply"
_TAB = r"'\t'"
_JSON_KINDS = {bool: "bool", int: "int", float: "float", type(None): "null"}


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
        return ConfigError(printable(f"{self.source}:{self.line}: {place}{problem}"))

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
        """A string, with its variables expanded. Numbers and booleans are rejected: YAML would
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
    and TOML from YAML; without one of theirs, a text that opens like JSON is JSON. `wanted` is
    what an empty text lacks.

    Raises ConfigError where the text is none of them."""
    raw = _composed(text, source)
    if raw is None:
        raise ConfigError(printable(f"{source}: is empty; add {wanted}"))
    return Node(source, "", raw.start_mark.line + 1, raw, expand)


def _composed(text: str, source: str) -> yaml.Node | None:
    if _is_toml(text, source):
        return _toml(text, source)
    return _JsonNodes(text, source).document() if _is_json(text, source) else _yaml(text, source)


def _toml(text: str, source: str) -> yaml.Node | None:
    try:
        return toml_nodes.compose(text, source)
    except toml_nodes.TomlError as error:
        problem = f"{source}:{error.line}: not valid TOML: {error}"
        raise ConfigError(printable(problem)) from None


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
    return ConfigError(printable(f"{path}: {problem}"))


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


def _is_toml(text: str, source: str) -> bool:
    suffix = PurePath(source).suffix.lower()
    if suffix in (".yaml", ".yml", ".json", ".jsonc"):
        return False
    return suffix == ".toml" or _TOML.match(text) is not None


class _Loader(yaml.SafeLoader):
    """Composes nodes to a depth that never meets Python's own limit."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _yaml(text: str, source: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = _mended(str(error.problem or error.context))
        raise ConfigError(printable(f"{source}:{line}: not valid YAML: {problem}")) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = "not valid YAML: a control character; remove it"
        raise ConfigError(printable(f"{source}:{line}: {problem}")) from None
    return node


def _mended(problem: str) -> str:
    if problem == _TOO_DEEP:
        return f"{problem}; flatten it"
    return (
        f"{problem}; {'indent with spaces' if _TAB in problem else 'check it and its indentation'}"
    )


class _JsonNodes:
    """Turns a JSON text into YAML's nodes, so that both are read alike from there on."""

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def document(self) -> yaml.Node | None:
        if jsonc.is_empty(self._text):
            return None
        try:
            return self._node(jsonc.read(self._text, strict=True))
        except JsonError as problem:
            raise self._error(problem.line, problem.problem) from None

    def _node(self, value: Value) -> yaml.Node:
        mark = yaml.Mark(self._source, value.start, self._line(value.start) - 1, 0, None, 0)
        if value.members is not None:
            pairs = [(self._node(name), self._node(member)) for name, member in value.pairs]
            return yaml.MappingNode(f"{_TAG}map", pairs, mark, mark)
        if value.items is not None:
            items = [self._node(item) for item in value.items]
            return yaml.SequenceNode(f"{_TAG}seq", items, mark, mark)
        if isinstance(value.plain, str):
            return yaml.ScalarNode(f"{_TAG}str", self._whole(value), mark, mark)
        kind = _JSON_KINDS[type(value.plain)]
        return yaml.ScalarNode(f"{_TAG}{kind}", self._text[value.start : value.end], mark, mark)

    def _whole(self, value: Value) -> str:
        text = str(value.plain)
        if any("\ud800" <= character <= "\udfff" for character in text):
            problem = "half a character in a string; write both halves, or the character itself"
            raise self._error(self._line(value.start), problem)
        return text

    def _line(self, at: int) -> int:
        return bisect_left(self._breaks, at) + 1

    def _error(self, line: int, problem: str) -> ConfigError:
        return ConfigError(printable(f"{self._source}:{line}: not valid JSON: {problem}"))

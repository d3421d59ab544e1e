"""Every value of a TOML text is found where it stands."""

from __future__ import annotations

import tomllib

import pytest

from exporter.config import toml_spans
from exporter.config.jsonc import Value
from exporter.config.toml_nodes import TomlError

TEXT = '''\ufeff# The beginning
name = "a \\" # b" # a comment with "quotes"
'a b'."c.d" = 'raw \\ #'
when = 1979-05-27 07:32:00
numbers = [ 0x1F, 1_000, -2.5e3, true, # in between
  1979-05-27, [], ]

[ table . "sub table" ]
lines = """
one "" two \\""" three"""""
literal = \'\'\'it's ''\'\'\'
empty = ""
none = \'\'
inline = { a = 1, b.c = [{ d = "}" }], "e" = {} }

[[list]]
[list.sub]
a = 1
[[list]]
b = 2
[[list.deep]]
c = "last"
'''


def spans(value: Value) -> list[Value]:
    """Every value that is written in one place."""
    children = [*(value.members or {}).values(), *(value.items or ())]
    found = [value] if value.plain is not None else []
    return found + [each for child in children for each in spans(child)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_each_value_stands_where_it_is_said_to(end: str) -> None:
    text = TEXT.replace("\n", end)
    root = toml_spans.read(text)
    assert root.decoded() == tomllib.loads(text.removeprefix("\ufeff"))
    found = spans(root)
    assert len(found) == 17
    for value in found:
        written = tomllib.loads(f"x = {text[value.start : value.end]}")
        assert written == {"x": value.plain}


def test_names_stand_where_they_are_said_to() -> None:
    text = "a.b = 1\nc = { d . e = 2 }\n"
    root = toml_spans.read(text)
    tables = [root.get("a"), root, (root.get("c") or root).get("d")]
    names = [name for table in tables if table is not None for name, _ in table.pairs]
    assert [text[name.start : name.end] for name in names] == ["a.b ", "c ", "d . e "]
    assert [name.plain for name in names] == ["b", "c", "e"]


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\na = 2\n", 2), ("a = [", 1), ("x = " + "[" * 3000, 1)]
)
def test_what_is_not_toml_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(TomlError) as refused:
        toml_spans.read(text)
    assert refused.value.line == line

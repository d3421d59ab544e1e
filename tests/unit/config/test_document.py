"""The document: YAML and JSON as nodes that know their place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.document import Node, quoted, read
from exporter.config.errors import ConfigError


def unchanged(text: str) -> str:
    return text


def node(text: str, source: str = "mcp.json") -> Node:
    return read(text, source, unchanged)


def value(node: Node) -> object:
    """What the document says, numbers and the like as their text."""
    if node.kind == "a mapping":
        return {key: value(child) for key, child in node.mapping().items()}
    if node.kind == "a list":
        return [value(item) for item in node.items()]
    return None if node.kind == "null" else node.scalar()


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
STRUCTURES = st.recursive(
    st.none() | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=15
)


@given(STRUCTURES, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_json_says_what_was_written(
    structure: object, ascii_only: bool, indent: int | str | None
) -> None:
    text = json.dumps(structure, ensure_ascii=ascii_only, indent=indent)
    assert value(node(text)) == structure


@given(STRUCTURES)
def test_comments_and_trailing_commas_change_nothing(structure: object) -> None:
    text = json.dumps(structure, indent=1)
    commented = text.replace("\n", ' // note, with [ and " in it\n/* and\n, more */')
    trailing = commented.replace('"\n', '",\n')
    assert value(node(commented)) == structure
    assert value(node(f"{trailing}  // the end")) == structure


def test_a_trailing_comma_is_no_element() -> None:
    assert value(node('{"a": ["b", "c",], }')) == {"a": ["b", "c"]}


@pytest.mark.parametrize("text", ["[,]", "[1 2]", "{,}", '{"a": 1,, }', "[1", "/* open", '["a]'])
def test_what_is_no_json_is_rejected(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^mcp\.json:1: not valid JSON: "):
        node(text)


def test_a_slash_in_a_string_is_no_comment() -> None:
    assert value(node('{"a": "http://b/*c*/"}')) == {"a": "http://b/*c*/"}


@pytest.mark.parametrize(
    ("text", "source", "kind"),
    [
        ("{a: b}", "mcp.yaml", "a mapping"),
        ("{a: b}", "MCP.YML", "a mapping"),
        ('// x\n{"a": "b"}', "mcp", "a mapping"),
        ("/* x */ [1]", "mcp.jsonc", "a list"),
        ("# x\na: b", "mcp", "a mapping"),
    ],
)
def test_the_suffix_or_the_first_character_tells_the_format(
    text: str, source: str, kind: str
) -> None:
    assert node(text, source).kind == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('"a"', "a string"),
        ("1", "a number"),
        ("-1.5e3", "a number"),
        ("true", "a boolean"),
        ("null", "null"),
        ("[]", "a list"),
        ("{}", "a mapping"),
    ],
)
def test_a_node_knows_its_kind_in_both_formats(text: str, kind: str) -> None:
    assert node(text, "mcp.json").kind == kind
    assert node(text, "mcp.yaml").kind == ("a string" if "e" in text[1:] and "." in text else kind)


def test_a_node_knows_its_line_and_path() -> None:
    for text in ('{\n "a": {\n  "b.c": [\n   1,\n   2]}}', "\na:\n  b.c:\n  - 1\n  - 2\n"):
        item = node(text, "mcp").mapping()["a"].mapping()["b.c"].items()[1]
        assert str(item.error("no")) == 'mcp:5: a."b.c"[1]: no'


def test_a_yaml_alias_is_seen_from_where_it_is_used() -> None:
    root = node("a: &x {b: 1}\nc: *x\n", "mcp.yaml")
    assert str(root.mapping()["c"].error("no")) == "mcp.yaml:2: c: no"


def test_an_alias_inside_itself_is_read_only_as_deep_as_asked() -> None:
    root = node("a: &x {b: *x}", "mcp.yaml")
    assert root.mapping()["a"].mapping()["b"].mapping()["b"].path == "a.b.b"


def test_keys_are_text_however_they_look() -> None:
    keys = node("on: 1\n010: 2\n1.5: 3\n~: 4\n", "mcp.yaml").mapping()
    assert list(keys) == ["on", "010", "1.5", "~"]


def test_strings_are_expanded_and_the_complaint_has_the_place() -> None:
    def expand(text: str) -> str:
        if text == "bad":
            raise ConfigError("no such thing")
        return text.upper()

    root = read('{"a": "x", "b": "bad"}', "mcp.json", expand).mapping()
    assert root["a"].text() == "X"
    with pytest.raises(ConfigError, match=r"^mcp\.json:1: b: no such thing$"):
        root["b"].text()


def test_a_scalar_is_the_text_as_written() -> None:
    items = node("[0755, on, 1e3, 'x', 2026-01-01]", "mcp.yaml").items()
    assert [item.scalar() for item in items] == ["0755", "on", "1e3", "x", "2026-01-01"]


def test_a_long_text_is_shortened_in_a_complaint() -> None:
    assert quoted("a" * 80) == f'"{"a" * 80}"'
    assert quoted("a" * 81) == f'"{"a" * 77}..."'

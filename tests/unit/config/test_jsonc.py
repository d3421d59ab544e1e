"""Every value knows its place; what editors accept is read, what is no JSON is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import jsonc
from exporter.config.jsonc import JsonError

ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(ANY, st.sampled_from([None, 1, "\t"]))
def test_what_json_writes_is_read_back(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    read = jsonc.read(f"  {text} ")
    assert read.decoded() == value
    assert (read.start, read.end) == (2, 2 + len(text))


def test_comments_and_trailing_commas_are_no_part_of_any_value() -> None:
    text = '// a\n{"x": /* "y": */ [1, // one\n 2,], "z": "//no",}\n/* end */'
    read = jsonc.read(text)
    assert read.decoded() == {"x": [1, 2], "z": "//no"}
    items = read.get("x")
    assert items is not None
    assert text[items.start : items.end] == "[1, // one\n 2,]"
    assert text[read.start_of("z") :].startswith('"z"')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: expected a value"),
        ('{"a": 1\n "b": 2}', "line 2: expected"),
        ("{a: 1}", "line 1: expected a name"),
        ('{"a" 1}', 'expected ":"'),
        ('["open', "line 1: a string does not end on its line"),
        ("[1] 2", "expected the end of the file"),
        ("[" * 5000, "nested too deeply"),
        ("[1, 2", "expected"),
        ("/* open", "expected a value"),
    ],
)
def test_what_is_no_json_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(JsonError, match=problem):
        jsonc.read(text)


def test_a_tab_in_a_string_is_what_editors_accept_and_json_does_not() -> None:
    assert jsonc.read('"a\tb"').plain == "a\tb"
    with pytest.raises(JsonError, match="a string does not end on its line"):
        jsonc.read('"a\tb"', strict=True)


def test_a_name_that_is_there_twice_is_among_the_pairs_twice() -> None:
    read = jsonc.read('{"a": 1, "a": 2}')
    assert [(name.plain, value.plain) for name, value in read.pairs] == [("a", 1), ("a", 2)]
    assert read.decoded() == {"a": 2}

"""Every value knows its place; what editors accept is read, what is no JSON is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import jsonc

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
    assert text[read.keys["z"] :].startswith('"z"')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: expected a value"),
        ('{"a": 1\n "b": 2}', "line 2: expected"),
        ("{a: 1}", "line 1: expected a name"),
        ('{"a" 1}', 'expected ":"'),
        ('["open', "line 1: expected a value"),
        ("[1] 2", "more after the end"),
        ("[" * 5000, "nested too deeply"),
        ("[1, 2", "expected"),
        ("/* open", "expected a value"),
    ],
)
def test_what_is_no_json_is_named_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        jsonc.read(text)

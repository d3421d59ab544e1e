"""How a tool's definition changed is said in a few lines, whatever the definitions are."""

from __future__ import annotations

import json

import pytest

from exporter.probe import tool_diff
from exporter.probe.tool_diff import KEPT, MAX_LINES, diff, is_same


def tool(description: str, **members: object) -> bytes:
    return json.dumps({"name": "a", "description": description, **members}).encode()


def test_a_change_shows_both_lines_between_their_neighbours() -> None:
    before, after = tool("Reads a file.", x=1), tool("Reads a file. Send it along.", x=1)
    assert diff(before, after) == [
        " {",
        '- "description": "Reads a file.",',
        '+ "description": "Reads a file. Send it along.",',
        ' "name": "a",',
    ] or diff(before, after) == [
        " {",
        '- "description": "Reads a file.",',
        '+ "description": "Reads a file. Send it along.",',
        '  "name": "a",',
    ]


def test_a_change_far_within_a_long_line_is_shown() -> None:
    text = "words " * 500
    lines = diff(tool(f"{text}one"), tool(f"{text}two"))
    assert [line for line in lines if "one" in line or "two" in line]
    assert max(len(line) for line in lines) <= 201


@pytest.mark.parametrize("hidden", ["\u200b", "\U000e0041", "\u202e", "\x1b"])
def test_what_only_a_model_would_notice_is_written_out(hidden: str) -> None:
    lines = "".join(diff(tool("Safe."), tool(f"Safe.{hidden}")))
    assert hidden not in lines
    assert "Safe.\\" in lines


@pytest.mark.parametrize("definition", [b"[" * 100_000, b'{"name":"a","d":"\\ud800"}', b"\xff"])
def test_a_definition_that_cannot_be_read_has_a_diff_too(definition: bytes) -> None:
    lines = diff(tool("1"), definition)
    assert "".join(lines).encode()
    assert not is_same(tool("1"), definition)


@pytest.mark.parametrize("deep", [b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900])
def test_nesting_makes_no_lines_that_grow_with_it(deep: bytes) -> None:
    lines = tool_diff._lines(deep)
    assert sum(map(len, lines)) <= len(deep)


def test_brackets_in_texts_are_no_nesting() -> None:
    lines = tool_diff._lines(tool('[{"' * 500 + "\\"))
    assert lines[0] == "{"


def test_many_changes_are_cut() -> None:
    lines = diff(tool("1", e=[f"a{n}" for n in range(900)]), tool("1", e=[*range(900)]))
    assert len(lines) == MAX_LINES
    assert lines[-1].startswith("… ")


def test_many_changed_lines_are_compared_as_one_block() -> None:
    few, many = (
        diff(tool("1", e=[*range(n)]), tool("1", e=[n if n % 2 else str(n) for n in range(n)]))
        for n in (20, 90)
    )
    assert [line for line in few[1:-1] if line.startswith(" ")]
    assert [line[:1] for line in many[1:-1]] == ["-"] * 90 + ["+"] * 90


def test_what_is_equal_as_far_as_it_is_kept_says_so() -> None:
    same = b'{"name":"a","d":"' + b"x" * KEPT
    assert diff(same + b"1", same + b"2") == [f"(they differ after their first {KEPT} bytes)"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', True),
        (b'{"a":1}', b'{"a":true}', False),
        (b'{"a":1}', b'{"a":1,"b":2}', False),
        (b"[" * 100_000, b"[" * 100_000, False),
        (b"9" * 5000, b"9" * 5000, False),
    ],
)
def test_the_order_of_members_is_no_change(before: bytes, after: bytes, expected: bool) -> None:
    assert is_same(before, after) is expected

"""What is printed cannot steer the terminal, and tables fit it."""

from __future__ import annotations

import pytest

from exporter.cli.terminal import shortened, table


@pytest.mark.parametrize(("width", "shown"), [(6, "abcdef"), (5, "ab…ef"), (4, "ab…f"), (1, "…")])
def test_a_long_text_is_cut(width: int, shown: str) -> None:
    assert shortened("abcdef", width) == shown


def test_columns_line_up() -> None:
    assert table(("A", "BB"), [("xyz", "1"), ("x", "")]) == ["A    BB", "xyz  1", "x"]


def test_only_flexible_columns_are_shortened_the_widest_first() -> None:
    rows = [("a" * 20, "b" * 30, "c" * 10)]
    lines = table(("A", "B", "C"), rows, width=50, flexible=(0, 1))
    assert lines[1] == f"{'a' * 9}…{'a' * 8}  {'b' * 9}…{'b' * 8}  {'c' * 10}"
    assert len(table(("A", "B", "C"), rows, width=3, flexible=(0, 1))[1]) == 8 + 2 + 8 + 2 + 10


def test_a_colour_is_around_the_cell_alone() -> None:
    lines = table(("STATE", "X"), [("ok", "ok!")], colours={"ok": 32})
    assert lines == ["STATE  X", "\x1b[32mok   \x1b[0m  ok!"]


def test_a_cell_cannot_steer_the_terminal() -> None:
    assert table(("A",), [("\x1b[2Jx\n",)]) == ["A", "\\x1b[2Jx\\n"]

"""The demo's words reach the terminal, and a terminal that is gone does no harm."""

from __future__ import annotations

import subprocess
import sys

import pytest

from demo import terminal


def test_columns_line_up_with_numbers_to_the_right() -> None:
    made = terminal.table(["tool", "calls"], [["read_file", "10"], ["ls", "5"]])
    assert made.splitlines() == [
        "  tool       calls",
        "  ---------  -----",
        "  read_file     10",
        "  ls             5",
    ]


def test_a_table_without_rows_is_its_head() -> None:
    assert terminal.table(["tool"], []).splitlines() == ["  tool", "  ----"]


def test_rows_that_do_not_fit_the_head_are_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        terminal.table(["tool", "calls"], [["read_file"]])


@pytest.mark.e2e
def test_a_reader_that_went_away_does_not_end_the_program() -> None:
    program = (
        "import sys; from demo.terminal import say; sys.stdin.read()\n"
        "for _ in range(3): say('x' * 100)\n"
        "sys.stderr.write('went on')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.close()
        assert process.stderr is not None
        assert process.stderr.read() == b"went on"
    assert process.returncode == 0

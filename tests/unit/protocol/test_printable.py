"""What would steer a terminal or hide from its reader is written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, caf\u00e9, \u6f22", "plain, caf\u00e9, \u6f22"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\u202eb", "a\\u202eb"),
        ("\U000e0041", "\\U000e0041"),
        ("\ud800", "\\ud800"),
        ("a\r\nb", "a\\r\\nb"),
    ],
)
def test_only_what_cannot_be_seen_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_some_may_be_kept() -> None:
    assert printable("a\nb\r", kept="\n") == "a\nb\\r"


@given(st.text())
def test_what_is_printable_has_printable(text: str) -> None:
    assert len(printable(f"x{text}").splitlines()) == 1
    assert printable(text).isprintable()

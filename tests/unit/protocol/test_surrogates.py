"""The copy of a text in which no half a character stands, and what it may cost."""

from __future__ import annotations

import pytest

from exporter.protocol import surrogates
from exporter.protocol.surrogates import MOST_ESCAPES, readable


@pytest.mark.parametrize(
    "unit", [rb"\ud83d\ude00", rb"\uD83D"], ids=["very many that may be halves", "and that are"]
)
def test_where_very_much_may_be_a_half_none_is_sought(
    unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surrogates, "_HALF", None)
    text = unit * (MOST_ESCAPES + 1)
    copy = readable(text)
    assert len(copy) == len(text)
    assert b"\\ud" not in copy.lower()


def test_where_nothing_may_be_a_half_none_is_sought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surrogates, "_HALF", None)
    assert readable(rb'"\u0061\n"') == rb'"\u0061\n"'

"""Closed sets have each value once, and how a process ended is one of them."""

from __future__ import annotations

import pytest

from exporter.protocol import label_values
from exporter.protocol.label_values import exit_reason


@pytest.mark.parametrize(
    ("code", "was_asked", "reason"),
    [
        (0, False, "clean"),
        (3, False, "error"),
        (None, False, "error"),
        (-11, False, "signal"),
        (-9, False, "signal"),
        (0, True, "clean"),
        (3, True, "clean"),
        (None, True, "clean"),
        (-15, True, "clean"),
        (-9, True, "killed"),
    ],
)
def test_how_a_process_ended_has_a_word(code: int | None, was_asked: bool, reason: str) -> None:
    assert exit_reason(code, was_asked) == reason
    assert reason in label_values.EXIT_REASONS


@pytest.mark.parametrize(
    "values",
    [
        label_values.EXIT_REASONS,
        label_values.PROBE_RESULTS,
        label_values.REJECTIONS,
        label_values.TOOL_CHANGES,
        label_values.UNPARSED,
        tuple(label_values.Outcome),
    ],
)
def test_no_value_stands_twice(values: tuple[str, ...]) -> None:
    assert len(values) == len(set(values))

"""The drawn dashboards: numbers read as Grafana writes them, tables hold what belongs together."""

from __future__ import annotations

import math
from typing import Any

import pytest

from grafana.asking import Prometheus, Series, Window
from grafana.pictures.answers import named, table
from grafana.pictures.colours import TEXT, at, colour
from grafana.pictures.words import worded

NOW = 1_700_000_000.0
WINDOW = Window(NOW - 600, NOW)
RED_FROM_ONE = {"steps": [{"value": None, "color": "green"}, {"value": 1, "color": "red"}]}


class Answers(Prometheus):
    """A Prometheus that knows its answers by heart."""

    def __init__(self, answers: dict[str, list[Series]]) -> None:
        super().__init__("http://nowhere.invalid")
        self._answers = answers

    def now(self, expr: str, time: float) -> list[Series]:  # noqa: ARG002 - as its parent
        return self._answers[expr]

    def over(self, expr: str, window: Window) -> list[Series]:  # noqa: ARG002 - as its parent
        return self._answers[expr]


def series(value: float, **labels: str) -> Series:
    return Series(labels, ((NOW, value),))


def target(expr: str, ref: str, *, instant: bool = True) -> dict[str, Any]:
    return {"expr": expr, "refId": ref, "instant": instant, "legendFormat": "{{server}} now"}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.1234, "percentunit", "12.34%"),
        (0.0025, "s", "2.5 ms"),
        (0.00001, "s", "10 µs"),
        (1.5, "s", "1.5 s"),
        (90, "s", "1.5 mins"),
        (0, "s", "0 s"),
        (1536, "bytes", "1.5 KiB"),
        (11_600, "short", "11.6 K"),
        (0.5, "reqps", "0.5 req/s"),
        (3, "none", "3"),
        (math.nan, "s", ""),
        ((NOW - 7200) * 1000, "dateTimeFromNow", "2 hours ago"),
        (NOW * 1000, "dateTimeFromNow", "a few seconds ago"),
    ],
)
def test_a_number_is_written_in_its_unit(value: float, unit: str, text: str) -> None:
    assert worded(value, unit, NOW) == text


def test_a_number_has_as_many_decimals_as_asked_for() -> None:
    assert worded(0.5, "percentunit", NOW, 1) == "50.0%"
    assert worded(11_633.4, "locale", NOW, 0) == "11,633"


def test_a_value_has_the_colour_of_the_highest_threshold_reached() -> None:
    assert at(0.9, RED_FROM_ONE) == colour("green")
    assert at(1, RED_FROM_ONE) == colour("red")
    assert at(1, {}) == TEXT


def test_rows_of_several_queries_are_joined_on_the_label() -> None:
    panel = {
        "targets": [target("up", "A"), target("rate", "B", instant=False), target("none", "C")],
        "transformations": [{"id": "joinByField", "options": {"byField": "server"}}],
    }
    answers = {
        "up": [series(1, server="files"), series(0, server="echo")],
        "rate": [series(2, server="files")],
        "none": [],
    }
    files, echo = table(panel, Answers(answers), WINDOW)
    assert files.cells == {"server": "files", "Value #A": 1}
    assert files.trends["Trend #B"].last == 2
    assert echo.cells == {"server": "echo", "Value #A": 0}
    assert echo.trends == {}


def test_every_series_of_a_single_query_is_a_row() -> None:
    panel = {"targets": [target("up", "A")], "transformations": []}
    answers = {"up": [series(1, server="files"), series(0, server="files", tool="read")]}
    first, second = table(panel, Answers(answers), WINDOW)
    assert first.cells == {"server": "files", "Value": 1}
    assert second.cells == {"server": "files", "tool": "read", "Value": 0}


def test_series_are_named_by_the_legend_and_those_that_are_no_number_left_out() -> None:
    panel = {"targets": [target("up", "A")]}
    answers = {"up": [series(1, server="files"), series(math.nan, server="echo")]}
    assert [each.name for each in named(panel, Answers(answers), WINDOW)] == ["files now"]

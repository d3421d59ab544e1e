"""What stands for Grafana's variables when something else than Grafana asks."""

from __future__ import annotations

import pytest

from tests.support.panel_queries import Window, escaped, interpolated


def test_a_chosen_value_is_taken_literally_by_a_regular_expression_within_promql() -> None:
    assert escaped("127.0.0.1:6280") == r"127\\.0\\.0\\.1:6280"
    assert escaped("a+b(c)|d") == r"a\\+b\\(c\\)\\|d"
    assert escaped("read_file") == "read_file"


def test_variables_are_replaced_within_a_query() -> None:
    text = 'rate(x{job=~"$job"}[$__rate_interval])'
    values = {"job": ".+", "__rate_interval": "1m"}
    assert interpolated(text, values) == 'rate(x{job=~".+"}[1m])'


def test_a_variable_that_nobody_sets_is_an_error() -> None:
    with pytest.raises(KeyError, match="jobs"):
        interpolated("up{job=~$jobs}", {"job": ".+"})


def test_the_rate_interval_covers_four_scrapes_at_least() -> None:
    assert Window(0, 600, scrape=15).values()["__rate_interval"] == "60s"


def test_the_rate_interval_covers_a_step_and_the_scrape_before_it() -> None:
    month = Window(0, 30 * 86400, scrape=15, points=300)
    assert month.step == 8640
    assert month.values()["__rate_interval"] == "8655s"
    assert month.values()["__range"] == "2592000s"

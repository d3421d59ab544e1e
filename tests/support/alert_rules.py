"""The committed alert rules and their promtool tests, read for the tests in Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.paths import ROOT

PROMETHEUS = ROOT / "prometheus"
RULES = PROMETHEUS / "rules"
TESTS = sorted(RULES.glob("*.test.yml"))
FILES = sorted(path for path in RULES.glob("*.yml") if path not in TESTS)
SERIES = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Case:
    """One expectation of a promtool test about one alert."""

    name: str
    alert: str
    expected: tuple[dict[str, Any], ...]


def read(path: Path) -> Any:
    """A YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    """Every committed rule."""
    return [rule for path in FILES for group in read(path)["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every committed alert rule; several may share a name."""
    return [rule for rule in rules() if "alert" in rule]


def alert_names() -> list[str]:
    """The name of every alert, once."""
    return sorted({rule["alert"] for rule in alerts()})


def cases() -> Iterator[Case]:
    """Every expectation about an alert in the promtool tests."""
    for path in TESTS:
        for test in read(path)["tests"]:
            for expectation in test.get("alert_rule_test", []):
                expected = tuple(expectation["exp_alerts"])
                yield Case(test["name"], expectation["alertname"], expected)


def firing() -> list[tuple[str, dict[str, str]]]:
    """Name and labels of every alert that a promtool test expects to fire."""
    return [
        (case.alert, {"alertname": case.alert, **expected["exp_labels"]})
        for case in cases()
        for expected in case.expected
    ]


def series() -> Iterator[tuple[str, dict[str, str]]]:
    """Name and labels of every series that the promtool tests feed in."""
    for path in TESTS:
        for test in read(path)["tests"]:
            for given in test.get("input_series", []):
                yield parse_series(given["series"])


def parse_series(text: str) -> tuple[str, dict[str, str]]:
    """A series as name and labels."""
    found = SERIES.fullmatch(text.strip())
    assert found is not None, text
    return found["name"], dict(LABEL.findall(found["labels"] or ""))

"""Reads the committed dashboards as Grafana does, and puts values in the place of variables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import promql_parser as promql

from tests.support.panel_queries import ALL, CHOSEN, interpolated
from tests.support.paths import ROOT

FOLDER = ROOT / "grafana" / "dashboards"

Json = dict[str, Any]

RATE_INTERVAL = timedelta(seconds=1234)
"""What stands for ``$__rate_interval`` while a query is only read: nobody would write it."""

SCRAPE_SECONDS = 15
"""How often Prometheus asks, in the data source as it is provisioned."""

SAMPLE = {
    "__rate_interval": f"{RATE_INTERVAL.seconds}s",
    "__interval": "15s",
    "__interval_ms": "15000",
    "__range": "6h",
    "__from": "1700000000000",
    "__to": "1700021600000",
    **dict.fromkeys(CHOSEN, ALL),
}

_VARIABLE_QUERY = re.compile(r"label_values\((?:(?P<selector>.+), )?(?P<label>\w+)\)")


@dataclass(frozen=True)
class Query:
    """One query of a dashboard, and where it stands."""

    board: str
    place: str
    expr: str
    instant: bool = False
    scrapes: float = 1
    """The shortest step, in intervals between two scrapes."""

    def __str__(self) -> str:
        return f"{self.board}: {self.place}"


@dataclass(frozen=True)
class Selector:
    """One vector selector: the metric, its matchers, and what reads its range, if it has one."""

    metric: str
    labels: tuple[str, ...]
    matchers: tuple[str, ...]
    function: str = ""
    window: timedelta | None = None


def load() -> dict[str, Json]:
    """Every committed dashboard by the stem of its file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def panels(board: Json) -> Iterator[Json]:
    """All panels but the headings of rows."""
    for panel in board["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", [])


def panel_queries(board: Json) -> Iterator[Query]:
    """The queries of all panels."""
    for panel in panels(board):
        for target in panel["targets"]:
            place = f"{panel['title']} {target['refId']}"
            instant = target.get("instant", False)
            yield Query(board["uid"], place, target["expr"], instant, shortest_step(panel))


def shortest_step(panel: Json) -> float:
    """Scrapes within the shortest step of a panel; the interval of both is in its settings."""
    found = re.fullmatch(r"(\d+)m", panel.get("interval", ""))
    return int(found[1]) * 60 / SCRAPE_SECONDS if found else 1


def annotation_queries(board: Json) -> Iterator[Query]:
    """The queries of all annotations."""
    for annotation in board["annotations"]["list"]:
        yield Query(board["uid"], f"annotation {annotation['name']}", annotation["target"]["expr"])


def variables(board: Json) -> list[Json]:
    """The variables that ask Prometheus."""
    return [found for found in board["templating"]["list"] if found["type"] == "query"]


def variable_query(variable: Json) -> tuple[str, str]:
    """The selector and the label of a variable's ``label_values(selector, label)``."""
    found = _VARIABLE_QUERY.fullmatch(variable["query"]["query"])
    assert found, variable["query"]
    return found["selector"], found["label"]


def parsed(expr: str, values: Mapping[str, str] = SAMPLE) -> promql.Expr:
    """The syntax tree of a query; ValueError where it is not PromQL, KeyError as above."""
    found: promql.Expr = promql.parse(interpolated(expr, values))
    return found


def selectors(expr: str) -> list[Selector]:
    """Every vector selector of a query, in order, with the variables as the matchers' values."""
    found: list[Selector] = []
    calls: list[str] = []
    ranges: list[promql.MatrixSelector] = []

    def visit(node: promql.Expr) -> None:
        # Depth first: a range follows the call that reads it, and its selector follows the range.
        if isinstance(node, promql.Call):
            calls.append(node.func.name)
        elif isinstance(node, promql.MatrixSelector):
            ranges.append(node)
        elif isinstance(node, promql.VectorSelector):
            window = ranges.pop().range if ranges else None
            found.append(_selector(node, calls[-1] if window else "", window))

    promql.walk(parsed(expr, SAMPLE | {name: f"${name}" for name in CHOSEN}), visit)
    return found


def labels(expr: str) -> set[str]:
    """The labels that a query groups or matches by."""
    found: set[str] = set()

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.AggregateExpr) and node.modifier:
            found.update(node.modifier.labels)
        elif isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
            found.update(node.modifier.matching.labels)

    promql.walk(parsed(expr), visit)
    return found.union(*(selector.labels for selector in selectors(expr)))


def _selector(node: promql.VectorSelector, function: str, window: timedelta | None) -> Selector:
    matchers = node.matchers.matchers
    names = tuple(matcher.name for matcher in matchers)
    return Selector(node.name or "", names, tuple(map(str, matchers)), function, window)

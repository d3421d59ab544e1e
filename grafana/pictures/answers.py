"""A panel's answers from Prometheus, shaped as its drawing needs them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grafana.asking import ALL, CHOSEN, Prometheus, Series, Window, interpolated

Json = dict[str, Any]

_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class Named:
    """One series with the name that the legend gives it."""

    name: str
    series: Series


@dataclass
class Row:
    """One row of a table: a cell by the name of its field, and series for sparklines."""

    cells: dict[str, str | float] = field(default_factory=dict)
    trends: dict[str, Series] = field(default_factory=dict)


def named(panel: Json, prometheus: Prometheus, window: Window) -> list[Named]:
    """The series of all queries of a panel."""
    return [
        Named(_legend(target.get("legendFormat", ""), series.labels), series)
        for target in panel["targets"]
        for series in _asked(target, prometheus, window)
    ]


def table(panel: Json, prometheus: Prometheus, window: Window) -> list[Row]:
    """The rows of a table: its queries' series joined on one label, or one row a series."""
    steps = {step["id"]: step["options"] for step in panel["transformations"]}
    label = steps.get("joinByField", {}).get("byField")
    found: dict[object, Row] = {}
    for target in panel["targets"]:
        for number, series in enumerate(_asked(target, prometheus, window)):
            row = found.setdefault(series.labels.get(label, number), Row())
            row.cells.update(series.labels)
            _put(row, target, series, single=label is None)
    return list(found.values())


def _put(row: Row, target: Json, series: Series, *, single: bool) -> None:
    if target.get("instant"):
        row.cells["Value" if single else f"Value #{target['refId']}"] = series.last
    else:
        row.trends[f"Trend #{target['refId']}"] = series


def _asked(target: Json, prometheus: Prometheus, window: Window) -> list[Series]:
    expr = interpolated(target["expr"], {**window.values(), **dict.fromkeys(CHOSEN, ALL)})
    if target.get("instant"):
        return _real(prometheus.now(expr, window.end))
    return prometheus.over(expr, window)


def _real(found: list[Series]) -> list[Series]:
    return [series for series in found if not math.isnan(series.last)]


def _legend(pattern: str, labels: Mapping[str, str]) -> str:
    return _LABEL.sub(lambda match: labels.get(match[1], ""), pattern).strip()

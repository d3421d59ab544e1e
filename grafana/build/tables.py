"""Tables: the answers of some queries joined on a label, their columns chosen, named, formatted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common, prometheus, table
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model

from grafana.build.colours import Steps
from grafana.build.links import Link
from grafana.build.panels import About, Size, colour, described, stepped, thresholds, words

NOTHING = "\N{EN DASH}"
"""What an empty cell says: without it, Grafana writes what the empty panel says into it."""

NARROWEST = 60
"""Pixels that a column without a width keeps; Grafana's own 150 push others out of sight."""
NAME = 110
"""Pixels for what people look for first."""


@dataclass(frozen=True)
class Column:
    """One column of a table: the field it shows and how; widths are in pixels."""

    source: str
    title: str
    unit: str = ""
    width: int = 0
    least: int = NARROWEST
    link: Link | None = None
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    steps: Steps = ()
    sparkline: str = ""
    decimals: int | None = None
    bounds: tuple[float, float] | None = None
    below: tuple[float, str, str] | None = None
    """A value up to which a word and a colour stand in the number's place."""
    empty: str = NOTHING
    is_hidden: bool = False
    """Only there for the links of its row."""


def listing(
    about: About,
    queries: Sequence[prometheus.Dataquery],
    columns: Sequence[Column],
    size: Size,
    *,
    join: str = "server",
    sort: tuple[str, bool] | None = None,
) -> table.Panel:
    """A table; it is sorted by a column's title, descending or not."""
    panel = described(table.Panel(), about, queries, size).unit("string").min_width(NARROWEST)
    for transformation in [
        *_trends(columns),
        *([_joined(join)] if len(queries) > 1 else []),
        _chosen(columns),
        _named(columns),
    ]:
        panel = panel.with_transformation(transformation)
    panel = panel.filterable(False).cell_height(shapes.TableCellHeight.SM)
    panel = panel.thresholds(thresholds(()))
    for column in columns:
        panel = panel.override_by_name(column.title, _cell(column))
    if sort:
        title, descending = sort
        order = common.TableSortByFieldState().display_name(title).desc(descending)
        panel = panel.sort_by([order])
    return panel


def _trends(columns: Sequence[Column]) -> list[model.DataTransformerConfig]:
    """Series into sparklines, each query apart.

    Without the filter Grafana takes a table of one row for a series too, and it is lost.
    """
    refs = [column.source.removeprefix("Trend #") for column in columns if column.sparkline]
    return [
        model.DataTransformerConfig(
            "timeSeriesTable",
            filter_val=model.MatcherConfig("byRefId", ref),
            options={ref: {"stat": "lastNotNull"}},
        )
        for ref in refs
    ]


def _joined(label: str) -> model.DataTransformerConfig:
    """Join on a label: a query without an answer leaves its column empty, and nothing else."""
    return model.DataTransformerConfig("joinByField", options={"byField": label, "mode": "outer"})


def _chosen(columns: Sequence[Column]) -> model.DataTransformerConfig:
    names = [column.source for column in columns]
    return model.DataTransformerConfig("filterFieldsByName", options={"include": {"names": names}})


def _named(columns: Sequence[Column]) -> model.DataTransformerConfig:
    options: dict[str, object] = {
        "indexByName": {column.source: place for place, column in enumerate(columns)},
        "renameByName": {column.source: column.title for column in columns},
        "excludeByName": {},
    }
    return model.DataTransformerConfig("organize", options=options)


def _cell(column: Column) -> list[model.DynamicConfigValue]:
    found = {
        "noValue": column.empty,
        "unit": column.unit or None,
        "decimals": column.decimals,
        "custom.width": column.width or None,
        "custom.minWidth": column.least if column.least != NARROWEST else None,
        "links": [column.link] if column.link else None,
        "mappings": words(column.words, column.below) or None,
        **_bounds(column),
        **_hiding(column),
    }
    cell = [
        model.DynamicConfigValue(name, value) for name, value in found.items() if value is not None
    ]
    if column.steps:
        cell.append(stepped(column.steps))
    if column.steps or column.words:
        coloured = shapes.TableColorTextCellOptions()
        cell.append(model.DynamicConfigValue("custom.cellOptions", coloured))
    if column.sparkline:
        cell += [colour(column.sparkline), _sparkline()]
    return cell


def _bounds(column: Column) -> dict[str, object]:
    return dict(zip(("min", "max"), column.bounds, strict=True)) if column.bounds else {}


def _hiding(column: Column) -> dict[str, object]:
    """Grafana 11 and 12 know the first of these, Grafana 13 the second."""
    if not column.is_hidden:
        return {}
    return {
        "custom.hidden": True,
        "custom.hideFrom": {"viz": True, "legend": False, "tooltip": False},
    }


def _sparkline() -> model.DynamicConfigValue:
    options = shapes.TableSparklineCellOptions(
        draw_style=shapes.GraphDrawStyle.LINE,
        line_width=1,
        fill_opacity=15,
        show_points=shapes.VisibilityMode.NEVER,
        span_nulls=True,
    )
    return model.DynamicConfigValue("custom.cellOptions", options)

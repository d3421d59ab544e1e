"""The few panel shapes that every dashboard is made of, and their colours.

Red means that something failed, and nothing else is red: series without a meaning of their own
are drawn in shades of blue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = shapes.DataSourceRef(type_val="prometheus", uid="$datasource")

OUTCOMES = {
    "ok": "green",
    "input_required": "blue",
    "cancelled": "#8e8e8e",
    "client_gone": "#c7c7c7",
    "unauthorized": "purple",
    "rejected": "yellow",
    "tool_error": "light-red",
    "protocol_error": "#ff5286",
    "timeout": "red",
    "upstream_error": "dark-red",
}
PROBES = {
    "success": "green",
    "unauthorized": "purple",
    "timeout": "red",
    "connect_error": "dark-red",
    "protocol_error": "#ff5286",
    "process_exit": "light-red",
}
METHODS = {
    "tools/call": "blue",
    "tools/list": "purple",
    "initialize": "yellow",
    "server/discover": "orange",
    "resources/read": "green",
    "resources/list": "dark-green",
    "prompts/get": "light-yellow",
    "prompts/list": "light-purple",
    "ping": "#8e8e8e",
    "_other": "#c7c7c7",
}
DIRECTIONS = {"to_server": "purple", "to_client": "blue"}
TRANSPORTS = {"http": "purple", "stdio": "blue"}
CHANGES = {"added": "green", "removed": "orange", "modified": "purple"}
EXITS = {"clean": "green", "error": "red", "signal": "dark-red", "killed": "light-red"}
LATENCY = {"p99": "dark-purple", "p90": "purple", "p50": "blue", "average": "yellow"}
STATES = {
    "0": ("ok", "green"),
    "1": ("unknown", "text"),
    "2": ("degraded", "orange"),
    "3": ("error", "red"),
}
SEVERITIES = {"critical": ("critical", "red"), "warning": ("warning", "orange")}

BUDGET = ((0.0, "red"), (0.0, "orange"), (0.25, "green"))
"""Share of an error budget left: spent, nearly spent, well."""
FAILING = ((0.0, "text"), (0.001, "red"))
"""Share of calls that failed: none, some."""

Link = dict[str, object]
"""A data link, as Grafana's JSON has it."""

Size = tuple[int, int]
"""Width in columns of 24, height in rows of about 38 pixels."""

WIDE = 12
"""Columns from which on a drawing has room for its legend beside it."""

Panel = (
    stat.Panel
    | timeseries.Panel
    | table.Panel
    | statetimeline.Panel
    | heatmap.Panel
    | bargauge.Panel
)
Drawn = TypeVar(
    "Drawn",
    stat.Panel,
    timeseries.Panel,
    table.Panel,
    statetimeline.Panel,
    heatmap.Panel,
    bargauge.Panel,
)


@dataclass(frozen=True)
class About:
    """What a panel says of itself: its title, the question it answers, and "no data"."""

    title: str
    question: str
    empty: str = "no data"


@dataclass(frozen=True)
class Column:
    """One column of a table: the field it shows and how."""

    source: str
    title: str
    unit: str = ""
    width: int = 0
    link: Link | None = None
    mappings: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    steps: Sequence[tuple[float, str]] = ()
    sparkline: str = ""
    decimals: int | None = None


def drawn(expr: str, legend: str, ref: str = "A", exemplar: bool = False) -> prometheus.Dataquery:
    """A query over time."""
    query = prometheus.Dataquery().expr(expr).range().legend_format(legend).ref_id(ref)
    return query.exemplar(True) if exemplar else query


def now(expr: str, legend: str = "__auto", ref: str = "A") -> prometheus.Dataquery:
    """A query for one number a series, at the end of the time range."""
    return prometheus.Dataquery().expr(expr).instant().legend_format(legend).ref_id(ref)


def rows(expr: str, ref: str) -> prometheus.Dataquery:
    """A query whose series are the rows of a table."""
    return prometheus.Dataquery().expr(expr).instant().format(PromQueryFormat.TABLE).ref_id(ref)


def number(
    about: About,
    queries: Sequence[prometheus.Dataquery],
    unit: str,
    size: Size,
    *,
    steps: Sequence[tuple[float, str]] = (),
    mappings: Mapping[str, tuple[str, str]] | None = None,
    decimals: int | None = None,
) -> stat.Panel:
    """One or a few big numbers."""
    panel = _described(stat.Panel(), about, queries, size).unit(unit).thresholds(_steps(steps))
    panel = (
        panel.graph_mode(shapes.BigValueGraphMode.NONE)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return panel.mappings(_mappings(mappings)) if mappings else panel


def lines(
    about: About,
    queries: Sequence[prometheus.Dataquery],
    unit: str,
    size: Size,
    *,
    colours: Mapping[str, str] | None = None,
    steps: Sequence[tuple[float, str]] = (),
    link: Link | None = None,
    floor: float | None = 0,
) -> timeseries.Panel:
    """Series over time, one line each, with the last and the highest value in the legend."""
    panel = _described(timeseries.Panel(), about, queries, size).unit(unit)
    panel = panel if floor is None else panel.min(floor)
    panel = (
        panel.line_width(2)
        .fill_opacity(5)
        .show_points(shapes.VisibilityMode.AUTO)
        .color_scheme(_shades())
        .legend(_legend(size, "lastNotNull", "max"))
        .tooltip(_tooltip())
    )
    for name, colour in (colours or {}).items():
        panel = panel.override_by_name(name, [_colour(colour)])
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(_steps(steps)).thresholds_style(style)
    return _linked(panel, link)


def stacked(
    about: About,
    queries: Sequence[prometheus.Dataquery],
    unit: str,
    size: Size,
    *,
    colours: Mapping[str, str] | None = None,
    link: Link | None = None,
) -> timeseries.Panel:
    """Parts of a whole over time, one on the other."""
    panel = lines(about, queries, unit, size, colours=colours, link=link)
    stacking = common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A")
    return (
        panel.stacking(stacking).line_width(1).fill_opacity(70).legend(_legend(size, "mean", "max"))
    )


def latency(
    about: About, by_name: Mapping[str, str], unit: str, size: Size, *, exemplar: bool = False
) -> timeseries.Panel:
    """Quantiles and average of one histogram on one drawing."""
    queries = [
        drawn(expr, name, ref, exemplar=exemplar and name == "p99")
        for (name, expr), ref in zip(by_name.items(), "ABCD", strict=False)
    ]
    return lines(about, queries, unit, size, colours=LATENCY)


def density(
    about: About, expr: str, unit: str, size: Size, *, exemplar: bool = False
) -> heatmap.Panel:
    """How the observations of a histogram spread, over time."""
    query = drawn(expr, "{{le}}", exemplar=exemplar).format(PromQueryFormat.HEATMAP)
    colours = (
        heatmap.HeatmapColorOptions()
        .mode(heat.HeatmapColorMode.SCHEME)
        .scheme("Blues")
        .steps(64)
        .scale(heat.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
    )
    return (
        _described(heatmap.Panel(), about, [query], size)
        .unit(unit)
        .calculate(False)
        .color(colours)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .cell_values(heatmap.CellValues().unit("none"))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .tooltip(
            heatmap.HeatmapTooltip().mode(shapes.TooltipDisplayMode.SINGLE).show_color_scale(False)
        )
        .show_legend()
        .exemplars_color("rgba(255,152,48,0.9)")
    )


def states(
    about: About, query: prometheus.Dataquery, size: Size, link: Link
) -> statetimeline.Panel:
    """A state over time, one bar a series."""
    panel = (
        _described(statetimeline.Panel(), about, [query], size)
        .mappings(_mappings(STATES))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .thresholds(_steps(()))
        .show_value(shapes.VisibilityMode.NEVER)
        .merge_values(True)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .max_data_points(100)
        .legend(
            common.VizLegendOptions()
            .show_legend(False)
            .display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
        )
    )
    return _linked(panel, link)


def ranking(
    about: About,
    expr: str,
    legend: str,
    unit: str,
    size: Size,
    *,
    colour: str = "blue",
    decimals: int | None = None,
    link: Link | None = None,
) -> bargauge.Panel:
    """The highest few, as bars."""
    fixed = dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(colour)
    panel = (
        _described(bargauge.Panel(), about, [now(expr, legend)], size)
        .unit(unit)
        .min(0)
        .color_scheme(fixed)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .value_mode(shapes.BarGaugeValueMode.TEXT)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    panel = panel if decimals is None else panel.decimals(decimals)
    return _linked(panel, link)


def listing(
    about: About,
    queries: Sequence[prometheus.Dataquery],
    columns: Sequence[Column],
    size: Size,
    *,
    join: str = "server",
    sort: tuple[str, bool] | None = None,
) -> table.Panel:
    """A table: the queries' answers joined on one label, the columns chosen, named and ordered."""
    panel = _described(table.Panel(), about, queries, size).unit("string")
    for transformation in [
        *_trends(columns),
        *([_joined(join)] if len(queries) > 1 else []),
        _chosen(columns),
        _named(columns),
    ]:
        panel = panel.with_transformation(transformation)
    panel = panel.filterable(False).cell_height(shapes.TableCellHeight.SM).thresholds(_steps(()))
    for column in columns:
        panel = panel.override_by_name(column.title, _cell(column))
    if sort:
        title, descending = sort
        order = common.TableSortByFieldState().display_name(title).desc(descending)
        panel = panel.sort_by([order])
    return panel


def link(title: str, uid: str, *variables: str) -> Link:
    """A data link to another dashboard: time, datasource, job and instance stay as they are."""
    kept = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
    url = "&".join(["${__url_time_range}", kept, *variables])
    return {"title": title, "url": f"/d/{uid}?{url}", "targetBlank": False}


def from_column(variable: str, column: str) -> str:
    """Set a dashboard variable from a cell of the row clicked."""
    return f'var-{variable}=${{__data.fields["{column}"]}}'


def from_label(variable: str) -> str:
    """Set a dashboard variable from the label of the same name of the series clicked."""
    return f"var-{variable}=${{__field.labels.{variable}}}"


def _described(
    panel: Drawn, about: About, queries: Iterable[prometheus.Dataquery], size: Size
) -> Drawn:
    width, height = size
    return (
        panel.title(about.title)
        .description(about.question)
        .no_value(about.empty)
        .datasource(DATASOURCE)
        .targets([query.datasource(DATASOURCE) for query in queries])
        .span(width)
        .height(height)
    )


def _linked(panel: Drawn, link: Link | None) -> Drawn:
    if not link:
        return panel
    return panel.override_by_field_type("number", [model.DynamicConfigValue("links", [link])])


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
        "unit": column.unit or None,
        "decimals": column.decimals,
        "custom.width": column.width or None,
        "links": [column.link] if column.link else None,
        "mappings": _mappings(column.mappings) if column.mappings else None,
    }
    cell = [
        model.DynamicConfigValue(name, value) for name, value in found.items() if value is not None
    ]
    if column.steps:
        cell.append(model.DynamicConfigValue("thresholds", _steps(column.steps).build()))
    if column.steps or column.mappings:
        coloured = shapes.TableColorTextCellOptions()
        cell.append(model.DynamicConfigValue("custom.cellOptions", coloured))
    if column.sparkline:
        cell += [_colour(column.sparkline), _sparkline()]
    return cell


def _sparkline() -> model.DynamicConfigValue:
    options = shapes.TableSparklineCellOptions(
        draw_style=shapes.GraphDrawStyle.LINE,
        line_width=1,
        fill_opacity=15,
        show_points=shapes.VisibilityMode.NEVER,
        span_nulls=True,
    )
    return model.DynamicConfigValue("custom.cellOptions", options)


def _colour(name: str) -> model.DynamicConfigValue:
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": name})


def _shades() -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(model.FieldColorModeId.SHADES).fixed_color("blue")


def _steps(steps: Sequence[tuple[float, str]]) -> dashboard.ThresholdsConfig:
    found = [model.Threshold(None, "text")]
    if steps:
        found = [model.Threshold(value, colour) for value, colour in steps]
        found[0].value = None
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def _mappings(mappings: Mapping[str, tuple[str, str]]) -> list[model.ValueMapping]:
    options = {
        value: model.ValueMappingResult(text=text, color=colour, index=place)
        for place, (value, (text, colour)) in enumerate(mappings.items())
    }
    return [model.ValueMap(options=options)]


def _legend(size: Size, *calcs: str) -> common.VizLegendOptions:
    beside = size[0] >= WIDE
    placement = shapes.LegendPlacement.RIGHT if beside else shapes.LegendPlacement.BOTTOM
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(placement)
        .calcs(list(calcs))
        .sort_by("Max")
        .sort_desc(True)
    )


def _tooltip() -> common.VizTooltipOptions:
    return (
        common.VizTooltipOptions()
        .mode(shapes.TooltipDisplayMode.MULTI)
        .sort(shapes.SortOrder.DESCENDING)
    )

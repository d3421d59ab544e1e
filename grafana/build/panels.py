"""The few panel shapes that every dashboard is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

from grafana.build.colours import BY_LABEL, FAILING, LATENCY, STATES, Steps, Words
from grafana.build.links import Link

DATASOURCE = shapes.DataSourceRef(type_val="prometheus", uid="$datasource")

Size = tuple[int, int]
"""Width in columns of 24, height in rows of about 38 pixels."""

HALF: Size = (12, 8)
THIRD: Size = (8, 8)

WIDE = 12
"""Columns from which on a drawing has room for a legend with numbers beside it."""

STEP = "1m"
"""The narrowest bar of a drawing of events."""

BAR_PIXELS = 34
"""A bar of 14 under a name of 20: beside its bar a name gets less than it needs, and is cut."""
TEXT_PIXELS = 13

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


def moments(expr: str, ref: str) -> prometheus.Dataquery:
    """A query whose every point in time is a row of a table."""
    return prometheus.Dataquery().expr(expr).range().format(PromQueryFormat.TABLE).ref_id(ref)


def number(
    about: About,
    queries: Sequence[prometheus.Dataquery],
    unit: str,
    size: Size,
    *,
    steps: Steps = (),
    mappings: Words | None = None,
    below: tuple[float, str, str] | None = None,
    decimals: int | None = None,
) -> stat.Panel:
    """One or a few big numbers; of several each says its name, when only one is there too."""
    panel = described(stat.Panel(), about, queries, size).unit(unit).thresholds(thresholds(steps))
    panel = (
        panel.graph_mode(shapes.BigValueGraphMode.NONE)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .mappings(words(mappings or {}, below))
    )
    if len(queries) > 1:
        panel = panel.text_mode(shapes.BigValueTextMode.VALUE_AND_NAME).text(named())
    return panel if decimals is None else panel.decimals(decimals)


def named() -> common.VizTextDisplayOptions:
    """Text for what has a name: in a low panel Grafana makes names too small to read."""
    return common.VizTextDisplayOptions().title_size(TEXT_PIXELS)


def count(about: About, expr: str, size: Size, *, steps: Steps = ()) -> stat.Panel:
    """How many there were in the time range."""
    query = now(expr, about.title.lower())
    return number(about, [query], "locale", size, steps=steps, decimals=0)


def failed_share(about: About, expr: str, size: Size) -> stat.Panel:
    """The share that failed in the time range."""
    query = now(expr, "failed")
    return number(about, [query], "percentunit", size, steps=FAILING, decimals=1)


def lines(
    about: About,
    queries: Sequence[prometheus.Dataquery],
    unit: str,
    size: Size,
    *,
    colours: Mapping[str, str] | None = None,
    steps: Steps = (),
    link: Link | None = None,
    floor: float | None = 0,
) -> timeseries.Panel:
    """Series over time, one line each, with the last and the highest value in the legend."""
    panel = described(timeseries.Panel(), about, queries, size).unit(unit)
    panel = panel if floor is None else panel.min(floor)
    panel = (
        panel.line_width(2)
        .fill_opacity(5)
        .show_points(shapes.VisibilityMode.AUTO)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
        .legend(_legend(size, "lastNotNull", "max"))
        .tooltip(_tooltip())
    )
    for name, fixed in (colours or {}).items():
        panel = panel.override_by_name(name, [colour(fixed)])
    if steps:
        style = common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds(thresholds(steps)).thresholds_style(style)
    return _linked(panel, link)


def line_each(
    about: About,
    expr: str,
    label: str,
    unit: str,
    size: Size,
    *,
    link: Link | None = None,
    steps: Steps = (),
    exemplar: bool = False,
) -> timeseries.Panel:
    """A line for every value of a label, in that value's colour where it has one."""
    query = drawn(expr, f"{{{{{label}}}}}", exemplar=exemplar)
    colours = BY_LABEL.get(label)
    return lines(about, [query], unit, size, colours=colours, link=link, steps=steps)


def counted_each(
    about: About, expr: str, label: str, size: Size, *, link: Link | None = None
) -> timeseries.Panel:
    """A whole number for every value of a label, which jumps and does not slope."""
    panel = line_each(about, expr, label, "none", size, link=link)
    return panel.line_interpolation(shapes.LineInterpolation.STEP_AFTER).decimals(0)


def stacked(
    about: About, expr: str, label: str, unit: str, size: Size, *, link: Link | None = None
) -> timeseries.Panel:
    """The parts of a whole over time by a label, one on the other."""
    panel = line_each(about, expr, label, unit, size, link=link)
    return (
        panel.stacking(_one_on_the_other())
        .line_width(1)
        .fill_opacity(70)
        .legend(_legend(size, "mean", "max"))
    )


def events(
    about: About,
    expr: str,
    legend: str,
    size: Size,
    *,
    colours: Mapping[str, str] | None = None,
) -> timeseries.Panel:
    """Whole numbers of events, a bar for each step; where nothing happens there is none."""
    panel = lines(about, [drawn(expr, legend)], "short", size, colours=colours)
    return (
        panel.draw_style(shapes.GraphDrawStyle.BARS)
        .stacking(_one_on_the_other())
        .interval(STEP)
        .line_width(1)
        .fill_opacity(70)
        .decimals(0)
        .legend(_legend(size, "sum", "max"))
    )


def latency(
    about: About, by_name: Mapping[str, str], unit: str, size: Size, *, exemplar: bool = False
) -> timeseries.Panel:
    """Quantiles and average of one histogram on one drawing."""
    queries = [
        drawn(expr, name, ref, exemplar=exemplar and name == "p99")
        for (name, expr), ref in zip(by_name.items(), "ABCD", strict=False)
    ]
    colours = {name: LATENCY[name] for name in by_name}
    return lines(about, queries, unit, size, colours=colours)


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
        described(heatmap.Panel(), about, [query], size)
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
    about: About, expr: str, legend: str, size: Size, link: Link | None = None
) -> statetimeline.Panel:
    """A state over time, one bar a series."""
    panel = (
        described(statetimeline.Panel(), about, [drawn(expr, legend)], size)
        .mappings(words(STATES))
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
        .thresholds(thresholds(()))
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
    fixed: str = "blue",
    decimals: int | None = None,
    link: Link | None = None,
) -> bargauge.Panel:
    """The highest few, as bars that are as high with one of them as with ten."""
    text = named().value_size(TEXT_PIXELS)
    panel = (
        described(bargauge.Panel(), about, [now(expr, legend)], size)
        .unit(unit)
        .min(0)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.FIXED).fixed_color(fixed))
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .value_mode(shapes.BarGaugeValueMode.TEXT)
        .name_placement(shapes.BarGaugeNamePlacement.TOP)
        .sizing(shapes.BarGaugeSizing.MANUAL)
        .min_viz_height(BAR_PIXELS)
        .max_viz_height(BAR_PIXELS)
        .text(text)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )
    panel = panel if decimals is None else panel.decimals(decimals)
    return _linked(panel, link)


def described(
    panel: Drawn, about: About, queries: Iterable[prometheus.Dataquery], size: Size
) -> Drawn:
    """What every panel has: its words, its queries and its size."""
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


def colour(name: str) -> model.DynamicConfigValue:
    """One colour, whatever the value."""
    return model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": name})


def stepped(steps: Steps) -> model.DynamicConfigValue:
    """Other colours by value for one of several series."""
    return model.DynamicConfigValue("thresholds", thresholds(steps).build())


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Colours by value; without steps that of the text."""
    found = [model.Threshold(None, "text")]
    if steps:
        found = [model.Threshold(value, name) for value, name in steps]
        found[0].value = None
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(found)


def words(by_value: Words, below: tuple[float, str, str] | None = None) -> list[model.ValueMapping]:
    """Words in the place of values, and one for all values up to a limit."""
    found: list[model.ValueMapping] = []
    if by_value:
        options = {
            value: _word(*said, place) for place, (value, said) in enumerate(by_value.items())
        }
        found.append(model.ValueMap(options=options))
    if below:
        limit, text, name = below
        result = _word(text, name, len(by_value))
        found.append(
            model.RangeMap(options=model.DashboardRangeMapOptions(to=limit, result=result))
        )
    return found


def _word(text: str, name: str, place: int) -> model.ValueMappingResult:
    return model.ValueMappingResult(text=text, color=name, index=place)


def _linked(panel: Drawn, link: Link | None) -> Drawn:
    if not link:
        return panel
    return panel.override_by_field_type("number", [model.DynamicConfigValue("links", [link])])


def _one_on_the_other() -> common.StackingConfig:
    return common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A")


def _legend(size: Size, *calcs: str) -> common.VizLegendOptions:
    """A table beside a wide drawing; below a narrow one it would hide most of its own rows."""
    legend = common.VizLegendOptions().show_legend(True)
    if size[0] < WIDE:
        return (
            legend.display_mode(shapes.LegendDisplayMode.LIST)
            .placement(shapes.LegendPlacement.BOTTOM)
            .calcs([])
        )
    return (
        legend.display_mode(shapes.LegendDisplayMode.TABLE)
        .placement(shapes.LegendPlacement.RIGHT)
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

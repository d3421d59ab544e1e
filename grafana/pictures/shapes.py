"""How each type of panel is drawn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from grafana.asking import Prometheus, Series, Window
from grafana.pictures.answers import Named, Row, named, table
from grafana.pictures.canvas import FONT, Box, Page
from grafana.pictures.colours import FAINT, PANEL, TEXT, at, colour, shade
from grafana.pictures.words import worded

Json = dict[str, Any]

BESIDE, BELOW = 0.36, 0.35
"""The share of a drawing's width or height that its legend takes."""

_DAY = 86400.0
_PACES = (60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0, _DAY, 5 * _DAY)
_BLUES = LinearSegmentedColormap.from_list("blues", [PANEL, "#1f60c4", "#8ab8ff", "#e8f1ff"])


def draw(page: Page, panel: Json, prometheus: Prometheus, window: Window) -> None:
    """Draw one panel with what Prometheus answers to its queries."""
    box = page.panel(panel)
    if panel["type"] == "table":
        found: Sequence[Any] = table(panel, prometheus, window)
    else:
        found = named(panel, prometheus, window)
    if found:
        _SHAPES[panel["type"]](page, box, panel, found, window)
    else:
        page.empty(box, panel["fieldConfig"]["defaults"]["noValue"])


def _stat(page: Page, box: Box, panel: Json, found: list[Named], window: Window) -> None:
    width = box.width / len(found)
    for place, each in enumerate(found):
        text, tint = _word(each.series.last, panel["fieldConfig"]["defaults"], window.end)
        x = box.x + (place + 0.5) * width
        size = min(22.0, width / max(4, len(text)) * 1.05, box.height / 3)
        page.text(x, box.y + box.height * 0.42, text, size=size, color=tint, ha="center")
        if len(found) > 1:
            page.text(x, box.y + box.height * 0.86, each.name, color=FAINT, ha="center")


def _timeseries(page: Page, box: Box, panel: Json, found: list[Named], window: Window) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    drawing, legend = _halves(panel, box)
    axes = _over_time(page, drawing.inside(54, 4, 12, 18), window)
    tints = _tints(panel, found)
    if defaults["custom"].get("stacking", {}).get("mode") == "normal":
        _stack(axes, found, tints)
    else:
        for each, tint in zip(found, tints, strict=True):
            _line(axes, each.series, tint, window)
    if defaults.get("min") == 0:
        axes.set_ylim(bottom=0)
    _thresholds(axes, defaults)
    _unit(axes, defaults, window)
    _values(page, legend, panel, list(zip(found, tints, strict=True)), window)


def _halves(panel: Json, box: Box) -> tuple[Box, Box]:
    if panel["options"]["legend"]["placement"] == "right":
        split = box.width * (1 - BESIDE)
        return box.inside(0, 0, box.width - split, 0), box.inside(split, 0, 0, 0)
    split = box.height * (1 - BELOW)
    return box.inside(0, 0, 0, box.height - split), box.inside(10, split, 0, 0)


def _statetimeline(page: Page, box: Box, panel: Json, found: list[Named], window: Window) -> None:
    axes = _over_time(page, box.inside(64, 4, 8, 18), window)
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    for place, each in enumerate(reversed(found)):
        spans = [(moment, window.step) for moment, _ in each.series.points]
        tints = [colour(options[f"{value:.0f}"]["color"]) for _, value in each.series.points]
        axes.broken_barh(spans, (place - 0.375, 0.75), facecolors=tints, linewidth=0)
    axes.set_yticks(range(len(found)), [each.name for each in reversed(found)])
    axes.grid(visible=False)


def _heatmap(page: Page, box: Box, panel: Json, found: list[Named], window: Window) -> None:
    ordered = sorted(found, key=lambda each: float(each.series.labels["le"]))
    times = sorted({moment for each in found for moment, _ in each.series.points})
    below = np.zeros(len(times))
    rows = []
    for each in ordered:
        known = dict(each.series.points)
        reached = np.array([known.get(moment, math.nan) for moment in times])
        rows.append(np.maximum(np.nan_to_num(reached) - below, 0))
        below = np.nan_to_num(reached)
    axes = _over_time(page, box.inside(54, 4, 8, 18), window)
    edges = [*times, times[-1] + window.step]
    bounds = range(len(ordered) + 1)
    highest = max(1e-9, float(np.max(rows)))
    norm = PowerNorm(0.5, vmin=0, vmax=highest)
    axes.pcolormesh(edges, list(bounds), np.array(rows), cmap=_BLUES, norm=norm)
    unit = panel["options"]["yAxis"]["unit"]
    labels = [worded(float(each.series.labels["le"]), unit, 0) for each in ordered]
    axes.set_yticks(list(bounds)[1::2], labels[::2])


def _bargauge(page: Page, box: Box, panel: Json, found: list[Named], window: Window) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    axes = page.axes(box.inside(4, 2, 4, 2))
    ordered = sorted(found, key=lambda each: each.series.last)
    tint = colour(defaults["color"]["fixedColor"])
    values = [each.series.last for each in ordered]
    axes.barh(range(len(ordered)), values, height=0.62, color=tint, alpha=0.55)
    axes.set_xlim(0, max(*values, 1e-9) * 1.02)
    axes.set_ylim(-0.6, max(5, len(ordered)) - 0.4)
    axes.axis("off")
    for place, each in enumerate(ordered):
        text, _ = _word(each.series.last, defaults, window.end)
        axes.text(0, place, f" {each.name}", va="center", size=FONT, color=TEXT)
        axes.text(axes.get_xlim()[1], place, text, va="center", ha="right", size=FONT, color=TEXT)


def _table(page: Page, box: Box, panel: Json, found: list[Row], window: Window) -> None:
    columns = _columns(panel)
    widths = _widths(columns, box.width)
    x = box.x + 4
    ordered = _sorted(panel, found)
    for column, width in zip(columns, widths, strict=True):
        page.text(x, box.y + 8, column["title"], color="#6e9fff", weight="bold")
        for place, row in enumerate(ordered):
            y = box.y + 32 + place * 24
            if y > box.y + box.height - 4:
                break
            _cell(page, Box(x, y, width, 20), column, row, window)
        x += width


def _cell(page: Page, box: Box, column: Json, row: Row, window: Window) -> None:
    trend = row.trends.get(column["source"])
    if trend:
        _sparkline(page, box, column, trend, window)
        return
    value = row.cells.get(column["source"], "")
    if isinstance(value, str) and not column.get("mappings"):
        page.text(box.x, box.y, value)
        return
    text, tint = _word(value, column, window.end)
    page.text(box.x, box.y, text, color=tint)


def _sparkline(page: Page, box: Box, column: Json, trend: Series, window: Window) -> None:
    text, _ = _word(trend.last, column, window.end)
    page.text(box.x, box.y, text)
    room = Box(box.x + 74, box.y - 9, max(10, box.width - 90), 18)
    axes = page.axes(room)
    axes.axis("off")
    tint = colour(column["color"]["fixedColor"])
    times, values = zip(*trend.points, strict=True)
    axes.plot(times, values, color=tint, linewidth=1)
    axes.fill_between(times, values, color=tint, alpha=0.2)
    axes.set_xlim(window.start, window.end)
    axes.set_ylim(0, max(*values, 1e-9) * 1.1)


def _columns(panel: Json) -> list[Json]:
    options = panel["transformations"][-1]["options"]
    fields = {o["matcher"]["options"]: o["properties"] for o in panel["fieldConfig"]["overrides"]}
    found = []
    for source in sorted(options["indexByName"], key=options["indexByName"].get):
        title = options["renameByName"][source]
        properties = {each["id"]: each["value"] for each in fields[title]}
        found.append({"source": source, "title": title, **properties})
    return found


def _widths(columns: Sequence[Json], room: float) -> list[float]:
    fixed = [column.get("custom.width", 0) for column in columns]
    free = (room - 8 - sum(fixed)) / max(1, fixed.count(0))
    return [width or free for width in fixed]


def _sorted(panel: Json, found: list[Row]) -> list[Row]:
    order = panel["options"].get("sortBy")
    if not order:
        return found
    titles = {column["title"]: column["source"] for column in _columns(panel)}
    source = titles[order[0]["displayName"]]

    def rank(row: Row) -> float:
        value = row.cells.get(source, -math.inf)
        return value if isinstance(value, float) else -math.inf

    return sorted(found, key=rank, reverse=order[0]["desc"])


def _word(value: str | float, config: Json, now: float) -> tuple[str, str]:
    key = f"{value:.0f}" if isinstance(value, float) else value
    for mapping in config.get("mappings", []):
        if key in mapping["options"]:
            word = mapping["options"][key]
            return word["text"], colour(word["color"])
    if isinstance(value, str):
        return value, TEXT
    tint = at(value, config.get("thresholds", {}))
    return worded(value, config.get("unit", "none"), now, config.get("decimals")), tint


def _over_time(page: Page, box: Box, window: Window) -> Axes:
    axes = page.axes(box)
    axes.set_xlim(window.start, window.end)
    pace = next((pace for pace in _PACES if (window.end - window.start) / pace <= 6), _PACES[-1])
    axes.xaxis.set_major_locator(MultipleLocator(pace))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _clock(x, pace)))
    return axes


def _line(axes: Axes, series: Series, tint: str, window: Window) -> None:
    points: list[tuple[float, float]] = []
    for moment, value in series.points:
        if points and moment - points[-1][0] > 1.5 * window.step:
            points.append((points[-1][0] + window.step, math.nan))
        points.append((moment, value))
    axes.plot(*zip(*points, strict=True), color=tint, linewidth=1.4)


def _stack(axes: Axes, found: list[Named], tints: list[str]) -> None:
    times = sorted({moment for each in found for moment, _ in each.series.points})
    known = [dict(each.series.points) for each in found]
    heights = [[np.nan_to_num(points.get(moment, 0.0)) for moment in times] for points in known]
    axes.stackplot(times, heights, colors=tints, alpha=0.8)


def _thresholds(axes: Axes, defaults: Json) -> None:
    steps = defaults.get("thresholds", {}).get("steps", [])
    for step in steps[1:] if defaults["custom"].get("thresholdsStyle") else []:
        if step["value"] <= axes.get_ylim()[1]:
            axes.axhline(step["value"], color=colour(step["color"]), linestyle="--", linewidth=1)


def _unit(axes: Axes, defaults: Json, window: Window) -> None:
    unit = defaults.get("unit", "none")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: worded(y, unit, window.end)))


def _tints(panel: Json, found: list[Named]) -> list[str]:
    fixed = {}
    for override in panel["fieldConfig"]["overrides"]:
        for each in override["properties"]:
            if each["id"] == "color":
                fixed[override["matcher"]["options"]] = colour(each["value"]["fixedColor"])
    return [fixed.get(each.name, shade(place)) for place, each in enumerate(found)]


def _values(
    page: Page, box: Box, panel: Json, found: list[tuple[Named, str]], window: Window
) -> None:
    unit = panel["fieldConfig"]["defaults"].get("unit", "none")
    calcs = panel["options"]["legend"]["calcs"]
    for place, calc in enumerate(reversed(calcs)):
        title = _CALCS[calc][0]
        page.text(box.x + box.width - place * 66, box.y + 8, title, ha="right", color=FAINT)
    lines = []
    for each, tint in found:
        values = [value for _, value in each.series.points if not math.isnan(value)] or [math.nan]
        words = [worded(_CALCS[calc][1](values), unit, window.end) for calc in calcs]
        lines.append((max(values), (tint, each.name, words)))
    lines.sort(key=lambda line: -line[0])
    page.legend(box, [line for _, line in lines])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _last(values: Sequence[float]) -> float:
    return values[-1]


def _clock(moment: float, pace: float) -> str:
    return time.strftime("%m-%d" if pace >= _DAY else "%H:%M", time.localtime(moment))


_CALCS: dict[str, tuple[str, Callable[[Sequence[float]], float]]] = {
    "lastNotNull": ("Last", _last),
    "mean": ("Mean", _mean),
    "max": ("Max", max),
}
_SHAPES: dict[str, Callable[..., None]] = {
    "stat": _stat,
    "timeseries": _timeseries,
    "state-timeline": _statetimeline,
    "heatmap": _heatmap,
    "bargauge": _bargauge,
    "table": _table,
}

"""Draws how the cost grows, one plot for each thing that it grows with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.scenarios.slopes import Slope

LABELS = {
    "tools": "tools of the server, all called in turn",
    "servers": "servers, all probed, one of them called",
    "sessions": "sessions, each with a call in flight",
    "size": "characters of the result",
}


def draw(slopes: Mapping[str, Slope], folder: Path) -> None:
    """Write one picture for each slope."""
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same rows give the same file
    mpl.rcParams["svg.fonttype"] = "none"
    for name, slope in slopes.items():
        figure = plot(LABELS[name], slope)
        figure.savefig(folder / f"cost-{name}.svg", metadata={"Date": None})


def plot(label: str, slope: Slope) -> Figure:
    """Processor time of a call, and memory, over the points."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.plot(slope.points, [1e6 * each for each in slope.cpu], "o-", color="#1f60c4")
    if max(slope.cpu) > 5 * min(slope.cpu):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(label)
    axes.set_ylabel("CPU a call, µs", color="#1f60c4")
    axes.grid(visible=True, alpha=0.3)
    axes.set_xticks(slope.points, [f"{point:,.0f}" for point in slope.points])
    axes.minorticks_off()
    beside = axes.twinx()
    beside.plot(slope.points, slope.memory, "s--", color="#b8860b", alpha=0.8)
    beside.set_ylim(bottom=0)
    beside.set_ylabel("memory, MiB", color="#b8860b")
    return figure

"""The page: a figure with Grafana's grid, and what every panel on it has."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageOps

from grafana.pictures.colours import BORDER, FAINT, PAGE, PANEL, TEXT

Json = dict[str, Any]

DPI = 100
WIDTH = 1440
ROW = 38
COLUMN = WIDTH / 24
HEADER = 56
GAP = 8
TITLE = 30
FONT = 8.0
BITS = 5


@dataclass(frozen=True)
class Box:
    """A place on the page in pixels, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def inside(self, left: float, top: float, right: float, bottom: float) -> Box:
        """The box within margins."""
        width, height = self.width - left - right, self.height - top - bottom
        return Box(self.x + left, self.y + top, width, height)


class Page:
    """A figure that is as high as the dashboard."""

    def __init__(self, board: Json) -> None:
        panels = board["panels"]
        rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        self.height = HEADER + rows * ROW + GAP
        size = (WIDTH / DPI, self.height / DPI)
        self.figure = Figure(figsize=size, dpi=DPI, facecolor=PAGE)
        self.text(16, HEADER / 2, board["title"], size=14, weight="bold")
        self.text(WIDTH - 16, HEADER / 2, board["description"], size=9, color=FAINT, ha="right")

    def panel(self, panel: Json) -> Box:
        """Frame a panel, write its title, and return the room inside."""
        box = self._place(panel)
        self._frame(box)
        self.text(box.x + 10, box.y + 15, panel["title"], weight="bold")
        return box.inside(8, TITLE, 8, 8)

    def heading(self, panel: Json) -> None:
        """Write the heading of a row."""
        box = self._place(panel)
        self.text(box.x + 4, box.y + box.height / 2, f"▾ {panel['title']}", size=10, weight="bold")

    def text(self, x: float, y: float, words: str, **style: Any) -> None:
        """Write at a place in pixels."""
        usual = {"size": FONT, "color": TEXT, "ha": "left", "va": "center"}
        where = (x / WIDTH, 1 - y / self.height)
        self.figure.text(*where, words.replace("$", r"\$"), **{**usual, **style})

    def axes(self, box: Box) -> Axes:
        """Axes in a place, in the colours of the page."""
        bottom = 1 - (box.y + box.height) / self.height
        place = (box.x / WIDTH, bottom, box.width / WIDTH, box.height / self.height)
        axes = self.figure.add_axes(place, facecolor=PANEL)
        axes.tick_params(colors=FAINT, labelsize=7, length=0)
        axes.grid(color=BORDER, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[:].set_visible(False)
        return axes

    def empty(self, box: Box, text: str) -> None:
        """Say that there is nothing to draw."""
        lines = "\n".join(textwrap.wrap(text, 30))
        centre = (box.x + box.width / 2, box.y + box.height / 2)
        self.text(*centre, lines, size=10, color=FAINT, ha="center")

    def legend(self, box: Box, lines: Iterable[tuple[str, str, list[str]]]) -> None:
        """A table of series: colour, name, and a few values, as many as there is room for."""
        right = box.x + box.width
        for place, (colour, name, values) in enumerate(lines):
            y = box.y + 24 + place * 15
            if y > box.y + box.height - 2:
                break
            self.text(box.x, y, "━", color=colour)
            self.text(box.x + 14, y, _short(name, box.width - 146))
            for column, value in enumerate(reversed(values)):
                self.text(right - column * 66, y, value, ha="right", size=7)

    def save(self, path: Path) -> None:
        """Write the page as a picture; fewer shades of each colour keep the file small."""
        drawn = BytesIO()
        self.figure.savefig(drawn, dpi=DPI)
        page = Image.open(drawn).convert("RGB")
        ImageOps.posterize(page, BITS).save(path, optimize=True)

    def _place(self, panel: Json) -> Box:
        grid = panel["gridPos"]
        return Box(
            grid["x"] * COLUMN + GAP / 2,
            HEADER + grid["y"] * ROW,
            grid["w"] * COLUMN - GAP,
            grid["h"] * ROW - GAP,
        )

    def _frame(self, box: Box) -> None:
        corner = (box.x / WIDTH, 1 - (box.y + box.height) / self.height)
        size = (box.width / WIDTH, box.height / self.height)
        frame = Rectangle(
            corner, *size, facecolor=PANEL, edgecolor=BORDER, linewidth=0.8, zorder=-1
        )
        self.figure.add_artist(frame)


def _short(text: str, pixels: float) -> str:
    room = max(4, int(pixels / 5.2))
    return text if len(text) <= room else f"{text[: room - 1]}…"

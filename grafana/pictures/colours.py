"""The colours of Grafana's dark theme, by the names that dashboards use."""

from __future__ import annotations

from typing import Any

PAGE, PANEL, BORDER = "#111217", "#181b1f", "#2c3235"
TEXT, FAINT = "#d8d9da", "#8e8e8e"

_NAMED = {
    "text": TEXT,
    "green": "#73bf69",
    "yellow": "#fade2a",
    "orange": "#ff9830",
    "red": "#f2495c",
    "light-red": "#ff7383",
    "dark-red": "#c4162a",
    "blue": "#5794f2",
    "purple": "#b877d9",
    "dark-green": "#37872d",
    "light-yellow": "#ffee52",
    "light-purple": "#ca95e5",
    "dark-purple": "#8f3bb8",
}
_SHADES = ("#5794f2", "#8ab8ff", "#1f60c4", "#c0d8ff", "#3274d9", "#a3c4ff", "#2b6ad0", "#73a5f7")


def colour(name: str) -> str:
    """A colour that can be drawn with."""
    return _NAMED.get(name, name)


def shade(place: int) -> str:
    """The colour of a series that has none of its own."""
    return _SHADES[place % len(_SHADES)]


def at(value: float, thresholds: dict[str, Any]) -> str:
    """The colour of the highest threshold that a value has reached."""
    reached = TEXT
    for step in thresholds.get("steps", []):
        if step["value"] is None or value >= step["value"]:
            reached = colour(step["color"])
    return reached

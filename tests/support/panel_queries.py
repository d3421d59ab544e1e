"""Asks Prometheus what a dashboard asks, with values in the place of Grafana's variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

ALL = ".+"
"""What ``All`` stands for in every variable of the dashboards."""

CHOSEN = ("job", "instance", "server", "tool")
"""The variables that a person chooses."""

SECONDS_TO_ANSWER = 30

# ``$1`` is PromQL's own.
_VARIABLE = re.compile(r"\$([a-z_]\w*)")
_SPECIAL = re.compile(r"[$^*{}\[\]'+?.()|]")


@dataclass(frozen=True)
class Window:
    """A time range in Unix seconds, the seconds between two scrapes, and the shortest step."""

    start: float
    end: float
    scrape: float = 15
    points: int = 300
    least: float = 0

    @property
    def step(self) -> float:
        """Seconds between two points of a drawing."""
        return max(self.scrape, self.least, (self.end - self.start) / self.points)

    def values(self) -> dict[str, str]:
        """Grafana's own variables."""
        return {
            "__interval": _span(self.step),
            "__interval_ms": str(round(self.step * 1000)),
            "__rate_interval": _span(max(self.step + self.scrape, 4 * self.scrape)),
            "__range": _span(self.end - self.start),
            "__from": str(round(self.start * 1000)),
            "__to": str(round(self.end * 1000)),
        }


@dataclass(frozen=True)
class Series:
    """One series of an answer; each point is a Unix time and a value."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]

    @property
    def last(self) -> float:
        """The newest value."""
        return self.points[-1][1]


class Prometheus:
    """The query API of one Prometheus; every call raises requests.RequestException if it fails."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # it is asked directly, whatever proxy there is

    def now(self, expr: str, time: float) -> list[Series]:
        """The answer at one moment."""
        found = self._ask("query", {"query": expr, "time": f"{time:.3f}"})
        return [_series(each["metric"], [each["value"]]) for each in found["result"]]

    def over(self, expr: str, window: Window) -> list[Series]:
        """The answer over time."""
        span = {"start": f"{window.start:.3f}", "end": f"{window.end:.3f}", "step": window.step}
        found = self._ask("query_range", {"query": expr, **span})
        return [_series(each["metric"], each["values"]) for each in found["result"]]

    def values(self, label: str, selector: str | None) -> list[str]:
        """The values of a label, of the series selected or of all."""
        found: list[str] = self._ask(f"label/{label}/values", {"match[]": selector})
        return found

    def exemplars(self, expr: str, window: Window) -> list[dict[str, Any]]:
        """The exemplars of the series that a query reads."""
        span = {"start": window.start, "end": window.end}
        found: list[dict[str, Any]] = self._ask("query_exemplars", {"query": expr, **span})
        return found

    def _ask(self, path: str, parameters: Mapping[str, Any]) -> Any:
        address = f"{self._url}/api/v1/{path}"
        reply = self._session.get(address, params=parameters, timeout=SECONDS_TO_ANSWER)
        if not reply.ok:
            reason = reply.json().get("error", reply.reason)
            raise requests.HTTPError(f"{parameters.get('query', path)}: {reason}", response=reply)
        return reply.json()["data"]


def escaped(value: str) -> str:
    """A single chosen value, as Grafana writes it into a regular expression within PromQL."""
    return _SPECIAL.sub(r"\\\\\g<0>", value.replace("\\", "\\\\\\\\"))


def interpolated(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced; a KeyError names one that nobody sets."""
    return _VARIABLE.sub(lambda match: values[match[1]], text)


def _span(seconds: float) -> str:
    return f"{max(1, round(seconds))}s"


def _series(labels: Mapping[str, str], points: list[list[Any]]) -> Series:
    return Series(labels, tuple((float(time), float(value)) for time, value in points))

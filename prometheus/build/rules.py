"""What a rule file is made of, and how it is written down."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from prometheus.build.settings import Settings

HEADER = "# Generated from objectives.yml by `python -m prometheus.build`; do not edit.\n"
PLACEHOLDER = re.compile(r"<([a-z_]+)>")
COMMON = frozenset({"job", "identity"})
"""Placeholders that every rule may have; an alert's own thresholds are the others."""


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule; ``name`` reads ``level:metric:operation``."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, settings: Settings) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.name, "expr": _expression(self.expr, settings, {}), **labels}


@dataclass(frozen=True, slots=True)
class Link:
    """A dashboard, and the labels of the alert that choose its variables."""

    uid: str
    labels: str = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert rule. ``hold`` is Prometheus' ``for``: empty fires at once. ``keep`` is its
    ``keep_firing_for``: how long the trouble must be over.

    ``scope`` says what is in trouble (``exporter``, ``server``, ``tool``, ``monitoring``) and is
    what inhibition goes by. ``summary`` is a headline that does not change while it fires;
    ``value`` is the template of the value that notifications show.
    """

    name: str
    severity: str
    scope: str
    expr: str
    summary: str
    description: str
    value: str
    link: Link
    hold: str = ""
    keep: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Where its thresholds are in objectives.yml: ``server_down`` for ``MCPServerDown``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.name.removeprefix("MCP")).lower()

    @property
    def thresholds(self) -> set[str]:
        """The numbers of objectives.yml that it names."""
        texts = [getattr(self, each.name) for each in fields(self)]
        named = {name for text in texts for name in PLACEHOLDER.findall(str(text))}
        return named - COMMON

    def document(self, settings: Settings) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        limits = settings.alerts.get(self.key, {})
        text = {"job": settings.job, **limits}
        hold = {"for": _fill(self.hold, text)} if self.hold else {}
        keep = {"keep_firing_for": _fill(self.keep, text)} if self.keep else {}
        labels = {"severity": self.severity, "scope": self.scope, **self.labels}
        expr = _expression(self.expr, settings, limits)
        return {"alert": self.name, "expr": expr, **hold, **keep, "labels": labels} | {
            "annotations": {
                "summary": _fill(self.summary, text),
                "description": _fill(self.description, text),
                "value": _fill(self.value, text),
                "runbook_url": f"{settings.runbook}#{self.name.lower()}",
                "dashboard_url": self._dashboard(settings),
            }
        }

    def _dashboard(self, settings: Settings) -> str:
        """``urlquery`` is Go's own, as old as templates: names are anyone's to choose."""
        labels = re.findall(r"\w+", _fill(self.link.labels, _names(settings)))
        chosen = [f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in labels]
        return f"{settings.grafana}/d/{self.link.uid}" + ("?" + "&".join(chosen) if chosen else "")


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, so that later ones see earlier ones."""

    name: str
    rules: Sequence[Record | Alert]
    interval: str = ""

    def document(self, settings: Settings) -> dict[str, Any]:
        """The group as Prometheus reads it."""
        interval = {"interval": self.interval} if self.interval else {}
        rules = [rule.document(settings) for rule in self.rules]
        return {"name": self.name, **interval, "rules": rules}


def render(groups: Iterable[Group], settings: Settings) -> str:
    """A rule file's text."""
    document = {"groups": [group.document(settings) for group in groups]}
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000)


def _expression(expr: str, settings: Settings, limits: Mapping[str, Any]) -> str:
    job = settings.job.replace("\\", "\\\\").replace('"', '\\"')
    return _fill(expr, {**_names(settings), "job": job, **limits})


def _names(settings: Settings) -> dict[str, str]:
    return {"identity": ", ".join(settings.identity)}


def _fill(text: str, values: Mapping[str, Any]) -> str:
    return PLACEHOLDER.sub(lambda found: str(values[found[1]]), text)


class _Dumper(yaml.SafeDumper):
    """Writes an expression of several lines as a block, as a person would."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)

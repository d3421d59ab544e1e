"""What a rule file is made of, and how it is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

HEADER = "# Generated from objectives.yml by `python -m prometheus.build`; do not edit.\n"


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule; ``name`` reads ``level:metric:operation``."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.name, "expr": self.expr, **labels}


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert rule. ``hold`` is Prometheus' ``for``: empty fires at once. ``keep`` is its
    ``keep_firing_for``: how long the trouble must be over.

    ``scope`` says what is in trouble (``exporter``, ``server``, ``tool``, ``monitoring``) and is
    what inhibition goes by. ``value`` is the template of the value that notifications show.
    """

    name: str
    severity: str
    scope: str
    expr: str
    summary: str
    description: str
    value: str
    dashboard: str
    runbook: str
    hold: str = ""
    keep: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        hold = {"for": self.hold} if self.hold else {}
        keep = {"keep_firing_for": self.keep} if self.keep else {}
        labels = {"severity": self.severity, "scope": self.scope, **self.labels}
        return {"alert": self.name, "expr": self.expr, **hold, **keep, "labels": labels} | {
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "value": self.value,
                "runbook_url": self.runbook,
                "dashboard_url": self.dashboard,
            }
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, so that later ones see earlier ones."""

    name: str
    rules: Sequence[Record | Alert]
    interval: str = ""

    def document(self) -> dict[str, Any]:
        """The group as Prometheus reads it."""
        interval = {"interval": self.interval} if self.interval else {}
        return {"name": self.name, **interval, "rules": [rule.document() for rule in self.rules]}


class _Dumper(yaml.SafeDumper):
    """Writes an expression of several lines as a block, as a person would."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def render(groups: Sequence[Group]) -> str:
    """A rule file's text."""
    document = {"groups": [group.document() for group in groups]}
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=10_000)

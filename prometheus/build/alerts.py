"""What every alert is made with: links, and the thresholds of its own in objectives.yml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus.build import link
from prometheus.build.rule import Alert
from prometheus.build.settings import Settings

LINKED = {
    "server": ("mcp-servers", ("job", "instance", "server")),
    "tool": ("mcp-tools", ("job", "instance", "server", "tool")),
    "exporter": ("mcp-exporter", ("job", "instance")),
}


@dataclass(frozen=True, slots=True)
class Text:
    """What a person reads. ``summary`` is a headline that does not change while it fires."""

    summary: str
    description: str
    value: str


def alert(
    settings: Settings,
    name: str,
    severity: str,
    scope: str,
    expr: str,
    text: Text,
    *,
    hold: str = "",
    keep: str = "",
    linked: tuple[str, tuple[str, ...]] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Alert:
    """An alert with both its links; ``linked`` names another dashboard than its scope's."""
    uid, variables = linked or LINKED[scope]
    return Alert(
        name=name,
        severity=severity,
        scope=scope,
        expr=expr,
        hold=hold,
        keep=keep,
        summary=text.summary,
        description=text.description,
        value=text.value,
        dashboard=link.dashboard(settings, uid, *variables),
        runbook=link.runbook(settings, name),
        labels=labels or {},
    )


def thresholds(settings: Settings, name: str) -> Mapping[str, Any]:
    """The numbers of one alert."""
    return settings.alerts[name]

"""Writes docs/metrics.md from the exporter's own registry: ``python -m scripts.metric_docs``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry

from exporter.telemetry.metrics import Metrics
from exporter.telemetry.process_usage import ProcessUsage
from exporter.telemetry.series import Family

PATH = Path(__file__).parent.parent / "docs" / "metrics.md"

INTRODUCTION = Path(__file__).with_name("metrics_introduction.md")

SECTIONS = (
    ("Traffic", ("mcp_",)),
    ("Servers", ("mcp_server_", "mcp_probe")),
    ("The exporter", ("mcp_exporter_",)),
)
TRAFFIC = ("mcp_server_requests",)
"""Families that are traffic, whatever their prefix says."""


Row = tuple[str, str, tuple[str, ...], str]
"""Name as queries write it, type, labels, meaning."""


def render() -> str:
    """The whole page."""
    rows = documented()
    parts = [INTRODUCTION.read_text()]
    for title, _ in SECTIONS:
        parts.append(f"## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|")
        parts.append("\n".join(_line(row) for row in rows if _section(row[0]) == title) + "\n")
    return "\n".join(parts)


def documented() -> list[Row]:
    """Every family that the exporter's code defines, in the order of its definition."""
    registry = CollectorRegistry()
    Metrics(registry, clock=lambda: 0.0).collect_runtime("", "")
    rows: list[Row] = []
    for collector in registry._collector_to_names:
        if isinstance(collector, Family):
            rows.append(
                _row(collector.name, collector.kind, collector.label_names, collector.documentation)
            )
        elif isinstance(collector, ProcessUsage):
            rows += [
                _row(f.name, f.type, f._labelnames, f.documentation) for f in collector.describe()
            ]
    return rows


def _row(name: str, kind: str, labels: Sequence[str], text: str) -> Row:
    return name + ("_total" if kind == "counter" else ""), kind, tuple(labels), text


def _section(name: str) -> str:
    if name.startswith(TRAFFIC):
        return "Traffic"
    return max(SECTIONS, key=lambda section: _longest(name, section[1]))[0]


def _longest(name: str, prefixes: Iterable[str]) -> int:
    return max((len(prefix) for prefix in prefixes if name.startswith(prefix)), default=0)


def _line(row: Row) -> str:
    name, kind, labels, text = row
    return f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {text} |"


if __name__ == "__main__":
    PATH.write_text(render())
    sys.stdout.write(f"wrote {PATH.name}\n")

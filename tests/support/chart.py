"""Renders the Helm chart and reads what came out, without a cluster; writes the golden files.

``python -m tests.support.chart`` renews them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

from tests.support.paths import ROOT, TESTDATA

CHART = ROOT / "deploy" / "helm" / "mcp-exporter"
KUBERNETES = ROOT / "deploy" / "kubernetes"
GOLDEN = TESTDATA / "chart"
CASES = {
    **{path.stem.removesuffix("-values"): path for path in sorted((CHART / "ci").glob("*.yaml"))},
    "gateway": KUBERNETES / "gateway.yaml",
    "stdio": KUBERNETES / "stdio" / "values.yaml",
}
"""Values that the chart is rendered with, its examples among them."""
_COPIES = {"rules.yaml", "dashboards.yaml"}
"""Templates of what is elsewhere in the repository already; no golden file repeats it."""

Document = dict[str, Any]


def values(case: str) -> Document:
    """What a file of values says."""
    read: Document = yaml.safe_load(CASES[case].read_text())
    return read


def render(given: Mapping[str, Any], source: Path = CHART) -> dict[str, str]:
    """Template to text, of the folder or of a packed chart. Raises ``HelmError``."""
    with Chart.load(source) as chart:
        rendered = chart.render(dict(given), name="mine", namespace="team-a")
    return {Path(path).name: text for path, text in rendered.items()}


def documents(rendered: Mapping[str, str]) -> list[Document]:
    """Every object in it."""
    texts = (text for name, text in rendered.items() if name != "NOTES.txt")
    return [each for text in texts for each in yaml.safe_load_all(text) if each]


def of_kind(kind: str, found: Iterable[Document]) -> list[Document]:
    """Those of one kind."""
    return [each for each in found if each["kind"] == kind]


def golden(rendered: Mapping[str, str]) -> str:
    """What an upgrade would change, in the order of the templates, without empty lines."""
    parts = []
    for name in sorted(rendered.keys() - _COPIES):
        lines = [line.rstrip() for line in rendered[name].splitlines() if line.strip()]
        if lines and lines != ["---"]:
            parts.append("\n".join([f"# {name}", *lines, ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"{case}.txt").write_text(golden(render(values(case))))

"""The version is one and the same wherever it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from exporter import __version__
from tests.support import chart
from tests.support.documents import DOCUMENTS
from tests.support.paths import ROOT

RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) - \d{4}-\d{2}-\d{2}$", re.MULTILINE)
IMAGE = re.compile(r"mcp-exporter:(\d[\w.-]*)")
EXAMPLES = sorted((ROOT / "deploy" / "kubernetes").rglob("*.yaml"))


def test_of_the_chart() -> None:
    read = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())
    assert read["version"] == read["appVersion"] == __version__


def test_of_the_newest_release_in_the_changelog() -> None:
    assert RELEASE.findall((ROOT / "CHANGELOG.md").read_text())[0] == __version__


@pytest.mark.parametrize(
    "path",
    [path for path in [*DOCUMENTS, *EXAMPLES] if IMAGE.search(path.read_text())],
    ids=lambda path: path.name,
)
def test_of_every_image_that_is_named(path: Path) -> None:
    found = IMAGE.findall(path.read_text())
    assert set(found) == {__version__}

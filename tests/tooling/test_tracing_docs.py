"""Every configuration in docs/tracing.md is one: of the exporter, or of a collector."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.load import load_config
from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "tracing.md").read_text()
BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", TEXT, re.M | re.S)
]
OURS = [block for block in BLOCKS if "receivers" not in block]
COLLECTORS = [block for block in BLOCKS if "receivers" in block]


@pytest.mark.parametrize("block", OURS, ids=range(len(OURS)))
def test_what_is_shown_of_the_exporter_is_accepted(block: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "exporter.yml"
    servers = {"mcpServers": {"files": {"command": "files"}}}
    file.write_text(yaml.safe_dump({**servers, **block}))
    assert load_config(file, {"OTLP_TOKEN": "secret"}).tracing is not None


@pytest.mark.parametrize("block", COLLECTORS, ids=range(len(COLLECTORS)))
def test_a_collector_s_pipelines_have_all_that_they_name(block: dict[str, Any]) -> None:
    for pipeline in block["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            named = pipeline.get(part, [])
            assert set(named) <= set(block.get(part) or {}), part
        assert pipeline["receivers"]
        assert pipeline["exporters"]


def test_a_collector_takes_spans_where_the_exporter_sends_them() -> None:
    (collector,) = COLLECTORS
    taken = collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert OURS[0] == {"tracing": {"endpoint": f"http://{taken}"}}


def test_every_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert pictures
    assert all((ROOT / "docs" / picture).is_file() for picture in pictures)

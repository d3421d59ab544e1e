"""What runs on GitHub is pinned, may do no more than it must, and calls what there is."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import chart
from tests.support.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def _jobs() -> Iterator[Any]:
    for path in WORKFLOWS:
        yield from yaml.safe_load(path.read_text())["jobs"].values()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_hash(path: Any) -> None:
    used = [line.strip(" -") for line in path.read_text().splitlines() if "uses:" in line]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nothing_is_permitted_but_what_a_job_asks_for(path: Any) -> None:
    document = yaml.safe_load(path.read_text())
    assert document["permissions"] == {}
    assert all(
        "permissions" in job and "timeout-minutes" in job for job in document["jobs"].values()
    )


def test_the_commands_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    runs = [step["run"] for job in _jobs() for step in job["steps"] if "run" in step]
    targets = {target for run in runs for target in re.findall(r"\bmake (\w+)", run)}
    assert targets >= {"test", "dist"}
    assert [target for target in targets if not re.search(rf"^{target}\b.*:", makefile, re.M)] == []


def test_the_image_that_is_pushed_is_the_one_that_the_chart_asks_for(tmp_path: Path) -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    steps = {step["id"]: step for step in jobs["image"]["steps"] if "id" in step}
    asked = yaml.safe_load((chart.CHART / "Chart.yaml").read_text())["appVersion"]
    output = tmp_path / "output"
    given = {**os.environ, "GITHUB_REF_NAME": f"v{asked}", "GITHUB_OUTPUT": str(output)}
    subprocess.run(["/bin/sh", "-c", steps["version"]["run"]], env=given, check=True)
    assert output.read_text() == f"version={asked}\n"
    _, _, tag = steps["push"]["with"]["tags"].rpartition(":")
    assert tag == "${{ steps.version.outputs.version }}"

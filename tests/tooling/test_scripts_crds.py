"""Fetching the Prometheus operator's schemas: whole and unchanged, or not at all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts import crds


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Go would have downloaded."""
    folder = tmp_path / "module" / "example" / "prometheus-operator-crd"
    folder.mkdir(parents=True)
    for kind in crds.KINDS:
        (folder / f"monitoring.coreos.com_{kind}.yaml").write_text(kind)
    monkeypatch.setattr(crds, "CRDS", tmp_path / "crds" / crds.VERSION)
    monkeypatch.setattr("shutil.which", lambda _: "go")
    return tmp_path / "module"


def _go_says(monkeypatch: pytest.MonkeyPatch, code: int, text: str) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], code, stdout=text, stderr="")

    monkeypatch.setattr(subprocess, "run", run)


def test_the_kinds_of_the_chart_are_kept(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _go_says(monkeypatch, 0, json.dumps({"Sum": crds.SUM, "Dir": str(module)}))
    assert crds.main() == 0
    assert len(list(crds.CRDS.iterdir())) == len(crds.KINDS)


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (0, json.dumps({"Sum": "h1:other", "Dir": "/"}), "its checksum is h1:other"),
        (1, "no such host", "no such host"),
        (0, json.dumps({"Sum": crds.SUM, "Dir": "/nowhere"}), "/nowhere"),
    ],
)
def test_nothing_is_kept_of_what_is_not_right(
    module: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: int,
    text: str,
    said: str,
) -> None:
    _go_says(monkeypatch, code, text)
    assert module.is_dir()
    assert crds.main() == 1
    assert said in capsys.readouterr().err
    assert not crds.CRDS.exists()


@pytest.mark.usefixtures("module")
def test_without_go_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert crds.main() == 1
    assert "there is no Go here" in capsys.readouterr().err

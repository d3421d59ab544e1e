"""``python -m exporter``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mcp-exporter", *words])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("exporter", run_name="__main__")
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_package_can_be_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "mcp.yml"
    config.write_text("servers: {demo: {command: cat}}\n")
    assert run(monkeypatch, "check", str(config)) == 0
    assert "all valid" in capsys.readouterr().out


def test_wrap_reads_its_own_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "wrap", "--help") == 0
    assert capsys.readouterr().out.startswith("usage: mcp-exporter wrap")

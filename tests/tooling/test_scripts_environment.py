"""Making `.venv`, without touching what is not this checkout's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts import environment


def test_an_environment_that_is_linked_is_left_to_whom_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    stamp = theirs / environment.STAMP.name
    stamp.write_text("their checkout\n")
    ours.symlink_to(theirs)
    monkeypatch.setattr(environment, "VENV", ours)
    monkeypatch.setattr(environment, "PYTHON", ours / "bin" / "python")
    monkeypatch.setattr(environment, "STAMP", ours / stamp.name)
    made: list[Path] = []

    def create() -> None:
        made.append(ours)
        ours.mkdir()

    def install(into: Path, *_: Any) -> None:
        assert into == ours / "bin" / "python"

    monkeypatch.setattr(environment, "_create", create)
    monkeypatch.setattr(environment, "install", install)
    environment._make("ours\n")
    assert made == [ours]
    assert stamp.read_text() == "their checkout\n"
    assert (ours / stamp.name).read_text() == "ours\n"

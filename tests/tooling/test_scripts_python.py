"""Which Python the environment is made from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FITS, TOO_OLD = "exit 0", "exit 1"


def _choose(path: Path, base: str = "") -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "BASE_PYTHON": base}
    command = ["/bin/sh", str(ROOT / "scripts" / "python")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _interpreter(path: Path, does: str) -> str:
    """A stand-in: what it is asked is whether it is new enough."""
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """With a `python3` that is too old, and two that are not."""
    _interpreter(tmp_path / "python3", TOO_OLD)
    for name in ("python3.12", "python3.13"):
        _interpreter(tmp_path / name, FITS)
    return tmp_path


def test_the_newest_by_name_where_python3_is_too_old(machine: Path) -> None:
    assert _choose(machine).stdout == f"{machine}/python3.13\n"


@pytest.mark.parametrize("base", ["python3.12", "{machine}/python3.12"])
def test_one_that_is_asked_for_is_taken(machine: Path, base: str) -> None:
    assert _choose(machine, base.format(machine=machine)).stdout == f"{machine}/python3.12\n"


def test_it_does_choose_a_real_one(tmp_path: Path) -> None:
    assert _choose(tmp_path, sys.executable).stdout == f"{sys.executable}\n"


@pytest.mark.parametrize("base", ["python3", "python9"])
def test_one_that_is_asked_for_in_vain_is_one_line(machine: Path, base: str) -> None:
    done = _choose(machine, base)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"BASE_PYTHON={base} is no Python 3.11 or later")


def test_without_any_it_says_what_to_install(tmp_path: Path) -> None:
    done = _choose(tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "apt install python3" in done.stderr

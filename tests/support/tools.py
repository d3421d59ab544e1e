"""Finds the real programs of Prometheus and Alertmanager for the tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.paths import ROOT

BIN = ROOT / ".tools" / "bin"


def tool(name: str) -> str:
    """The path of ``promtool``, ``amtool``, ``prometheus`` or ``alertmanager``.

    From ``.tools/bin``, else from the PATH. A missing one fails the test, it never skips it.
    """
    found = shutil.which(name, path=str(BIN)) or shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is neither in {BIN} nor on the PATH: run `make test`")
    return found


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; its exit code is the caller's to judge."""
    command = [tool(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def succeeds(name: str, *arguments: str | Path) -> str:
    """Run a tool that must succeed, and return what it printed."""
    ended = run(name, *arguments)
    printed = ended.stdout + ended.stderr
    assert ended.returncode == 0, f"{name} {' '.join(map(str, arguments))}\n{printed}"
    return printed

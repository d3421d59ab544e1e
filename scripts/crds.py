"""Fetches the schemas of the Prometheus operator into ``.tools/crds``, with Go, for the chart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.environment import TOOLS

MODULE = "github.com/prometheus-operator/prometheus-operator"
VERSION = "v0.85.0"
SUM = "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s="
CRDS = TOOLS / "crds" / VERSION
KINDS = ("podmonitors", "prometheusrules", "servicemonitors")


def main() -> int:
    """Return 0 where they are there, else 1 with the reason printed."""
    if CRDS.is_dir():
        return 0
    if shutil.which("go") is None:
        sys.stderr.write("make crds: there is no Go here; get it from https://go.dev/dl\n")
        return 1
    try:
        _keep(_download())
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"make crds: {error}\n")
        return 1
    return 0


def _download() -> Path:
    """Where the module is. Raises ``RuntimeError``."""
    with tempfile.TemporaryDirectory() as empty:  # a go.mod of some other project is no business
        ended = subprocess.run(
            ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"],  # noqa: S607
            cwd=empty,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode:
        raise RuntimeError(f"{MODULE}@{VERSION}: {ended.stderr.strip() or ended.stdout.strip()}")
    found = json.loads(ended.stdout)
    if found["Sum"] != SUM:
        raise RuntimeError(f"{MODULE}@{VERSION}: its checksum is {found['Sum']}, not {SUM}")
    return Path(found["Dir"])


def _keep(module: Path) -> None:
    folder = module / "example" / "prometheus-operator-crd"
    made = CRDS.with_suffix(".new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    for kind in KINDS:
        name = f"monitoring.coreos.com_{kind}.yaml"
        (made / name).write_bytes((folder / name).read_bytes())
    made.rename(CRDS)


if __name__ == "__main__":
    sys.exit(main())

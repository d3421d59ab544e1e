"""Writes what a release is made of into ``dist/``: twice the same, byte for byte.

Times in it are that of the last commit, or ``SOURCE_DATE_EPOCH``.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from exporter import __version__
from scripts.environment import ROOT, PreparationError, install, say, tool_environment

CHART = ROOT / "deploy" / "helm" / "mcp-exporter"
UNSTATED = {"protobuf": "BSD-3-Clause"}
"""Packages whose licence is in a file of theirs, and not in their metadata."""
Members = Mapping[str, Path]
"""What an archive holds: name to file."""


def main() -> int:
    """Return 0, or 1 with the reason printed."""
    parser = argparse.ArgumentParser(prog="make dist", description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    output = parser.parse_args().output
    try:
        build(output)
    except (PreparationError, subprocess.CalledProcessError, OSError) as error:
        say(f"make dist: {error}")
        return 1
    say(f"{output}:\n{(output / 'SHA256SUMS').read_text().rstrip()}")
    return 0


def build(output: Path) -> None:
    """Replace the folder by the artefacts of this checkout."""
    epoch = _epoch()
    python = tool_environment("release")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    _run(python, "-m", "hatchling", "build", "--directory", output, epoch=epoch)
    name = f"mcp-exporter-{__version__}"
    archive(output / f"{name}.tgz", _chart(), epoch)
    archive(output / f"{name}-dashboards.tar.gz", _dashboards(), epoch)
    (output / f"{name}-rules.yml").write_text(rules())
    bill = output / f"{name}.cdx.json"
    _write_bill(python, bill, epoch)
    (output / f"{name}-licences.txt").write_text(licences(json.loads(bill.read_text())))
    (output / "SHA256SUMS").write_text("".join(_checksums(output)))


def _epoch() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is not None:
        if not given.isdecimal():
            raise PreparationError(f"SOURCE_DATE_EPOCH is {given!r}, not seconds since 1970")
        return int(given)
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PreparationError("no commit tells the time here; set SOURCE_DATE_EPOCH")
    return int(done.stdout)


def _run(*command: str | Path, epoch: int) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PreparationError(f"{command[2]} failed:\n{done.stdout}{done.stderr}")


def _chart() -> Members:
    """The chart as ``helm package`` would take it: links followed, what .helmignore lists left."""
    ignored = [
        line
        for line in (CHART / ".helmignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    found = [CHART, *CHART.glob("files/*")]  # glob follows no link to a folder on its way down
    files = {path for folder in found for path in folder.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(CHART)
        for path in files
        if not any(
            path.relative_to(CHART).parts[0] == pattern.rstrip("/") or path.match(pattern)
            for pattern in ignored
        )
    }
    members = {f"mcp-exporter/{path.as_posix()}": CHART / path for path in kept}
    return {**members, "mcp-exporter/LICENSE": ROOT / "LICENSE"}


def _dashboards() -> Members:
    """The dashboards in the form of grafana.com, whose import asks for the data source."""
    folder = ROOT / "grafana" / "export"
    return {f"mcp-exporter-dashboards/{path.name}": path for path in folder.glob("*.json")}


def rules() -> str:
    """Every rule in one file, for who runs no generator."""
    folder = ROOT / "prometheus" / "rules"
    paths = [*sorted(folder.glob("*.rules.yml")), *sorted(folder.glob("*.alerts.yml"))]
    groups = [group for path in paths for group in yaml.safe_load(path.read_text())["groups"]]
    text = yaml.safe_dump({"groups": groups}, sort_keys=False, width=10_000, allow_unicode=True)
    return f"# mcp-exporter {__version__}: recording and alert rules.\n{text}"


def archive(path: Path, members: Members, epoch: int) -> None:
    """Write a tar.gz in which nothing tells who packed it, or when."""
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted(members):
            content = members[name].read_bytes()
            info = tarfile.TarInfo(name)
            info.size, info.mtime, info.mode = len(content), epoch, 0o644
            tar.addfile(info, io.BytesIO(content))


def _write_bill(python: Path, path: Path, epoch: int) -> None:
    """The CycloneDX bill of materials of what the image installs, on this system."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        venv.EnvBuilder(symlinks=True, with_pip=False).create(image)
        installed = image / "bin" / "python"
        lock = ROOT / "requirements.lock"
        install(installed, "--require-hashes", "--only-binary=:all:", "--requirement", str(lock))
        options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"]
        options += ["--output-file", str(path)]
        _run(python, "-m", "cyclonedx_py", "environment", *options, installed, epoch=epoch)


def licences(bill: Mapping[str, Any]) -> str:
    """What a bill of materials says of the licence of each package: name, version, licence."""
    rows = [
        f"{each['name']} {each['version']}: {' AND '.join(_licences(each))}"
        for each in sorted(bill["components"], key=lambda each: each["name"].lower())
    ]
    return "\n".join(rows) + "\n"


def _licences(component: Mapping[str, Any]) -> list[str]:
    """The SPDX expression where there is one, else the identifiers, else what its author wrote."""
    given = component.get("licenses", [])
    named = [each["license"] for each in given if "license" in each]
    ways = (
        [each["expression"] for each in given if "expression" in each],
        [each["id"] for each in named if "id" in each],
        [each["name"] for each in named if "name" in each],
    )
    found = next(filter(None, ways), [UNSTATED.get(component["name"], "unknown")])
    return sorted(set(found))


def _checksums(output: Path) -> Iterator[str]:
    for path in sorted(output.iterdir()):
        yield f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"


if __name__ == "__main__":
    sys.exit(main())

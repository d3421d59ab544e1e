"""Finds Grafana for the demo: what is installed, else the official archive, into ``.tools``."""

from __future__ import annotations

import platform
import shutil
import tarfile
from pathlib import Path

from scripts import monitoring
from scripts.debian import UnavailableError
from scripts.environment import TOOLS, alone, say

VERSION = "13.2.3"
RELEASE = f"https://dl.grafana.com/grafana/release/{VERSION}"
ARCHIVES = {
    "linux-x86_64": (
        f"grafana_{VERSION}_36482603486_linux_amd64.tar.gz",
        "6107ad27016296aac38e0d7ffa8753ab540b5541ad27e94790f771289d733235",
    ),
}
"""Platform to the name of its archive and its SHA-256, as a public build script has it."""
PACKAGES = (None, "/usr/sbin", "/usr/share/grafana/bin")
"""Where it is sought: on the PATH, and where its package puts it, out of other users' PATH."""


def find() -> Path:
    """Return Grafana's program, fetched where need be. Raises UnavailableError with the reason."""
    installed = _installed()
    if installed is not None:
        return installed
    program = TOOLS / f"grafana-{VERSION}" / "bin" / "grafana"
    with alone("grafana"):
        if not program.exists():
            _fetch(program.parent.parent)
    return program


def _installed() -> Path | None:
    for folder in PACKAGES:
        for name in ("grafana", "grafana-server"):
            path = shutil.which(name, path=folder)
            if path is not None:
                return Path(path)
    return None


def _fetch(into: Path) -> None:
    system = f"{platform.system().lower()}-{platform.machine().lower()}"
    if system not in ARCHIVES:
        raise UnavailableError(f"none is installed, and no archive is pinned for {system}")
    name, expected = ARCHIVES[system]
    say(f"Fetching {name} from {RELEASE}")
    archive = TOOLS / name
    monitoring.download(f"{RELEASE}/{name}", archive, expected)
    unpacked = into.with_suffix(".new")
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(archive) as members:
        members.extractall(unpacked, filter="data")
    archive.unlink()
    (unpacked / into.name).rename(into)
    unpacked.rmdir()

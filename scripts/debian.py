"""Debian packages without root: downloaded with apt's own checks, and unpacked into a folder.

Nothing is configured and no service is started. apt gets lists, cache and state of its own,
so that neither the system's state nor its rights matter; its sources and keys stay the system's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


class UnavailableError(Exception):
    """Something could not be had; the message is the reason, in one line."""


def unpack(packages: Sequence[str], into: Path, needs: str = "$^") -> None:
    """Unpack `packages` and those of their dependencies that `needs` matches into a folder.

    Raises UnavailableError where there is no apt, no network or no such package.
    """
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise UnavailableError(f"this system has no {' and no '.join(missing)}")
    archives = into / "archives"
    shutil.rmtree(archives, ignore_errors=True)
    archives.mkdir(parents=True)
    options = list(_options(into / "apt"))
    _run(["apt-get", "--quiet", *options, "update"], archives)
    seen: set[str] = set()
    wanted = list(packages)
    while wanted:
        _run(["apt-get", "--quiet", *options, "download", *wanted], archives)
        seen.update(wanted)
        wanted = sorted({name for name in _dependencies(archives, needs) if name not in seen})
    for archive in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(archive), str(into)], archives)
    shutil.rmtree(archives)
    shutil.rmtree(into / "apt")


def _options(state: Path) -> Iterator[str]:
    lists, cache = state / "lists", state / "cache"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    status = state / "status"
    status.touch()
    settings = {
        "Dir::State": state,
        "Dir::State::status": status,
        "Dir::State::lists": lists,
        "Dir::Cache": cache,
        "Acquire::Languages": "none",
        # As root apt would fetch as the user _apt, who may not write below this folder.
        "APT::Sandbox::User": "root",
    }
    for name, value in settings.items():
        yield from ("-o", f"{name}={value}")


def _dependencies(archives: Path, needs: str) -> Iterable[str]:
    for archive in archives.glob("*.deb"):
        field = _run(["dpkg-deb", "--field", str(archive), "Depends"], archives)
        for name in re.findall(r"(?:^|, )([a-z0-9][a-z0-9.+-]*)", field.strip()):
            if re.match(needs, name):
                yield name


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
    raise UnavailableError(f"{command[0]} failed: {said[-1]}")

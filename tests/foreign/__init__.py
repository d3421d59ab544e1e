"""Programs of others: a server and a client from npm, installed below ``.tools/foreign``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scripts.environment import alone
from tests.conformance import toolchain
from tests.conformance.toolchain import INSTALL_SECONDS, REPOSITORY, Toolchain, ToolchainError

HERE = Path(__file__).parent
TOOLS = REPOSITORY / ".tools" / "foreign"
LOCKS = ("package.json", "package-lock.json")


@dataclass(frozen=True)
class Foreign:
    """The programs, as commands."""

    tool: Toolchain
    directory: Path

    @property
    def files(self) -> list[str]:
        """The file server of the protocol's maintainers; it wants a folder."""
        return self._command("server-filesystem/dist/index.js")

    @property
    def inspector(self) -> list[str]:
        """The client of the protocol's maintainers."""
        return self._command("inspector/clients/launcher/build/index.js")

    @property
    def path(self) -> str:
        """The ``PATH`` on which their Node.js comes first."""
        return f"{self.tool.node.parent}{os.pathsep}{os.environ.get('PATH', '')}"

    def _command(self, script: str) -> list[str]:
        modules = self.directory / "node_modules" / "@modelcontextprotocol"
        return [str(self.tool.node), str(modules / script)]


def install(directory: Path = TOOLS) -> Foreign:
    """Install what is missing. Raises ToolchainError."""
    found = Foreign(toolchain.install(), directory)
    fingerprint = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in LOCKS)).hexdigest()
    with alone("foreign"):  # files of tests run side by side
        stamp = directory / "installed"
        if not stamp.exists() or stamp.read_text() != fingerprint:
            _install(found)
            stamp.write_text(fingerprint)
    return found


def _install(found: Foreign) -> None:
    shutil.rmtree(found.directory, ignore_errors=True)
    found.directory.mkdir(parents=True)
    for name in LOCKS:
        shutil.copy(HERE / name, found.directory)
    _run_npm(found, "ci", "--ignore-scripts", "--no-audit", "--no-fund")


def _run_npm(found: Foreign, *arguments: str) -> None:
    try:
        done = subprocess.run(
            [*found.tool.npm, *arguments],
            cwd=found.directory,
            env=os.environ | {"PATH": found.path},
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainError(f"npm {arguments[0]}: {error}") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ToolchainError(f"npm {arguments[0]}: {lines[-1] if lines else 'failed'}")

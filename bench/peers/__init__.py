"""Other people's proxies, each in an environment of its own that the bench makes.

What they install is in the lock files beside this one. A renewal: write the three versions that
`RENEWAL` names into a file, and `uv pip compile --universal --generate-hashes` does the rest.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from scripts.debian import UnavailableError
from scripts.environment import TOOLS, alone, say

LOCKS = Path(__file__).parent
RENEWAL = {
    "mcp-proxy": ["mcp-proxy==0.13.0"],
    "fastmcp": ["fastmcp==4.1.2"],
    # Newer ones of these two have lost what mcpo imports.
    "mcpo": ["mcpo==0.0.20", "mcp<2", "fastapi<0.129"],
}
SECONDS_TO_INSTALL = 600


def provide(name: str) -> Path:
    """The folder with a peer's programs, made where it is not there.

    Raises ``UnavailableError`` where the packages could not be had.
    """
    lock = LOCKS / f"{name}.lock"
    folder = TOOLS / "bench" / name
    stamp = folder / "made-from"
    made_from = hashlib.sha256(lock.read_bytes()).hexdigest()
    with alone(f"bench-{name}"):
        if not stamp.exists() or stamp.read_text() != made_from:
            say(f"Installing what bench/peers/{lock.name} lists")
            _install(folder, lock)
            stamp.write_text(made_from)
    return folder / "bin"


def version(name: str) -> str:
    """The version that the lock file has of a peer."""
    lines = (LOCKS / f"{name}.lock").read_text().splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith(f"{name}=="))


def _install(folder: Path, lock: Path) -> None:
    """Install with the pip of this environment: Debian's Python has none to put into another."""
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(folder)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--require-hashes",
        "--no-deps",
    ]
    command = [*pip, *options, "--only-binary=:all:", "--requirement", str(lock)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS_TO_INSTALL
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"pip took longer than {SECONDS_TO_INSTALL} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise UnavailableError(f"pip failed: {said[-1]}")

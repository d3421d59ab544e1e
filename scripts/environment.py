"""Makes `.venv` as `requirements-dev.lock` says, with this project in it, and keeps it so.

Every make target that needs the environment runs this first, so it is quick where nothing is to be
done; a run that was interrupted is taken up again by the next one.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts import debian

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements-dev.lock"
STAMP = VENV / "made-from"
PYTHON = VENV / "bin" / "python"


class PreparationError(Exception):
    """The environment could not be made; the message says what to do."""


def say(text: str) -> None:
    """Tell the person at the terminal; standard output is left to the targets."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Keep other runs out of the same work, for two makes may run at once."""
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> int:
    wanted = _fingerprint()
    with alone("environment"):
        if _stamped() == wanted and _works() and _is_of(os.environ.get("BASE_PYTHON")):
            return 0
        try:
            _make(wanted)
        except (PreparationError, OSError) as error:
            say(f"No .venv: {error}")
            return 1
        except KeyboardInterrupt:
            say("Stopped; the next make goes on from here")
            return 130
    return 0


def _fingerprint() -> str:
    made_from = hashlib.sha256(LOCK.read_bytes() + (ROOT / "pyproject.toml").read_bytes())
    return f"{ROOT}\n{made_from.hexdigest()}\n"


def _stamped() -> str:
    return STAMP.read_text() if STAMP.exists() else ""


def _works() -> bool:
    return _succeeds(PYTHON, "-I", "-c", "import exporter")


def _is_of(asked: str | None) -> bool:
    """Whether `.venv` has the Python that was asked for, which is the one that runs this."""
    if not asked:
        return True
    here = f"raise SystemExit(__import__('sys').version != {sys.version!r})"
    return _succeeds(PYTHON, "-I", "-c", here)


def _make(wanted: str) -> None:
    if VENV.is_symlink():  # what another checkout uses is left to it
        VENV.unlink()
    # The programs in .venv/bin name their folder, so a copied or moved one is of no use.
    moved = STAMP.exists() and _stamped().splitlines()[:1] != [str(ROOT)]
    other = not _is_of(os.environ.get("BASE_PYTHON"))
    if moved or other or not _succeeds(PYTHON, "-m", "pip", "--version"):
        say(f"Making .venv with Python {sys.version.split()[0]}")
        _create()
    STAMP.unlink(missing_ok=True)
    say(f"Installing what {LOCK.name} lists")
    install(PYTHON, "--require-hashes", "--only-binary=:all:", "--requirement", str(LOCK))
    install(PYTHON, "--no-deps", "--no-build-isolation", "--no-index", "--editable", str(ROOT))
    STAMP.write_text(wanted)


def _create() -> None:
    has_pip = importlib.util.find_spec("ensurepip") is not None
    venv.EnvBuilder(clear=True, symlinks=True, with_pip=has_pip).create(VENV)
    if not has_pip:
        _add_debians_pip()


def _add_debians_pip() -> None:
    """Debian keeps ensurepip in a package that only root could install; the wheel is in another."""
    say("This Python has no ensurepip: taking pip from Debian's package python3-pip-whl")
    into = TOOLS / "python3-pip-whl"
    try:
        debian.unpack(["python3-pip-whl"], into)
    except debian.UnavailableError as reason:
        raise PreparationError(
            f"this Python has no ensurepip, and Debian's pip could not be had ({reason});"
            " install the package python3-venv and run make again"
        ) from reason
    wheel = next((into / "usr/share/python-wheels").glob("pip-*.whl"))
    install = ["install", "--quiet", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([PYTHON, wheel / "pip", *install], check=True)


def install(into: Path, *arguments: str) -> None:
    """Let `.venv`'s pip install for a Python, its own or another one."""
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    pip = [str(PYTHON), "-m", "pip", "--python", str(into), "install", *quiet]
    done = subprocess.run([*pip, *arguments], check=False)
    if done.returncode:
        raise PreparationError(
            "pip failed, see above; what is done is kept, so mend that and run make again"
        )


def tool_environment(name: str) -> Path:
    """The Python of `.tools/NAME`, made where need be: it has what `deploy/NAME.lock` lists."""
    folder, lock = TOOLS / name, ROOT / "deploy" / f"{name}.lock"
    python, stamp = folder / "bin" / "python", folder / "made-from"
    wanted = f"{folder}\n{hashlib.sha256(lock.read_bytes()).hexdigest()}\n"
    with alone(name):
        if not stamp.exists() or stamp.read_text() != wanted:
            say(f"Installing what deploy/{lock.name} lists into .tools/{name}")
            venv.EnvBuilder(clear=True, symlinks=True, with_pip=False).create(folder)
            install(python, "--require-hashes", "--only-binary=:all:", "--requirement", str(lock))
            stamp.write_text(wanted)
    return python


def _succeeds(program: Path, *arguments: str) -> bool:
    try:
        done = subprocess.run([program, *arguments], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())

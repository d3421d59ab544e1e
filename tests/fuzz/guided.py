"""Fuzzes with coverage as the guide: python -m tests.fuzz.guided [--executions 100000] [TARGET ...]

It needs atheris, an optional tool of this repository alone: where it cannot be had, this says so
and succeeds. What libFuzzer finds worth keeping stays in ``.tools/fuzz``, and is where the next
run goes on; what breaks a promise is kept there as ``crash-…``.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
TOOL = ROOT / ".tools" / "atheris"
FOUND = ROOT / ".tools" / "fuzz"
CORPUS = Path(__file__).parent / "corpus"
TARGETS = ("message", "events", "lines", "configuration", "client_file", "headers")
"""By name, for they are imported only where they are watched."""

REQUIREMENT = "atheris==3.0.0"
LONGEST_SECONDS = 900


def main() -> int:
    options = _parser().parse_args()
    if options.inside:
        _fuzz(options.inside, options.executions)
    if not _install():
        print(f"{REQUIREMENT} cannot be had here: no fuzzing by coverage", flush=True)
        return 0
    failed = [name for name in options.targets or TARGETS if not _run(name, options.executions)]
    print(f"guided by coverage; failed: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


def _install() -> bool:
    """Have the tool, which is not a dependency: it has no wheels for every machine."""
    if (TOOL / "atheris").is_dir():
        return True
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:"]
    command += ["--target", str(TOOL), REQUIREMENT]
    return subprocess.run(command, check=False).returncode == 0


def _run(name: str, executions: int) -> bool:
    """One target in a process of its own: libFuzzer ends the one that it runs in."""
    command = [sys.executable, "-m", "tests.fuzz.guided", "--inside", name]
    command += ["--executions", str(executions)]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
    )
    last = [line for line in ended.stderr.splitlines() if "DONE" in line or "Done" in line]
    print(f"{name:<14} {' '.join(last[-1:]) or ended.stderr[-3000:]}", flush=True)
    return ended.returncode == 0


def _fuzz(name: str, executions: int) -> None:
    """Run libFuzzer on a target; it does not come back."""
    sys.path.append(str(TOOL))
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["exporter", "yaml"]):
        target = importlib.import_module("tests.fuzz.targets").PLAIN[name]
    kept = FOUND / name
    kept.mkdir(parents=True, exist_ok=True)
    words = [sys.argv[0], str(kept), str(CORPUS / name), f"-runs={executions}", "-max_len=4096"]
    words += ["-timeout=20", "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=1"]
    words += [f"-artifact_prefix={kept}/"]
    atheris.Setup(words, target)
    atheris.Fuzz()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--executions", type=int, default=50_000)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Fuzzes: python -m tests.fuzz [--executions 1000000] [--seed 0] [TARGET ...]

Kept inputs are changed at random and fed to each target. Exit code 1 where one of them breaks a
promise, takes longer than a few seconds, or makes memory grow; the input is then kept in the
corpus, where `make unit` finds it again.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import psutil

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import CORPUS, PLAIN, Target, seeds
from tests.fuzz.wires import WIRED, wired

SHARES = {
    "message": 0.30,
    "events": 0.20,
    "lines": 0.09,
    "configuration": 0.06,
    "client_file": 0.09,
    "headers": 0.10,
    "listener": 0.10,
    "relay": 0.06,
}
"""How the executions are spread; what is slower gets fewer."""

HANG = 20.0
"""Seconds after which one execution counts as a hang, on however busy a machine."""
MOST_GROWTH = 64 * 1024 * 1024
"""Bytes by which memory may grow over all executions of one target."""


def main() -> int:
    options = _parser().parse_args()
    total, failed = 0, []
    for name in options.targets or SHARES:
        count = round(options.executions * SHARES[name])
        begun = monotonic()
        try:
            grown = fuzz(name, count, options.seed)
        except FuzzError as problem:
            print(f"{name:<14} FAILED: {problem}", flush=True)
            failed.append(name)
            continue
        total += count
        seconds = monotonic() - begun
        print(f"{name:<14}{count:>9} executions in {seconds:5.0f} s, {grown:+.1f} MiB", flush=True)
    print(f"{'all':<14}{total:>9} executions; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


class FuzzError(Exception):
    """A promise was broken; the input is kept."""


def fuzz(name: str, executions: int, seed: int) -> float:
    """Execute a target so often; by how many MiB memory grew. Raises ``FuzzError``."""
    mutator = Mutator(seeds(name), seed)
    process = psutil.Process()
    with opened(name) as target:
        for _ in range(min(1000, executions // 10)):
            execute(name, target, mutator.next())
        before = process.memory_info().rss
        for _ in range(executions - min(1000, executions // 10)):
            execute(name, target, mutator.next())
    grown = process.memory_info().rss - before
    if grown > MOST_GROWTH:
        raise FuzzError(f"memory grew by {grown} bytes")
    return grown / 1024 / 1024


def execute(name: str, target: Target, data: bytes) -> None:
    """Feed one input; it is kept where it breaks anything, or hangs."""
    faulthandler.dump_traceback_later(HANG, exit=True)
    try:
        target(data)
    except Exception as problem:
        path = CORPUS / name / f"broken-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        raise FuzzError(f"{type(problem).__name__}: {problem}; kept in {path}") from problem
    finally:
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def opened(name: str) -> Iterator[Target]:
    """A target, ready to be executed."""
    if name in WIRED:
        with wired(name) as target:
            yield target
    else:
        yield PLAIN[name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(SHARES))
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())

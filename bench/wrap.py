"""What ``wrap`` costs the person at the desk.

``python -m bench.wrap`` runs the same small server direct, wrapped, and between two ``cat``, in
turns, with an exporter that listens, and measures what is added to one message and to the server's
start, how late a call may be while nothing happens to the exporter, and the memory of 20 wrapped
servers beside their servers'. It ends with 1 where a bound is broken.

Two ``cat`` are the least that anything costs that stands between the two: what they take is the
system's price for waking one process more, and on an idle virtual machine most of the whole.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import psutil

from tests.support.exporting import exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.wrapping import GREETING, client, scripted_stdio_command, wrapped

MAX_MESSAGE = 20e-6
MAX_START = 0.1
MAX_MIB = 25
MAX_LATE = 5e-3
"""Seconds that the slowest call takes more than the slowest direct one."""

ALONE = 300
REST = 0.03
"""Seconds after a call that stands alone."""

STARTS = 9
SERVERS = 20
CALLS_EACH = 200


@dataclass(frozen=True, slots=True)
class Added:
    """Seconds that one message takes more than direct, median: half of what a call does."""

    wrapped: float
    by_two_cats: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds and MiB."""

    calls: int
    message: Added
    """Call upon call, as in a test or a loop."""
    message_on_one_processor: Added
    """Without the waking of another processor that slept."""
    message_after_a_rest: Added
    """Calls that stand alone, as a person's: caches and processors have turned to other things."""
    worst_wrapped_seconds: float
    worst_direct_seconds: float
    start_seconds: float
    private_mib: float

    @property
    def late_seconds(self) -> float:
        """What the slowest call took more than the slowest direct one."""
        return self.worst_wrapped_seconds - self.worst_direct_seconds

    def broken(self) -> list[str]:
        """The bounds that do not hold, a line each."""
        judged = (
            ("us added to a message", self.message.wrapped * 1e6, MAX_MESSAGE * 1e6),
            ("ms added to the start", self.start_seconds * 1e3, MAX_START * 1e3),
            ("MiB of private memory", self.private_mib, MAX_MIB),
            ("ms that a call is late", self.late_seconds * 1e3, MAX_LATE * 1e3),
        )
        return [
            f"{what}: {found:.1f}, at most {most:.0f}"
            for what, found, most in judged
            if found > most
        ]


def main() -> int:
    """Measure, print as JSON, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.wrap", description=__doc__)
    parser.add_argument("--calls", type=int, default=6000)
    calls = parser.parse_args().calls
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "s"
        with exporter(Path(folder), {"other": scripted_stdio()}, "--wrap.socket", str(socket)):
            found = measure(calls, socket)
    sys.stdout.write(json.dumps(asdict(found), indent=2) + "\n")
    broken = found.broken()
    for line in broken:
        sys.stderr.write(f"broken: {line}\n")
    return 1 if broken else 0


def measure(calls: int, socket: Path) -> Measured:
    """Everything, one after the other."""
    direct = scripted_stdio_command()
    through = wrapped(direct, socket)
    commands = [through, between_cats(direct), direct]
    sides = taken(calls, 0, commands)
    with one_processor():
        together = taken(calls, 0, commands)
    alone = taken(ALONE, REST, commands)
    starts = list(zip(*((start(through), start(direct)) for _ in range(STARTS)), strict=True))
    return Measured(
        calls=calls,
        message=added(sides),
        message_on_one_processor=added(together),
        message_after_a_rest=added(alone),
        worst_wrapped_seconds=max(sides[0]["own"]),
        worst_direct_seconds=max(sides[-1]["own"]),
        start_seconds=min(starts[0]) - min(starts[1]),
        private_mib=largest(socket),
    )


def between_cats(command: list[str]) -> list[str]:
    """The same command, with the plainest relay that there is before and behind it."""
    return ["sh", "-c", 'cat | "$@" | cat', "sh", *command]


def added(sides: list[dict[str, list[float]]]) -> Added:
    """What the first two sides take more than the last."""
    wrapped, cats, direct = (statistics.median(side["seconds"]) for side in sides)
    return Added((wrapped - direct) / 2, (cats - direct) / 2)


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep what is started within the block on one processor, where the system can do that."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def taken(calls: int, rest: float, commands: list[list[str]]) -> list[dict[str, list[float]]]:
    """What each call took, of each command."""
    words = [str(calls), str(rest), *map(json.dumps, commands)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.steady_client", *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: list[dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def start(command: list[str]) -> float:
    """From the start to the first reply."""
    began = perf_counter()
    with client(command) as desk:
        desk.ask("initialize", **GREETING)
        return perf_counter() - began


def largest(socket: Path) -> float:
    """The most private memory that one of many wrappers has."""
    with ExitStack() as stack:
        commands = (
            wrapped(scripted_stdio_command(), socket, f"s{number}") for number in range(SERVERS)
        )
        desks = [stack.enter_context(client(command)) for command in commands]
        for desk in desks:
            desk.greet()
            for _ in range(CALLS_EACH):
                desk.call()
        used = (psutil.Process(desk.process.pid).memory_full_info().uss for desk in desks)
        return max(used) / 1024 / 1024


if __name__ == "__main__":
    sys.exit(main())

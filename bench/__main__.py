"""What the exporter costs, beside nginx, beside nothing, and beside other proxies.

``python -m bench`` measures in rounds in which everything takes its turn, so that a bad minute of
the machine hits all alike; what is told are medians over the rounds, and ratios of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import msgspec

from bench.answers import LARGE, LEGACY, MODERN
from bench.contenders import ALL, Contender, Exporter
from bench.load import PATIENCE, Job, Measured
from bench.scrapes import Scraper
from bench.stage import ROOT, Stage, StageError
from bench.talk import Talk
from scripts.debian import UnavailableError

PAYLOADS = {"small": Talk(), "100 KiB": Talk(size=LARGE), "SSE": Talk(is_streamed=True)}


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the result: who, with how many sessions, what, in which era."""

    contender: str
    transport: str
    sessions: int
    payload: str
    era: str


def say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def started(stage: Stage, wanted: list[str]) -> Iterator[Contender]:
    """Start who is wanted and can be had; say who cannot."""
    backend = stage.backend(stage.rest)
    for kind in ALL:
        contender = kind()
        if wanted and contender.name not in wanted:
            continue
        try:
            contender.start(stage, backend)
        except (StageError, UnavailableError) as reason:
            say(f"without {contender.name}: {reason}")
        else:
            yield contender


def cells(contenders: list[Contender], given: argparse.Namespace) -> list[tuple[Cell, Contender]]:
    return [
        (Cell(contender.name, contender.transport, sessions, payload, era), contender)
        for era in given.eras
        for payload in given.payloads
        for sessions in given.sessions
        for contender in contenders
        if era in contender.eras
    ]


def run(stage: Stage, cell: Cell, contender: Contender, seconds: float) -> Measured:
    talk = msgspec.structs.replace(PAYLOADS[cell.payload], era=cell.era)
    job = Job(talk=talk, sessions=cell.sessions, seconds=seconds, processor=stage.rest)
    return execute(contender.job(job))


def execute(job: Job) -> Measured:
    command = [sys.executable, "-m", "bench.load"]
    done = subprocess.run(
        command,
        input=msgspec.json.encode(job),
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=3 * PATIENCE + job.seconds,
    )
    if done.returncode:
        raise StageError(done.stderr.decode()[-2000:])
    return msgspec.json.decode(done.stdout, type=Measured)


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in words(text)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", type=words, default=[], help="these contenders")
    parser.add_argument("--sessions", type=numbers, default=[1, 16, 64])
    parser.add_argument("--payloads", type=words, default=["small"], help=", ".join(PAYLOADS))
    parser.add_argument("--eras", type=words, default=[LEGACY], help=f"{LEGACY}, {MODERN}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    results: dict[Cell, list[Measured]] = {}
    failures = 0
    with Stage() as stage:
        contenders = list(started(stage, given.only))
        webs = [contender.web for contender in contenders if isinstance(contender, Exporter)]
        plan = cells(contenders, given)
        with Scraper(lambda: webs, 5.0):
            for number in range(given.rounds):
                for cell, contender in plan if number % 2 == 0 else reversed(plan):
                    try:
                        measured = run(stage, cell, contender, given.seconds)
                    except StageError as error:
                        failures += 1
                        say(f"{cell}: {error}")
                        continue
                    results.setdefault(cell, []).append(measured)
    show(results)
    return 1 if failures else 0


def show(results: dict[Cell, list[Measured]]) -> None:
    lines = [
        "era payload sessions contender calls/s p50 p90 p99 proxy(user+sys) xnginx backend other"
    ]
    base: dict[tuple[str, str, int], float] = {}
    for cell, rows in results.items():
        if cell.contender == "nginx":
            base[cell.era, cell.payload, cell.sessions] = cpu(rows, "proxy")
    for cell, rows in results.items():
        mine, beside = cpu(rows, "proxy"), base.get((cell.era, cell.payload, cell.sessions))
        user = median(row.cpu.get("proxy", (0.0, 0.0))[0] for row in rows) * 1e6
        lines.append(
            f"{cell.era} {cell.payload:8} {cell.sessions:3} {cell.contender:15}"
            f" {median(row.calls / row.seconds for row in rows):8.0f}"
            f" {median(row.p50 for row in rows) * 1e6:7.0f}"
            f" {median(row.p90 for row in rows) * 1e6:7.0f}"
            f" {median(row.p99 for row in rows) * 1e6:7.0f}"
            f" {mine:7.1f} ({user:.0f}+{mine - user:.0f})"
            f" {mine / beside if beside else 0:6.2f}"
            f" {cpu(rows, 'backend'):6.1f} {median(row.other for row in rows):5.2f}"
        )
    sys.stdout.write("\n".join([*lines, ""]))


def cpu(rows: list[Measured], name: str) -> float:
    """Microseconds a call."""
    return median(sum(row.cpu.get(name, (0.0, 0.0))) for row in rows) * 1e6


if __name__ == "__main__":
    sys.exit(main())

"""Writes what a run measured into ``docs/performance.md`` and its plots: ``python -m bench.page``.

The words there are people's; what lies between two marks is written here from the rows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.plan import ERAS, PAYLOADS, Row
from bench.report.bars import tracing_verdicts, verdicts
from bench.report.machine import load
from bench.report.tables import TIMES, Book, cpu, micro, other, rate, table, tables, times, whole
from bench.scenarios.figures import Figures
from bench.scenarios.lost_collector import LostCollectorCost
from bench.scenarios.slopes import Held, Slope
from bench.scenarios.tracing import TracingCost
from bench.servers.answers import LEGACY
from tests.support.paths import ROOT

STDIO = "exporter stdio"
BEHIND = {
    "exporter": "HTTP server",
    "exporter TLS": "HTTP server, TLS before the exporter",
    STDIO: "stdio server",
}

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench" / "results"


class Footprint(msgspec.Struct, frozen=True):
    """Memory of a proxy's own processes, in MiB, and seconds until it listened."""

    idle: float
    peak: float
    listening: float | None = None


class Run(msgspec.Struct):
    """Everything that a run found out."""

    machine: dict[str, str]
    options: dict[str, float]
    rows: list[Row]
    figures: Figures
    memory: dict[str, Footprint]
    slopes: dict[str, Slope]
    held: dict[str, Held]
    skipped: dict[str, str]
    failures: list[str]
    tracing: TracingCost | None = None
    lost_collector: LostCollectorCost | None = None


def parts(run: Run) -> Mapping[str, str]:
    """What stands between the marks, by their names."""
    book = Book(run.rows)
    return {
        "machine": machine(run),
        "bars": "\n".join(verdicts(book, run.figures)),
        "core": core(book),
        "peers": "\n".join(peers(book)),
        "figures": figures(run),
        "memory": memory(run),
        "sessions": sessions(run),
        "cells": tables(book),
    }


def traced(run: Run) -> Mapping[str, str]:
    """The same for what tracing costs, from a run of its own."""
    found, lost = run.tracing, run.lost_collector
    busy = [share for part in (found, lost) if part is not None for share in part.busy]
    meanwhile = f"Meanwhile: {load(busy)}.\n\n" if busy else ""
    return {"tracing": meanwhile + "\n".join(tracing_verdicts(found, lost))}


def machine(run: Run) -> str:
    lines = [f"- {name}: {words}" for name, words in run.machine.items()]
    if run.rows:
        lines.append(f"- meanwhile: {load([other(row) for row in run.rows])}")
    rounds, seconds = run.options["rounds"], run.options["seconds"]
    lines.append(f"- rounds: {rounds:.0f}, {seconds:g} s for each cell in each")
    lines += [f"- without {name}: {reason}" for name, reason in run.skipped.items()]
    lines += [f"- failed: {failure}" for failure in run.failures]
    return "\n".join(lines)


def figures(run: Run) -> str:
    """What is measured beside the rounds and has no bar."""
    found = run.figures
    rows = {
        "start to first relayed call, CPU": None
        if found.start_cpu is None
        else f"{found.start_cpu:.2f} s",
        "start to first relayed call, nginx": None
        if found.nginx_start is None
        else f"{found.nginx_start:.2f} s",
        "reading a request and its reply, before they are recorded": _micro(found.reading),
        "CPU of a call at 1,000 tools": None
        if found.tools_cpu is None
        else f"{found.tools_cpu:.2f} {TIMES} at 10",
        "`mcp_exporter_relay_overhead_seconds`, mean at 1 session": _micro(found.overhead_inside),
        "mean latency at 1 session less that without a proxy": _micro(found.overhead_outside),
    }
    return "\n".join(table(("figure", "measured"), [(k, v) for k, v in rows.items() if v]))


def core(book: Book) -> str:
    """How many calls of each kind one core carries, at 16 sessions."""
    lines = []
    for name, transport in (("exporter", "http"), ("exporter TLS", "http"), (STDIO, "stdio")):
        for payload in PAYLOADS:
            cells = [book.find(name, payload, 16, era, transport) for era in ERAS]
            spent = [book.middle(cell, cpu) if cell else 0.0 for cell in cells]
            told = [column for each in spent for column in _core(each)]
            if any(told):
                lines.append((f"{payload}, {BEHIND[name]}", *told))
    columns = (f"{name}, {era}" for era in ERAS for name in ("CPU µs", "calls/s a core"))
    return "\n".join(table(("a call", *columns), lines))


def _core(spent: float) -> tuple[str, str]:
    return (micro(spent), whole(1 / spent)) if spent else ("", "")


def peers(book: Book) -> list[str]:
    """Everybody's processor time for a small call at 16 sessions, and the exporter's beside it."""
    lines = []
    for transport, own in (("http", "exporter"), ("stdio", STDIO)):
        mine = book.find(own, "small", 16, LEGACY, transport)
        for cell in book.cells:
            if mine is None or cell.place != mine.place or not book.middle(cell, cpu):
                continue
            spent, speed = micro(book.middle(cell, cpu)), whole(book.middle(cell, rate))
            ratio = times(book.ratio(cell, mine, cpu))
            lines.append((cell.contender, transport, spent, ratio, speed))
    return table(("contender", "server behind", "CPU µs", "of the exporter's", "calls/s"), lines)


def seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _micro(seconds: float | None) -> str | None:
    return None if seconds is None else f"{micro(seconds)} µs"


def memory(run: Run) -> str:
    lines = [
        (name, f"{found.idle:.0f}", f"{found.peak:.0f}", seconds(found.listening))
        for name, found in run.memory.items()
    ]
    return "\n".join(table(("contender", "idle MiB", "peak MiB", "s until it listens"), lines))


def sessions(run: Run) -> str:
    lines = [
        (
            "over HTTP" if kind == "http" else "with a child of its own",
            f"{held.memory_kib:.0f}",
            f"{held.descriptors:.1f}",
            f"{held.child_memory_mib:.0f}" if held.child_memory_mib else "",
        )
        for kind, held in run.held.items()
    ]
    headings = ("a session", "exporter's memory, KiB", "descriptors", "the child's memory, MiB")
    return "\n".join(table(headings, lines))


def written(page: str, found: Mapping[str, str]) -> str:
    """The page with everything between its marks renewed."""
    for name, text in found.items():
        marks = (f"<!-- measured: {name} -->", f"<!-- end: {name} -->")
        pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
        between = f"{marks[0]}\n\n{text.rstrip()}\n\n{marks[1]}"
        page = pattern.sub(between.replace("\\", r"\\"), page)
    return page


def read(path: Path) -> Run:
    return msgspec.json.decode(path.read_bytes(), type=Run)


def main() -> int:
    run = read(RESULTS / "rows.json")
    found = {**parts(run), **traced(read(RESULTS / "tracing" / "rows.json"))}
    PAGE.write_text(written(PAGE.read_text(), found))
    from bench.report.plots import draw  # draws with a library that is slow to load

    draw(run.slopes, PAGE.parent / "pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())

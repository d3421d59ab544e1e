"""The bars that the exporter is held to, and whether a run cleared them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from bench.report.tables import TIMES, Book, cpu, table
from bench.scenarios.figures import MILLION, Figures
from bench.scenarios.lost_collector import LOST, LostCollectorCost
from bench.scenarios.tracing import EVERYTHING, HEADER, NOTHING, UNSAMPLED, TracingCost
from bench.servers.answers import LEGACY

HEADINGS = ("figure", "measured", "bar", "stretch", "verdict")
BESIDE_OFF = f"{TIMES} tracing off"
RELAYING = (
    ("no context", 0.2, 0.0),
    ("unsampled", 1, 0.3),
    ("sampled", 8, 5),
    ("joined in the message", 10, 7),
    ("joined in the header", 10, 7),
)
"""Microseconds on the relaying thread: what is called, its bar and its stretch."""


class Bar(msgspec.Struct, frozen=True):
    """One figure against its bar. What is small is good, unless ``is_least``."""

    name: str
    value: float | None
    bar: float | None
    stretch: float | None
    unit: str = f"{TIMES} nginx"
    is_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        if self.bar is None:
            return ""
        if self.stretch is not None and self._clears(self.stretch):
            return "stretch"
        return "met" if self._clears(self.bar) else "**missed**"

    def _clears(self, bar: float) -> bool:
        value = self.value or 0.0
        return value >= bar if self.is_least else value <= bar

    def line(self) -> list[str]:
        sign = "≥" if self.is_least else "≤"
        measured = "" if self.value is None else f"{self._said(self.value)}{self.note}"
        bars = [
            "" if bar is None else f"{sign} {self._said(bar)}" for bar in (self.bar, self.stretch)
        ]
        return [self.name, measured, *bars, self.verdict]

    def _said(self, value: float) -> str:
        if self.unit == "1/":
            return f"1/{1 / value:.0f}" if value else "0"
        return f"{value:.3g} {self.unit}".rstrip()


def bars(book: Book, figures: Figures) -> Iterator[Bar]:
    """All figures of the table, in its order."""
    for sessions in (16, 64):
        yield Bar(
            f"CPU a small HTTP call, {sessions} sessions",
            against(book, "small", sessions),
            2.0,
            1.5,
        )
    yield Bar("added p50 at 1 session", added(book), 2.0, 1.3)
    yield Bar("100 KiB result, CPU, 16 sessions", against(book, "100 KiB", 16), 2.5, 1.5)
    yield Bar("SSE reply with 10 events, CPU, 16 sessions", against(book, "SSE", 16), 2.5, 1.5)
    yield Bar(
        "HTTP to stdio, CPU a small call, 16 sessions, of mcp-proxy's",
        beside(book, "exporter stdio", "mcp-proxy", "stdio"), 1 / 15, 1 / 25, "1/",
    )  # fmt: skip
    yield Bar(
        "CPU a small HTTP call, 16 sessions, of fastmcp's with one shared client",
        beside(book, "exporter", "fastmcp", "http"), 1 / 40, 1 / 60, "1/",
    )  # fmt: skip
    yield Bar("memory idle with 3 servers", figures.idle_memory, 45, 35, "MiB")
    calls = figures.calls or MILLION
    yield Bar(f"memory growth over {calls:,} calls", figures.growth, 2, None, "MiB")
    yield Bar("start to first relayed HTTP call", figures.start, 0.6, 0.3, "s")
    yield Bar("recording one call", scaled(figures.recording, 1e6), 5, 2, "µs")
    yield Bar(
        "calls/s at 1,000 tools", figures.tools_rate, 0.95, None, f"{TIMES} at 10", is_least=True
    )
    for count, ratio in figures.scraped_p99.items():
        name = f"p99, 200 tools, a scrape every second, sessions: {count}"
        yield Bar(name, ratio, 1.2, None, f"{TIMES} without scrapes")


def tracing_bars(found: TracingCost) -> Iterator[Bar]:
    """What tracing costs. The relaying thread's own time is what it takes more than with it off."""
    for name, bar, stretch in RELAYING:
        value = scaled(found.relaying.get(name), 1e6)
        yield Bar(f"relaying thread, a call: {name}", value, bar, stretch, "µs more")
    sampled = scaled(found.sampled, 1e6)
    yield Bar("whole process, every call kept and sent", sampled, 20, 12, "µs more")
    yield Bar("p99, 16 sessions, every call kept", found.p99[EVERYTHING], 2, 1.3, BESIDE_OFF)
    yield Bar(
        "CPU, each call with a header `traceparent`", found.cpu[HEADER], 1.1, None, BESIDE_OFF
    )
    yield Bar("CPU, 16 sessions, nothing kept", found.of_nginx, 2.0, 1.5)
    yield Bar("memory idle", found.memory, 6, None, "MiB more")
    yield Bar("spans that were sent, of those recorded", found.sent, 1, None, "", is_least=True)
    # No bars: what whoever switches it on wants to know.
    for name in (NOTHING, UNSAMPLED, EVERYTHING):
        yield Bar(f"CPU, 16 sessions, {name}", found.cpu[name], None, None, BESIDE_OFF)


def lost_collector_bars(found: LostCollectorCost) -> Iterator[Bar]:
    """What a collector costs that is not there, every call kept."""
    for name in LOST:
        yield Bar(f"{name}: p99, 16 sessions", found.p99[name], 1.2, None, BESIDE_OFF)
        full = found.full_queue[name]
        yield Bar(f"{name}: memory, the queue full", full, 2, None, "MiB more than idle")
        growth = f"{name}: memory growth over {found.calls:,} calls after that"
        # Half a byte a call, of a million.
        yield Bar(growth, found.growth[name], 0.5, None, "MiB")


def against(book: Book, payload: str, sessions: int) -> float | None:
    """Processor time as a multiple of nginx's."""
    mine = book.find("exporter", payload, sessions, LEGACY, "http")
    other = book.find("nginx", payload, sessions, LEGACY, "http")
    return book.ratio(mine, other, cpu) if mine and other else None


def beside(book: Book, mine: str, other: str, transport: str) -> float | None:
    """Processor time as a share of a peer's, for small calls at 16 sessions."""
    ours = book.find(mine, "small", 16, LEGACY, transport)
    theirs = book.find(other, "small", 16, LEGACY, transport)
    return book.ratio(ours, theirs, cpu) if ours and theirs else None


def added(book: Book) -> float | None:
    """What is added to the median latency at 1 session, as a multiple of what nginx adds."""
    mine = book.find("exporter", "small", 1, LEGACY, "http")
    other = book.find("nginx", "small", 1, LEGACY, "http")
    more = [book.added(cell) if cell else None for cell in (mine, other)]
    return more[0] / more[1] if more[0] is not None and more[1] else None


def scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def verdicts(book: Book, figures: Figures) -> list[str]:
    """The table of all bars."""
    return table(HEADINGS, [bar.line() for bar in bars(book, figures)])


def tracing_verdicts(found: TracingCost | None, lost: LostCollectorCost | None) -> list[str]:
    """The table of what tracing costs; nothing where that was not measured."""
    lines = [] if found is None else [bar.line() for bar in tracing_bars(found)]
    lines += [] if lost is None else [bar.line() for bar in lost_collector_bars(lost)]
    return table(HEADINGS, lines) if lines else []

"""The tables of ``mcp-exporter status``: pure, from facts to rows and from rows to text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from exporter.cli.status_source import Facts
from exporter.protocol.label_values import Outcome

GOOD = frozenset({Outcome.OK, Outcome.INPUT_REQUIRED})
BAD = frozenset(
    {Outcome.TOOL_ERROR, Outcome.PROTOCOL_ERROR, Outcome.TIMEOUT, Outcome.UPSTREAM_ERROR}
)
"""The other outcomes, such as a cancelled call, are neither a success nor a failure."""

SHOWN_TOOLS = 5

_COLOURS = {"ok": 32, "degraded": 33, "error": 31}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls in the window; ``success`` from 0 to 1, times in seconds, ``last`` in Unix time."""

    calls: float
    failures: float
    success: float | None
    p50: float | None
    p95: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server."""

    server: str
    state: str
    since: float | None
    tools: int | None
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool that was called."""

    server: str
    tool: str
    traffic: Traffic


def servers(facts: Facts) -> list[ServerRow]:
    """Every server, in the order of the alphabet."""
    names = {*facts.states, *facts.tools, *(server for server, _, _ in facts.calls)}
    return [
        ServerRow(
            name,
            facts.states.get(name, "unknown"),
            facts.since.get(name),
            facts.tools.get(name),
            _traffic(facts, lambda server, _, name=name: server == name),  # type: ignore[misc]
        )
        for name in sorted(names)
    ]


def tools(facts: Facts) -> list[ToolRow]:
    """Every tool that was called, the busiest first."""
    names = {(server, tool) for (server, tool, _), count in facts.calls.items() if count}
    rows = [
        ToolRow(
            server,
            tool,
            _traffic(facts, lambda s, t, key=(server, tool): (s, t) == key),  # type: ignore[misc]
        )
        for server, tool in sorted(names)
    ]
    return sorted(rows, key=lambda row: -row.traffic.calls)


def worst(rows: Iterable[ToolRow]) -> list[ToolRow]:
    """The tools that failed, the least successful first."""
    failing = [row for row in rows if row.traffic.failures]
    return sorted(failing, key=lambda row: (row.traffic.success or 0.0, -row.traffic.failures))


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """The value below which this share of the observations is, as ``histogram_quantile`` has it:
    even within each bucket. ``None`` where nothing was observed."""
    edges = sorted(buckets)
    if not edges or not buckets[edges[-1]] > 0:
        return None
    rank = share * buckets[edges[-1]]
    below = count_below = 0.0
    for edge in edges:
        if buckets[edge] >= rank:
            break
        below, count_below = edge, buckets[edge]
    if math.isinf(edge):
        return below if len(edges) > 1 else None
    inside = buckets[edge] - count_below
    return below + (edge - below) * ((rank - count_below) / inside if inside else 1.0)


def as_json(facts: Facts) -> dict[str, Any]:
    """Everything, for scripts."""
    return {
        "window": facts.window,
        "servers": [asdict(row) for row in servers(facts)],
        "tools": [asdict(row) for row in tools(facts)],
    }


def as_text(facts: Facts, now: float, is_coloured: bool) -> str:
    """The tables as a terminal shows them."""
    rows, called = servers(facts), tools(facts)
    headings = ("SERVER", "STATE", "SINCE", "TOOLS", *_TRAFFIC)
    lines = [f"Calls of {facts.window}" if "last" in facts.window else f"Calls {facts.window}", ""]
    lines += _table(headings, [_server_cells(row, now) for row in rows], is_coloured)
    for title, shown in (("Busiest tools", called), ("Worst tools", worst(called))):
        if shown:
            cells = [_tool_cells(row, now) for row in shown[:SHOWN_TOOLS]]
            lines += ["", title, *_table(("SERVER", "TOOL", *_TRAFFIC), cells, False)]
    return "\n".join([*lines, ""])


_TRAFFIC = ("CALLS", "SUCCESS", "P50", "P95", "LAST CALL")


def _traffic(facts: Facts, is_meant: Callable[[str, str], bool]) -> Traffic:
    calls = good = bad = 0.0
    for (server, tool, outcome), count in facts.calls.items():
        if is_meant(server, tool):
            calls += count
            good += count if outcome in GOOD else 0
            bad += count if outcome in BAD else 0
    sums: dict[float, float] = {}
    for key, buckets in facts.buckets.items():
        for edge, count in buckets.items() if is_meant(*key) else ():
            sums[edge] = sums.get(edge, 0.0) + count
    last = [at for key, at in facts.last.items() if is_meant(*key)]
    success = good / (good + bad) if good + bad else None
    p50, p95 = quantile(0.5, sums), quantile(0.95, sums)
    return Traffic(calls, bad, success, p50, p95, max(last, default=None))


def _server_cells(row: ServerRow, now: float) -> list[str]:
    count = "-" if row.tools is None else str(row.tools)
    return [row.server, row.state, _age(row.since, now), count, *_traffic_cells(row.traffic, now)]


def _tool_cells(row: ToolRow, now: float) -> list[str]:
    return [row.server, row.tool, *_traffic_cells(row.traffic, now)]


def _traffic_cells(traffic: Traffic, now: float) -> list[str]:
    success = "-" if traffic.success is None else f"{math.floor(traffic.success * 1000) / 10:g}%"
    times = [_seconds(traffic.p50), _seconds(traffic.p95)]
    return [f"{traffic.calls:.0f}", success, *times, _age(traffic.last, now, " ago")]


def _table(headings: Sequence[str], rows: list[list[str]], is_coloured: bool) -> list[str]:
    rows = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = []
    for row in (headings, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        colour = _COLOURS.get(row[1]) if is_coloured else None
        if colour is not None:
            cells[1] = f"\x1b[{colour}m{cells[1]}\x1b[0m"
        lines.append("  ".join(cells).rstrip())
    return lines


def _printable(text: str) -> str:
    """What a server calls itself must not steer the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"


def _age(at: float | None, now: float, word: str = "") -> str:
    if at is None:
        return "-"
    seconds = max(0, int(now - at))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}{word}"
    return f"{seconds}s{word}"

"""The tables of ``mcp-exporter status``: pure, from data to rows and from rows to text."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from exporter.cli.status_source import StatusData
from exporter.cli.terminal import shortened, table
from exporter.protocol.label_values import Outcome
from exporter.protocol.printable import printable

GOOD = frozenset({Outcome.OK, Outcome.INPUT_REQUIRED})
BAD = frozenset(
    {Outcome.TOOL_ERROR, Outcome.PROTOCOL_ERROR, Outcome.TIMEOUT, Outcome.UPSTREAM_ERROR}
)
"""The other outcomes, such as a cancelled call, are neither a success nor a failure."""

SHOWN_TOOLS = 5

_COLOURS = {"ok": 32, "degraded": 33, "error": 31}
_ORDER = ("error", "degraded", "unknown", "ok")
_UNWELL = frozenset({"error", "degraded"})
_WIDE = 100
_ENDLESS = 10_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Calls in the window; ``success`` from 0 to 1, times in seconds, ``last`` in Unix time."""

    calls: float
    failures: float
    success: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    last: float | None


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server."""

    server: str
    state: str
    since: float | None
    seen: float | None
    """When it last replied; 0: never."""
    reason: str | None
    """What its probes ended with, where it is not well."""
    tools: int | None
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class ToolRow:
    """One tool that was called."""

    server: str
    tool: str
    traffic: Traffic


def servers(data: StatusData) -> list[ServerRow]:
    """Every server, the worst first."""
    names = {*data.states, *data.tools, *(server for server, _, _ in data.calls)}
    return sorted((_server(data, name) for name in names), key=_badness)


def _server(data: StatusData, name: str) -> ServerRow:
    state = data.states.get(name, "unknown")
    return ServerRow(
        name,
        state,
        data.since.get(name),
        data.seen.get(name),
        _reason(data, name) if state in _UNWELL else None,
        data.tools.get(name),
        _traffic(data, lambda server, _: server == name),
    )


def _badness(row: ServerRow) -> tuple[int, float, str]:
    order = _ORDER.index(row.state) if row.state in _ORDER else len(_ORDER)
    success = 1.0 if row.traffic.success is None else row.traffic.success
    return order, success, row.server


def _reason(data: StatusData, name: str) -> str | None:
    """The result that most failed probes had."""
    counts = {result: n for (server, result), n in data.failed_probes.items() if server == name}
    return max(counts, key=lambda result: counts[result]) if counts else None


def tools(data: StatusData) -> list[ToolRow]:
    """Every tool that was called, the busiest first."""
    names = {(server, tool) for (server, tool, _), count in data.calls.items() if count}
    rows = [
        ToolRow(
            server,
            tool,
            _traffic(data, lambda s, t, key=(server, tool): (s, t) == key),  # type: ignore[misc]
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


def as_json(data: StatusData) -> dict[str, Any]:
    """Everything, for scripts."""
    return {
        "window": data.window,
        "servers": [asdict(row) for row in servers(data)],
        "tools": [asdict(row) for row in tools(data)],
    }


def as_text(
    data: StatusData, now: float, is_coloured: bool = False, width: int | None = None
) -> str:
    """The tables as a terminal of so many columns shows them."""
    called = tools(data)
    lines = [f"Calls {data.window}", "", *_server_lines(servers(data), now, is_coloured, width)]
    for title, shown in (("Busiest tools", called), ("Worst tools", worst(called))):
        if shown:
            cells = [_tool_cells(row, now) for row in shown[:SHOWN_TOOLS]]
            headings = ("SERVER", "TOOL", *_TRAFFIC)
            lines += ["", title, *table(headings, cells, width, flexible=(0, 1))]
    return "\n".join([*lines, ""])


_TRAFFIC = ("CALLS", "OK", "P50", "P90", "P99", "LAST")


def _server_lines(
    rows: Sequence[ServerRow], now: float, is_coloured: bool, width: int | None
) -> list[str]:
    colours = _COLOURS if is_coloured else {}
    headings = ["SERVER", "STATE", "SINCE", "TOOLS", *_TRAFFIC]
    cells = [_server_cells(row, now) for row in rows]
    if width is not None and width < _WIDE:
        # Names are worth more than the number of tools, and than times that are not known.
        hidden = {"TOOLS"} if any(row.since for row in rows) else {"TOOLS", "SINCE"}
        cells = [_without(hidden, headings, row) for row in cells]
        headings = _without(hidden, headings, headings)
    drawn = table(headings, cells, width, colours=colours)
    lines = [drawn[0]]
    for row, line in zip(rows, drawn[1:], strict=True):
        lines.append(line)
        if row.state in _UNWELL:
            lines.append(shortened(f"  {_words(row, now)}", width or _ENDLESS))
    return lines


def _without(hidden: Collection[str], headings: Sequence[str], row: Sequence[str]) -> list[str]:
    return [cell for heading, cell in zip(headings, row, strict=True) if heading not in hidden]


def _words(row: ServerRow, now: float) -> str:
    """Why a server is not well, as far as is known."""
    reason = f"probes end with {row.reason}" if row.reason else "no probe failed; calls did"
    if row.seen is None:
        return printable(reason)
    seen = f"last reply {_age(row.seen, now)} ago" if row.seen else "it never replied"
    return printable(f"{reason}; {seen}")


def _traffic(data: StatusData, is_meant: Callable[[str, str], bool]) -> Traffic:
    calls = good = bad = 0.0
    for (server, tool, outcome), count in data.calls.items():
        if is_meant(server, tool):
            calls += count
            good += count if outcome in GOOD else 0
            bad += count if outcome in BAD else 0
    sums: dict[float, float] = {}
    for key, buckets in data.buckets.items():
        for edge, count in buckets.items() if is_meant(*key) else ():
            sums[edge] = sums.get(edge, 0.0) + count
    last = [at for key, at in data.last.items() if is_meant(*key)]
    success = good / (good + bad) if good + bad else None
    p50, p90, p99 = (quantile(share, sums) for share in (0.5, 0.9, 0.99))
    return Traffic(calls, bad, success, p50, p90, p99, max(last, default=None))


def _server_cells(row: ServerRow, now: float) -> list[str]:
    count = "-" if row.tools is None else str(row.tools)
    return [row.server, row.state, _age(row.since, now), count, *_traffic_cells(row.traffic, now)]


def _tool_cells(row: ToolRow, now: float) -> list[str]:
    return [row.server, row.tool, *_traffic_cells(row.traffic, now)]


def _traffic_cells(traffic: Traffic, now: float) -> list[str]:
    success = "-" if traffic.success is None else f"{math.floor(traffic.success * 1000) / 10:g}%"
    times = [_latency(value) for value in (traffic.p50, traffic.p90, traffic.p99)]
    return [_count(traffic.calls), success, *times, _age(traffic.last, now)]


def _count(calls: float) -> str:
    return f"{calls:.0f}" if calls < 1e6 else f"{calls / 1e6:.1f}M"


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 0.001:
        return f"{seconds * 1000:.2g}ms"
    return f"{seconds * 1000:.3g}ms" if seconds < 0.9995 else f"{seconds:.3g}s"


def _age(at: float | None, now: float) -> str:
    if at is None:
        return "-"
    seconds = max(0, int(now - at))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"

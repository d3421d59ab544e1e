"""Rows into figures, and figures into tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median

from bench.plan import Cell, Row

TIMES = "\N{MULTIPLICATION SIGN}"

HEADINGS = (
    "contender", "sessions", "p50 µs", "p90 µs", "p99 µs", "added p50 µs", "CPU µs (user + system)",
    "CPU ÷ nginx", "calls/s", "calls/s a core", "backend CPU µs",
)  # fmt: skip


class Book:
    """All rows of a run; figures are medians over its rounds. Times in seconds."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows: dict[Cell, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row.cell, []).append(row)

    @property
    def cells(self) -> list[Cell]:
        return list(self._rows)

    def find(
        self, contender: str, payload: str, sessions: int, era: str, transport: str
    ) -> Cell | None:
        """The cell of these, if it was measured."""
        cell = Cell(contender, transport, era, payload, sessions)
        return cell if cell in self._rows else None

    def middle(self, cell: Cell, figure: Callable[[Row], float]) -> float:
        """The median of a figure."""
        return median(figure(row) for row in self._rows[cell])

    def ratio(self, cell: Cell, other: Cell, figure: Callable[[Row], float]) -> float | None:
        """The median of the ratios of two cells in the same round; none where it cannot be told."""
        beside = {row.round: figure(row) for row in self._rows[other]}
        ratios = [
            figure(row) / beside[row.round]
            for row in self._rows[cell]
            if beside.get(row.round, 0.0) > 0.0
        ]
        return median(ratios) if ratios else None

    def difference(self, cell: Cell, other: Cell, figure: Callable[[Row], float]) -> float | None:
        """The median of the differences of two cells in the same round."""
        beside = {row.round: figure(row) for row in self._rows[other]}
        differences = [
            figure(row) - beside[row.round] for row in self._rows[cell] if row.round in beside
        ]
        return median(differences) if differences else None

    def added(self, cell: Cell) -> float | None:
        """What a proxy adds to the median latency, against no proxy."""
        name = "direct" if cell.transport == "http" else "direct stdio"
        direct = self.find(name, cell.payload, cell.sessions, cell.era, cell.transport)
        return self.difference(cell, direct, p50) if direct and direct != cell else None


def cpu(row: Row) -> float:
    """Processor time of the proxy a call."""
    return sum(row.measured.cpu.get("proxy", (0.0, 0.0)))


def user(row: Row) -> float:
    return row.measured.cpu.get("proxy", (0.0, 0.0))[0]


def backend(row: Row) -> float:
    return sum(row.measured.cpu.get("backend", (0.0, 0.0)))


def p50(row: Row) -> float:
    return row.measured.p50


def p90(row: Row) -> float:
    return row.measured.p90


def p99(row: Row) -> float:
    return row.measured.p99


def rate(row: Row) -> float:
    return row.measured.calls / row.measured.seconds


def other(row: Row) -> float:
    return row.measured.other


def tables(book: Book) -> str:
    """All cells in Markdown, one table for each server, era and payload."""
    parts = []
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in book.cells:
        groups.setdefault((cell.transport, cell.era, cell.payload), []).append(cell)
    for (transport, era, payload), cells in groups.items():
        behind = "an HTTP server" if transport == "http" else "a stdio server"
        parts += [f"### {payload}, {era}, in front of {behind}", ""]
        parts += [*table(HEADINGS, [line(book, cell) for cell in sorted(cells, key=_order)]), ""]
    return "\n".join(parts)


def line(book: Book, cell: Cell) -> list[str]:
    """One cell of the result."""
    spent = book.middle(cell, cpu)
    beside = "nginx TLS" if cell.contender.endswith(" TLS") else "nginx"
    nginx = book.find(beside, cell.payload, cell.sessions, cell.era, "http")
    used = book.middle(cell, user)
    return [
        cell.contender,
        str(cell.sessions),
        *(micro(book.middle(cell, figure)) for figure in (p50, p90, p99)),
        micro(book.added(cell)) if cell.sessions == 1 else "",
        f"{micro(spent)} ({micro(used)} + {micro(spent - used)})" if spent else "",
        times(book.ratio(cell, nginx, cpu)) if nginx and spent else "",
        whole(book.middle(cell, rate)),
        whole(1 / spent) if spent else "",
        micro(book.middle(cell, backend) or None),
    ]


def _order(cell: Cell) -> int:
    return cell.sessions


def table(headings: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    """A table in Markdown: the first column is text, the others numbers."""
    rule = ["---", *("---:" for _ in headings[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (headings, rule, *lines)]


def micro(seconds: float | None) -> str:
    """Microseconds."""
    if seconds is None:
        return ""
    value = seconds * 1e6
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.1f}"


def times(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:,.0f} {TIMES}" if ratio >= 100 else f"{ratio:.2f} {TIMES}"


def whole(value: float) -> str:
    return f"{value:,.0f}"

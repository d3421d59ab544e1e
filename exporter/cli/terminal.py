"""Text for a terminal: nothing in it steers the terminal, and tables fit its width."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from exporter.protocol.printable import printable

GAP = "  "

NARROWEST = 8
"""Characters that a shortened column keeps."""


def shortened(text: str, width: int) -> str:
    """The text, without its middle where it is too long: names differ at their ends."""
    if len(text) <= width:
        return text
    end = max(0, width - 1) // 2
    return f"{text[: max(0, width - 1 - end)]}…{text[len(text) - end :]}"


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    flexible: Collection[int] = (0,),
    colours: Mapping[str, int] | None = None,
) -> list[str]:
    """The lines of a table, the headings first. Columns in ``flexible`` are shortened where it
    would be wider than ``width``; a cell that is a name in ``colours`` has that colour (SGR)."""
    cells = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = _widths(cells, width, flexible)
    return [_line(row, widths, colours or {}) for row in cells]


def _widths(
    cells: Sequence[Sequence[str]], width: int | None, flexible: Collection[int]
) -> list[int]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    excess = 0 if width is None else sum(widths) + len(GAP) * (len(widths) - 1) - width
    while excess > 0:
        widest = max(flexible, key=lambda at: widths[at])
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1
    return widths


def _line(row: Sequence[str], widths: Sequence[int], colours: Mapping[str, int]) -> str:
    cells = []
    for cell, width in zip(row, widths, strict=True):
        text = shortened(cell, width).ljust(width)
        colour = colours.get(cell)
        cells.append(text if colour is None else f"\x1b[{colour}m{text}\x1b[0m")
    return GAP.join(cells).rstrip()

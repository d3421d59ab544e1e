"""What the demo says to the person at the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def say(text: str = "") -> None:
    """Print a line at once. A terminal that was closed must not keep the demo from ending."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns that line up; those that hold numbers alone are set to the right."""
    columns = [_set(title, cells) for title, *cells in zip(head, *rows, strict=True)]
    return "\n".join("  " + "  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def _set(title: str, cells: Sequence[str]) -> list[str]:
    width = max(len(cell) for cell in (title, *cells))
    is_numeric = bool(cells) and all(cell == "-" or cell[:1].isdigit() for cell in cells)
    side = ">" if is_numeric else "<"
    return [f"{cell:{side}{width}}" for cell in (title, "-" * width, *cells)]

"""What is measured in the rounds, in which order, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from bench.load.generator import Measured
from bench.load.messages import Talk
from bench.servers.answers import LARGE, LEGACY, MODERN

PAYLOADS = {"small": Talk(), "100 KiB": Talk(size=LARGE), "SSE": Talk(is_streamed=True)}
SESSIONS = (1, 16, 64)
ERAS = (LEGACY, MODERN)


class Cell(msgspec.Struct, frozen=True):
    """One thing that is measured in every round."""

    contender: str
    transport: str
    """Of the server behind: http or stdio."""
    era: str
    payload: str
    sessions: int

    @property
    def place(self) -> tuple[str, str, str, int]:
        """All but who it is: cells of one place are compared."""
        return self.transport, self.era, self.payload, self.sessions

    @property
    def talk(self) -> Talk:
        return msgspec.structs.replace(PAYLOADS[self.payload], era=self.era)

    def __str__(self) -> str:
        return f"{self.contender}, {self.payload}, {self.era}, {self.sessions} sessions"


class Traits(msgspec.Struct, frozen=True):
    """What the plan has to know of a contender."""

    name: str
    transport: str
    eras: tuple[str, ...]
    is_brief: bool = False
    """Whether large results and streams are measured at 16 sessions alone."""
    payloads: tuple[str, ...] = tuple(PAYLOADS)


class Row(msgspec.Struct, frozen=True):
    """What one round measured in one cell."""

    cell: Cell
    round: int
    measured: Measured


def plan(
    entrants: Sequence[Traits],
    sessions: Sequence[int] = SESSIONS,
    payloads: Sequence[str] = tuple(PAYLOADS),
    eras: Sequence[str] = ERAS,
) -> list[Cell]:
    """All cells, those that are compared side by side."""
    return [
        Cell(traits.name, transport, era, payload, count)
        for transport in ("http", "stdio")
        for era in eras
        for payload in payloads
        for count in sessions
        for traits in entrants
        if traits.transport == transport and takes_part(traits, era, payload, count)
    ]


def takes_part(traits: Traits, era: str, payload: str, sessions: int) -> bool:
    """Whether somebody is measured there."""
    if era not in traits.eras or payload not in traits.payloads:
        return False
    return not traits.is_brief or payload == "small" or (sessions == 16 and era == LEGACY)


def turns(cells: Sequence[Cell], rounds: int) -> Iterator[tuple[int, Cell]]:
    """Every cell in every round; each second round backwards, so that nobody is always first."""
    for number in range(rounds):
        for cell in cells if number % 2 == 0 else reversed(cells):
            yield number, cell

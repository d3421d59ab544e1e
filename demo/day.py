"""A day's traffic in minutes, over and over: people at work, and a server with a bad afternoon.

python -m demo.day http://127.0.0.1:6279 --mode-file build/demo/flaky-mode --minutes 24
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation

from demo.traffic import BOOKS

MORNING = 8.0

TASKS_AT_PEAK = 1.0
"""Tasks that begin in a second, at the busiest time of the day."""
MOST_AT_ONCE = 40
"""Tasks that run at the same time: while a server hangs, they gather."""

PERCENT_BY_HOUR = (
    *(3, 2, 1, 1, 1, 2, 5, 15, 55, 90, 100, 90),
    *(60, 80, 100, 95, 85, 60, 35, 20, 14, 10, 7, 5),
)
"""How busy each hour is, from midnight on."""

BAD_AFTERNOON = (
    (14.0, "slow"),
    (14.7, "fail"),
    (15.2, "hang"),
    (16.2, "die"),
    (16.6, "ok"),
)
"""From which hour on the server ``flaky`` is in which mode."""

CLIENTS = (("claude-code", "2.1.0"), ("cursor", "1.9.2"), ("vscode", "1.105.0"))


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    server: str
    tool: str
    arguments: dict[str, Any]


def busyness(hour: float) -> float:
    """How busy an hour of the day is, from 0 to 1; between two full hours it goes from one to the
    other."""
    before, share = divmod(hour % 24, 1)
    here = PERCENT_BY_HOUR[int(before)]
    there = PERCENT_BY_HOUR[(int(before) + 1) % 24]
    return (here + (there - here) * share) / 100


def mode(hour: float) -> str:
    """The mode of the server ``flaky`` at an hour of the day."""
    reached = [name for begin, name in BAD_AFTERNOON if begin <= hour % 24]
    return reached[-1] if reached else "ok"


def task(chance: random.Random) -> list[Call]:
    """The calls that one person's request leads to, all to one server."""
    make = chance.choices((_read, _compute, _depend), weights=(50, 35, 15))[0]
    return [make(chance) for _ in range(chance.randint(1, 5))]


def _read(chance: random.Random) -> Call:
    if chance.random() < 0.3:
        return Call("files", "list_files", {})
    # Now and then a model names a file that is not there.
    path = "drafts/notes.txt" if chance.random() < 0.02 else chance.choice(BOOKS)
    return Call("files", "read_file", {"path": path})


def _compute(chance: random.Random) -> Call:
    if chance.random() < 0.01:
        return Call("echo", "summarize", {})
    tool, arguments = chance.choice(
        (
            ("echo", {"text": "Is anybody there? " * chance.randint(1, 60)}),
            ("blob", {"size": chance.choice((2_000, 8_000, 30_000))}),
            ("count", {"n": 3, "delay": chance.choice((0.02, 0.05, 0.1))}),
        )
    )
    return Call("echo", tool, arguments)


def _depend(chance: random.Random) -> Call:
    if chance.random() < 0.6:
        return Call("flaky", "ok", {})
    return Call("flaky", "slow", {"seconds": round(chance.lognormvariate(-1.5, 0.7), 3)})


class Day:
    """The days of one run: ``seconds`` real ones make up a day."""

    def __init__(
        self, url: str, seconds: float, set_mode: Callable[[str], None], begin: float = MORNING
    ) -> None:
        self._url = url
        self._seconds = seconds
        self._begin_hour = begin
        self._set_mode = set_mode
        self._chance = random.Random()  # noqa: S311 - nothing secret
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Go on until it is cancelled."""
        began = time.monotonic()
        set_to = ""
        while True:
            hour = self._begin_hour + 24 * (time.monotonic() - began) / self._seconds
            if mode(hour) != set_to:
                set_to = mode(hour)
                self._set_mode(set_to)
            await asyncio.sleep(self._chance.expovariate(TASKS_AT_PEAK * busyness(hour)))
            if len(self._running) < MOST_AT_ONCE:
                self._begin(task(self._chance))

    def _begin(self, calls: list[Call]) -> None:
        running = asyncio.create_task(self._make(calls))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _make(self, calls: list[Call]) -> None:
        name, version = self._chance.choice(CLIENTS)
        client = Client(
            f"{self._url}/{calls[0].server}/mcp",
            client_info=Implementation(name=name, version=version),
        )
        try:
            async with client:
                for call in calls:
                    await client.call_tool(call.tool, call.arguments)
                    await asyncio.sleep(self._chance.expovariate(1))
        except* (MCPError, httpx2.HTTPError, OSError, RuntimeError):
            pass  # that a server fails is what this is about


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.day", description=__doc__)
    parser.add_argument("url", help="where the exporter takes MCP clients")
    parser.add_argument("--mode-file", type=Path, required=True, help="that of the server flaky")
    parser.add_argument("--minutes", type=float, default=24, help="how long a day lasts")
    parser.add_argument("--hour", type=float, default=MORNING, help="at which the first begins")
    parser.add_argument("--after", type=float, default=0, help="seconds until the first begins")
    chosen = parser.parse_args()
    time.sleep(chosen.after)
    days = Day(
        chosen.url,
        60 * chosen.minutes,
        lambda name: _write(chosen.mode_file, name),
        chosen.hour,
    )
    asyncio.run(days.run())


def _write(path: Path, name: str) -> None:
    path.write_text(f"{name}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

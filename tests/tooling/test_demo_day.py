"""The demo's day: busy at work, quiet at night, and with a bad afternoon that ends."""

from __future__ import annotations

import random
from collections import Counter

import anyio
import pytest

from demo import day
from demo.day import BAD_AFTERNOON, Call, Day
from mcp_servers.flaky import Mode
from tests.support.paths import ROOT

HOURS = [quarter / 4 for quarter in range(96)]


def test_the_day_is_busiest_at_work_and_never_still() -> None:
    by_hour = {hour: day.busyness(hour) for hour in HOURS}
    assert max(by_hour, key=lambda hour: by_hour[hour]) in (10, 14)
    assert max(by_hour[hour] for hour in (22, 23, 0, 1, 2, 3, 4, 5)) <= 0.1
    assert min(by_hour.values()) > 0
    assert day.busyness(24 + 9) == day.busyness(9)


def test_between_two_hours_it_goes_from_one_to_the_other() -> None:
    assert day.busyness(7.5) == pytest.approx((day.busyness(7) + day.busyness(8)) / 2)


def test_the_server_goes_through_every_mode_and_is_well_again() -> None:
    seen = [day.mode(hour) for hour in HOURS]
    assert seen[0] == seen[-1] == "ok"
    assert set(seen) == {"ok", *(name for _, name in BAD_AFTERNOON)}
    assert set(seen) <= {str(mode) for mode in Mode}
    assert Counter(seen)["ok"] > 80


def test_a_task_is_a_few_calls_of_one_server() -> None:
    chance = random.Random(1)
    tasks = [day.task(chance) for _ in range(2000)]
    assert {len({call.server for call in calls}) for calls in tasks} == {1}
    calls = Counter(call.server for calls in tasks for call in calls)
    assert calls["files"] > calls["echo"] > calls["flaky"] > 0


def test_a_few_calls_go_wrong_and_no_more() -> None:
    chance = random.Random(1)
    calls = [call for _ in range(2000) for call in day.task(chance)]
    wrong = [call for call in calls if _is_wrong(call)]
    assert 0 < len(wrong) < 0.03 * len(calls)


def _is_wrong(call: Call) -> bool:
    path = call.arguments.get("path")
    missing = path is not None and not (ROOT / "demo" / "library" / path).exists()
    return missing or call.tool == "summarize"


def test_a_server_that_nobody_reaches_ends_no_day() -> None:
    modes: list[str] = []

    async def some_of_it() -> None:
        with anyio.move_on_after(1):
            await Day("http://127.0.0.1:9", 60, modes.append).run()

    anyio.run(some_of_it)
    assert modes == ["ok"]

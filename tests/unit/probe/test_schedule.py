"""When a server is probed and its tools are listed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.model import ProbeSettings
from exporter.probe.schedule import JITTER, SHORTEST, Schedule

SETTINGS = ProbeSettings(interval=30.0, timeout=5.0, list_interval=300.0)


def schedule(settings: ProbeSettings = SETTINGS, factor: float = 1.0) -> Schedule:
    return Schedule(settings, 100.0, lambda: factor)


def test_the_first_probe_and_the_first_listing_are_due_at_the_start() -> None:
    fresh = schedule()
    assert (fresh.probe_at, fresh.list_at) == (100.0, 100.0)


@pytest.mark.parametrize(("is_settled", "pause"), [(True, 30.0), (False, 7.5)])
def test_an_interval_runs_from_start_to_start(is_settled: bool, pause: float) -> None:
    plan = schedule()
    plan.probed(started=100.0, now=104.0, is_settled=is_settled)
    assert plan.probe_at == 100.0 + pause


def test_a_probe_that_took_longer_than_its_pause_is_followed_by_the_next_at_once() -> None:
    plan = schedule()
    plan.probed(started=100.0, now=127.0, is_settled=False)
    assert plan.probe_at == 127.0


def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    plan = schedule()
    plan.probed(started=100.0, now=101.0, is_settled=True, retry_after=120.0)
    assert plan.probe_at == 221.0


def test_a_short_interval_is_not_hurried_below_itself() -> None:
    plan = schedule(ProbeSettings(interval=0.5, timeout=0.2))
    plan.probed(started=100.0, now=100.1, is_settled=False)
    assert plan.probe_at == 100.5


def test_a_contradiction_brings_the_next_probe_near_but_not_at_once() -> None:
    plan = schedule()
    plan.probed(started=100.0, now=100.1, is_settled=True)
    plan.recheck(now=100.2)
    assert plan.probe_at == 100.0 + SHORTEST
    plan.recheck(now=115.0)
    assert plan.probe_at == 100.0 + SHORTEST


def test_a_contradiction_never_puts_a_probe_off() -> None:
    plan = schedule()
    plan.probed(started=100.0, now=100.1, is_settled=True)
    plan.recheck(now=200.0)
    assert plan.probe_at == 130.0


def test_tools_are_listed_every_list_interval() -> None:
    plan = schedule()
    plan.listed(now=101.0)
    assert plan.list_at == 401.0


def test_a_listing_that_failed_comes_with_the_next_probe() -> None:
    plan = schedule()
    plan.probed(started=100.0, now=100.1, is_settled=True)
    plan.not_listed(now=101.0)
    assert plan.list_at == 130.0


def test_a_server_that_tells_changes_all_the_time_is_listed_now_and_then() -> None:
    plan = schedule()
    plan.probed(started=100.0, now=100.1, is_settled=True)
    plan.listed(now=101.0)
    times = []
    for tenth in range(30):
        now = 101.0 + tenth / 10
        plan.tools_changed(now)
        if now >= plan.list_at:
            times.append(now)
            plan.listed(now)
    assert times == pytest.approx([102.0, 103.0], abs=0.11)


def test_a_change_before_any_listing_is_listed_at_once() -> None:
    plan = schedule()
    plan.tools_changed(90.0)
    assert plan.list_at == 90.0


def test_nothing_is_listed_of_a_server_that_cannot_be_asked() -> None:
    plan = schedule()
    plan.probed(started=100.0, now=100.1, is_settled=True)
    assert plan.next_at(can_list=False) == 130.0
    assert plan.next_at(can_list=True) == 100.0


@given(
    st.floats(1 - JITTER, 1 + JITTER),
    st.floats(0, 40),
    st.booleans(),
    st.floats(0, 300),
)
def test_probes_neither_overlap_nor_stay_away(
    factor: float, took: float, is_settled: bool, retry_after: float
) -> None:
    plan = schedule(factor=factor)
    plan.probed(started=100.0, now=100.0 + took, is_settled=is_settled, retry_after=retry_after)
    assert plan.probe_at >= 100.0 + took
    assert plan.probe_at <= max(100.0 + 33.0, 100.0 + took + retry_after) + 1e-6

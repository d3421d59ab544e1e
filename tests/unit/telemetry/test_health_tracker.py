"""Successes and failures, of probes and of calls, become samples and a log line."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from unittest.mock import patch

import pytest

from exporter.telemetry.health import State
from exporter.telemetry.health_tracker import CALL_INTERVAL, QUIET_TIME, HealthTracker
from tests.support.fakes import FakeClock, Telemetry


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with patch("exporter.telemetry.health_tracker.monotonic", FakeClock()) as clock:
        yield clock


class Tracked:
    """The health of one server, with its samples."""

    def __init__(self, *, is_probed: bool = True) -> None:
        self.telemetry = Telemetry()
        self.rechecks = 0
        self.health = HealthTracker(
            self.telemetry.recorder, is_probed=is_probed, recheck=self._recheck
        )

    def _recheck(self) -> None:
        self.rechecks += 1

    def state(self) -> State:
        return self.health.state


def test_a_state_is_one_and_the_others_zero() -> None:
    tracked = Tracked()
    state = "mcp_server_health_state"
    for sign, expected in (
        (tracked.health.succeed, "ok"),
        (lambda: tracked.health.fail("x"), "degraded"),
    ):
        sign()
        values = {each.value: tracked.telemetry.value(state, state=each.value) for each in State}
        assert values == {each.value: float(each.value == expected) for each in State}


@pytest.mark.parametrize(("failures", "up"), [(0, 1), (1, 1), (2, 1), (3, 0), (4, 0)])
def test_a_server_is_up_until_the_third_failure(failures: int, up: int) -> None:
    tracked = Tracked()
    tracked.health.succeed()
    for _ in range(failures):
        tracked.health.fail("no")
    assert tracked.telemetry.value("mcp_server_up") == up
    assert tracked.telemetry.value("mcp_server_consecutive_failures") == failures


def test_a_server_nothing_is_known_of_is_not_up() -> None:
    assert Tracked().telemetry.value("mcp_server_up") == 0


def test_a_success_leaves_its_time() -> None:
    tracked = Tracked()
    tracked.telemetry.clock.now = 5000.0
    tracked.health.succeed()
    tracked.telemetry.clock.now = 6000.0
    tracked.health.fail("no")
    assert tracked.telemetry.value("mcp_server_last_success_timestamp_seconds") == 5000.0


def test_a_change_is_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tracked = Tracked()
    tracked.health.succeed()
    tracked.health.succeed()
    tracked.health.fail("HTTP 500")
    found = [(r.levelname, r.__dict__["from"], r.__dict__["to"]) for r in caplog.records]
    assert found == [("INFO", "unknown", "ok"), ("WARNING", "ok", "degraded")]
    assert caplog.records[1].__dict__["reason"] == "HTTP 500"
    count = {"from": "ok", "to": "degraded"}
    assert tracked.telemetry.value("mcp_server_health_transitions_total", **count) == 1


def test_a_reason_steers_nobodys_terminal() -> None:
    tracked = Tracked()
    tracked.health.fail("HTTP 500 \x1b[2J\u202e")
    assert tracked.health.last_error == "HTTP 500 \\x1b[2J\\u202e"


def test_a_probe_that_only_explains_says_nothing_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    HealthTracker(Telemetry().recorder, is_logged=False).fail("no")
    assert not caplog.records


def test_a_state_is_settled_when_the_next_sign_should_say_the_same() -> None:
    tracked = Tracked()
    settled = [tracked.health.is_settled]
    for sign in "+---+":
        tracked.health.succeed() if sign == "+" else tracked.health.fail("no")
        settled.append(tracked.health.is_settled)
    assert settled == [False, True, False, False, True, False]


# Real traffic


def test_failures_of_one_moment_count_as_one_and_certainty_is_no_doubt(clock: FakeClock) -> None:
    tracked = Tracked()
    tracked.health.succeed()
    for _ in range(5):
        tracked.health.call_failed("reset")
    assert (tracked.state(), tracked.rechecks) == (State.DEGRADED, 1)
    for _ in range(2):
        clock.advance(CALL_INTERVAL)
        tracked.health.call_failed("reset")
    assert (tracked.state(), tracked.rechecks) == (State.ERROR, 2)


def test_calls_that_succeed_between_failures_keep_a_probed_server_degraded(
    clock: FakeClock,
) -> None:
    tracked = Tracked()
    tracked.health.succeed()
    for _ in range(10):
        clock.advance(CALL_INTERVAL)
        tracked.health.call_failed("reset")
        tracked.health.call_succeeded()
    assert tracked.state() is State.DEGRADED
    tracked.health.succeed()
    assert tracked.state() is State.OK


def test_a_call_that_succeeds_ends_error_and_calls_for_a_probe(clock: FakeClock) -> None:
    tracked = Tracked()
    for _ in range(3):
        tracked.health.fail("no")
    clock.advance(60)
    tracked.health.call_succeeded()
    assert (tracked.state(), tracked.rechecks) == (State.DEGRADED, 1)


def test_without_probes_traffic_alone_makes_a_server_well(clock: FakeClock) -> None:
    tracked = Tracked(is_probed=False)
    tracked.health.call_succeeded()
    assert tracked.state() is State.OK
    clock.advance(60)
    tracked.health.call_failed("reset")
    tracked.health.call_succeeded()
    assert tracked.state() is State.DEGRADED
    clock.advance(QUIET_TIME)
    tracked.health.call_succeeded()
    assert tracked.state() is State.OK


def test_a_call_that_succeeds_right_after_a_failure_is_heeded(clock: FakeClock) -> None:
    tracked = Tracked(is_probed=False)
    for _ in range(2):
        tracked.health.call_succeeded()
        assert tracked.state() is State.OK
        clock.advance(CALL_INTERVAL / 4)
        tracked.health.fail("no")
        assert tracked.state() is State.DEGRADED


def test_the_last_success_of_traffic_is_at_most_a_moment_old(clock: FakeClock) -> None:
    tracked = Tracked()
    seen = []
    for _ in range(3):
        tracked.telemetry.clock.advance(CALL_INTERVAL / 2)
        clock.advance(CALL_INTERVAL / 2)
        tracked.health.call_succeeded()
        seen.append(tracked.telemetry.value("mcp_server_last_success_timestamp_seconds"))
    assert seen == [1000.5, 1000.5, 1001.5]

"""The state machine: successes and failures in, states out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.telemetry.health import FAILURES_TO_ERROR, Health, State, Transition
from exporter.telemetry.recorder import POSSIBLE_TRANSITIONS

SIGNS = {"+": Health.succeed, "-": Health.fail, "r": Health.succeed_once}


def course(signs: str) -> str:
    """The states that a row of signs leads through, as their first letters."""
    health = Health()
    states = [health.state]
    for sign in signs:
        SIGNS[sign](health)
        states.append(health.state)
    return "".join(state.value[0] for state in states)


def test_one_failure_may_decide_alone() -> None:
    health = Health(failures_to_error=1)
    assert health.fail() == Transition(State.UNKNOWN, State.ERROR)


@pytest.mark.parametrize(
    ("signs", "states"),
    [
        ("", "u"),
        ("+", "uo"),
        ("-", "ud"),
        ("---", "udde"),
        ("----", "uddee"),
        ("+-", "uod"),
        ("+--", "uodd"),
        ("+---", "uodde"),
        ("+-+", "uodo"),
        ("+--+-", "uoddod"),
        ("---+", "udded"),
        ("---++", "uddedo"),
        ("---+-", "uddedd"),
        ("---+---", "uddeddde"),
        ("r", "uo"),
        ("+r", "uoo"),
        ("+-r", "uodd"),
        ("+-r--", "uodddd"),
        ("+-r---", "uodddde"),
        ("+-r+", "uoddo"),
        ("---r", "udded"),
        ("---rr", "uddedd"),
    ],
)
def test_signs_lead_to_states(signs: str, states: str) -> None:
    assert course(signs) == states


def test_the_first_failure_after_error_and_success_is_degraded_still() -> None:
    health = Health()
    for _ in range(FAILURES_TO_ERROR):
        health.fail()
    assert health.succeed() == Transition(State.ERROR, State.DEGRADED)
    assert health.fail() is None
    assert health.consecutive_failures == 1


@given(st.text(alphabet="+-r", max_size=40))
def test_only_the_known_transitions_happen_and_each_is_told(signs: str) -> None:
    health = Health()
    for sign in signs:
        before = health.state
        told = SIGNS[sign](health)
        changed = before is not health.state
        assert (told == Transition(before, health.state)) is changed
        assert not changed or (before, health.state) in POSSIBLE_TRANSITIONS


@given(st.text(alphabet="+-r", max_size=40))
def test_failures_are_counted_since_the_last_good_sign(signs: str) -> None:
    health = Health()
    for sign in signs:
        SIGNS[sign](health)
    assert health.consecutive_failures == len(signs) - len(signs.rstrip("-"))

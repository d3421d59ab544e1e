"""The health state machine of one server: pure, without a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

FAILURES_TO_ERROR = 3
"""The consecutive failure at which a server counts as down."""


class State(StrEnum):
    """What is known of a server."""

    UNKNOWN = "unknown"
    OK = "ok"
    DEGRADED = "degraded"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state."""

    before: State
    after: State


class Health:
    """Turns successes and failures into a state that can be alerted on.

    A success takes ``error`` to ``degraded``, and ``degraded`` and ``unknown`` to ``ok``. The
    first consecutive failure makes ``degraded``, the third and every later one ``error``; the
    second changes nothing, so that one lost probe never reads as an outage. Another number than
    three is for a probe that stands alone.
    """

    def __init__(self, failures_to_error: int = FAILURES_TO_ERROR) -> None:
        self.state = State.UNKNOWN
        self._failures_to_error = failures_to_error
        self.consecutive_failures = 0

    def succeed(self) -> Transition | None:
        """Note a success. Return the change of state, if there is one."""
        self.consecutive_failures = 0
        return self._enter(State.DEGRADED if self.state is State.ERROR else State.OK)

    def succeed_once(self) -> Transition | None:
        """Note a success among failures: it ends the row of failures and ``error``.

        It does not end ``degraded``: where one call in a hundred fails, the calls between would
        change the state with every failure.
        """
        if self.state is not State.DEGRADED:
            return self.succeed()
        self.consecutive_failures = 0
        return None

    def fail(self) -> Transition | None:
        """Note a failure. Return the change of state, if there is one."""
        self.consecutive_failures += 1
        if self.consecutive_failures >= self._failures_to_error:
            return self._enter(State.ERROR)
        if self.consecutive_failures == 1 and self.state is not State.ERROR:
            return self._enter(State.DEGRADED)
        return None

    def _enter(self, state: State) -> Transition | None:
        if state is self.state:
            return None
        transition = Transition(self.state, state)
        self.state = state
        return transition

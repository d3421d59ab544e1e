"""The health of one server: its state machine, its samples, and a line in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, time

from exporter.telemetry.health import Health, State, Transition
from exporter.telemetry.recorder import ServerRecorder

SIGN_INTERVAL = 1.0
"""Seconds in which failures of real calls count as one: a restart may break many at once."""

QUIET_TIME = 5.0
"""Seconds without a failed call after which a good one proves that the server is well again."""

log = logging.getLogger(__name__)


class HealthTracker:
    """Takes signs of life and failures, from probes and from real traffic.

    ``is_probed`` says that probes decide when a server is well again; otherwise traffic does.
    """

    def __init__(
        self, recorder: ServerRecorder, *, is_probed: bool = True, is_logged: bool = True
    ) -> None:
        self.since = time()
        self.last_error = ""
        self.on_doubt: Callable[[], None] = _nothing
        self._recorder = recorder
        self._health = Health()
        self._is_probed = is_probed
        self._is_logged = is_logged
        self._next_heard = 0.0
        self._next_missed = 0.0
        self._well_again_at = 0.0

    @property
    def state(self) -> State:
        """The state that the server is in."""
        return self._health.state

    @property
    def is_settled(self) -> bool:
        """Whether the next sign is expected to say the same as the last."""
        return self.state is State.ERROR or self._is_well

    def succeed(self) -> None:
        """A probe has just proved the server to be alive."""
        self._recorder.succeeded()
        if not self._is_well:
            self._note(self._health.succeed(), "")

    def fail(self, reason: str) -> None:
        """A probe could not reach the server, or it did not reply as a server should."""
        self.last_error = reason
        self._note(self._health.fail(), reason)

    def heard(self) -> None:
        """The server said something to a client. Comes with every message: made to be cheap."""
        now = monotonic()
        if now < self._next_heard and self._is_well:
            return
        self._next_heard = now + SIGN_INTERVAL
        self._recorder.succeeded()
        if self._is_well:
            return
        is_over = not self._is_probed and now >= self._well_again_at
        transition = self._health.succeed() if is_over else self._health.reassure()
        self._note(transition, "")
        if transition is not None:
            self.on_doubt()

    def missed(self, reason: str) -> None:
        """A real call found the server unreachable, or lost it before the reply."""
        now = monotonic()
        self._well_again_at = now + QUIET_TIME
        if now < self._next_missed:
            return
        self._next_missed = now + SIGN_INTERVAL
        self.fail(reason)
        if self.state is not State.ERROR:
            self.on_doubt()

    @property
    def _is_well(self) -> bool:
        return self.state is State.OK and not self._health.consecutive_failures

    def _note(self, transition: Transition | None, reason: str) -> None:
        self._recorder.state_is(self.state, self._health.consecutive_failures)
        if transition is None:
            return
        self.since = time()
        self._recorder.changed(transition)
        if self._is_logged:
            self._log(transition, reason)

    def _log(self, transition: Transition, reason: str) -> None:
        level = logging.INFO if transition.after is State.OK else logging.WARNING
        extra = {"server": self._recorder.name, "from": transition.before, "to": transition.after}
        if reason:
            extra["reason"] = reason
        log.log(level, "server state changed", extra=extra)


def _nothing() -> None:
    """Nobody wants to know."""

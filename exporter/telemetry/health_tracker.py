"""The health of one server: its state machine, its samples, and a line in the log."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, time

from exporter.protocol.printable import printable
from exporter.telemetry.health import FAILURES_TO_ERROR, Health, State, Transition
from exporter.telemetry.recorder import ServerRecorder

CALL_INTERVAL = 1.0
"""Seconds in which failures of real calls count as one: a restart may break many at once."""

QUIET_TIME = 5.0
"""Seconds without a failed call after which a good one proves that the server is well again."""

log = logging.getLogger(__name__)


class HealthTracker:
    """Takes successes and failures, of probes and of real calls.

    ``is_probed`` says that probes decide when a server is well again; otherwise calls do.
    ``recheck`` is called when calls contradict the state: a probe should follow soon.
    """

    def __init__(
        self,
        recorder: ServerRecorder,
        *,
        is_probed: bool = True,
        is_logged: bool = True,
        failures_to_error: int = FAILURES_TO_ERROR,
        recheck: Callable[[], None] | None = None,
    ) -> None:
        self.since = time()
        self.last_error = ""
        self._recorder = recorder
        self._health = Health(failures_to_error)
        self._is_probed = is_probed
        self._is_logged = is_logged
        self.recheck = recheck
        self._next_success = 0.0
        self._next_failure = 0.0
        self._well_again_at = 0.0

    @property
    def state(self) -> State:
        """The state of the server."""
        return self._health.state

    @property
    def is_settled(self) -> bool:
        """Whether the next probe is expected to give what the last one gave."""
        return self.state is State.ERROR or self._is_well

    def succeed(self) -> None:
        """A probe has just proved the server to be alive."""
        self._recorder.succeeded()
        if not self._is_well:
            self._note(self._health.succeed(), "")

    def fail(self, reason: str) -> None:
        """A probe could not reach the server, or it did not reply as a server should."""
        self.last_error = printable(reason)
        self._note(self._health.fail(), self.last_error)

    def call_succeeded(self) -> None:
        """The server sent a client a message. Called for every message: made to be cheap."""
        now = monotonic()
        if now < self._next_success:
            return
        self._next_success = now + CALL_INTERVAL
        self._recorder.succeeded()
        if self._is_well:
            return
        is_over = not self._is_probed and now >= self._well_again_at
        transition = self._health.succeed() if is_over else self._health.succeed_once()
        self._note(transition, "")
        if transition is not None and self.recheck is not None:
            self.recheck()

    def call_failed(self, reason: str) -> None:
        """A call found the server unreachable, or lost it before the reply."""
        now = monotonic()
        self._well_again_at = now + QUIET_TIME
        if now < self._next_failure:
            return
        self._next_failure = now + CALL_INTERVAL
        self.fail(reason)
        if self.state is not State.ERROR and self.recheck is not None:
            self.recheck()

    @property
    def _is_well(self) -> bool:
        return self.state is State.OK and not self._health.consecutive_failures

    def _note(self, transition: Transition | None, reason: str) -> None:
        self._recorder.state_is(self.state, self._health.consecutive_failures)
        if not self._is_well:
            self._next_success = 0.0  # the very next one may end it
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

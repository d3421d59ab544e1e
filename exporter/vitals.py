"""The health of one server: its state machine, its samples, and a line in the log."""

from __future__ import annotations

import logging
from time import time

from exporter.health import Health, State, Transition
from exporter.recorder import ServerRecorder

log = logging.getLogger(__name__)


class Vitals:
    """Takes signs of life and failures, from probes and from real traffic."""

    def __init__(self, recorder: ServerRecorder) -> None:
        self._recorder = recorder
        self._health = Health()
        self.since = time()
        self.last_error = ""

    @property
    def state(self) -> State:
        """The state that the server is in."""
        return self._health.state

    @property
    def is_settled(self) -> bool:
        """Whether the next sign is expected to say the same as the last."""
        if self.state is State.ERROR:
            return True
        return self.state is State.OK and not self._health.consecutive_failures

    def succeed(self) -> None:
        """The server has just proved to be alive."""
        self._recorder.succeeded()
        if self.state is not State.OK or self._health.consecutive_failures:
            self._note(self._health.succeed(), "")

    def fail(self, reason: str) -> None:
        """The server could not be reached, or did not reply as a server should."""
        self.last_error = reason
        self._note(self._health.fail(), reason)

    def _note(self, transition: Transition | None, reason: str) -> None:
        self._recorder.state_is(self.state, self._health.consecutive_failures)
        if transition is None:
            return
        self.since = time()
        self._recorder.changed(transition)
        level = logging.INFO if transition.after is State.OK else logging.WARNING
        extra = {"server": self._recorder.name, "from": transition.before, "to": transition.after}
        if reason:
            extra["reason"] = reason
        log.log(level, "server state changed", extra=extra)

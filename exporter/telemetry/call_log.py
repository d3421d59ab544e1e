"""One line a request in the log, for those who ask for it (``--log.calls``).

A line says which client called what on which server, how it ended and how long it took. Arguments
and results are never in it.
"""

from __future__ import annotations

import logging
from typing import Any

from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.recorder import ServerRecorder

log = logging.getLogger(__name__)

_LONGEST = 128
"""Characters of a name that a peer chose."""


class LoggingRecorder(ServerRecorder):
    """Writes a line for each request that it counts."""

    names_clients = True

    def finished(self, call: Call) -> None:
        """A request has ended."""
        super().finished(call)
        extra: dict[str, Any] = {"server": self.name, "method": _short(call.method)}
        if call.tool is not None:
            extra["tool"] = _short(call.tool)
        extra |= {"outcome": str(call.outcome), "seconds": round(call.seconds, 6)}
        if call.code is not None:
            extra["code"] = call.code
        if call.client is not None:
            extra["client"] = _short(call.client)
        if not call.to_server:
            extra["direction"] = "to_client"
        log.info("call", extra=extra)

    def rejected(self, method: str | None, reason: str) -> None:
        """The exporter rejected a request to this server."""
        super().rejected(method, reason)
        log_rejection(self.name, method, reason)


class LoggedRejections:
    """Counts and logs the requests that were rejected and were for no known server."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def rejected(self, method: str | None, reason: str) -> None:
        """The exporter rejected a request."""
        self._metrics.rejected(method, reason)
        log_rejection(None, method, reason)

    def count_rejection(self, reason: str) -> None:
        """A connection was cut, or a request rejected that is no MCP."""
        self._metrics.count_rejection(reason)


def log_rejection(server: str | None, method: str | None, reason: str) -> None:
    """Write the line of a request that the exporter rejected."""
    extra = {"outcome": str(Outcome.REJECTED), "reason": reason}
    if method is not None:
        extra = {"method": _short(method), **extra}
    if server is not None:
        extra = {"server": server, **extra}
    log.info("call", extra=extra)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"

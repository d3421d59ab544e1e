"""What the clients counted: how each of their requests ended, and how long good ones took."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from tests.soak.http_client import Reply
from tests.support.raw_client import Json

OTHER = "_other"
REJECTED = "rejected"
_OWN_WORDS = "mcp-exporter: "
_LOST, _TIMEOUT = -32000, -32001


@dataclass
class Tally:
    """Counts by the labels under which the exporter counts the same."""

    requests: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """By server, method and outcome."""
    notifications: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """To the server; by server and method."""
    sessions: Counter[str] = field(default_factory=Counter)
    """Begun; by server."""
    times: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))

    def count(self, server: str, method: str, outcome: str) -> None:
        """One request ended."""
        self.requests[server, method, outcome] += 1

    def took(self, seconds: float) -> None:
        """A quick call that succeeded took so long."""
        self.times.append(monotonic())
        self.seconds.append(seconds)

    def latencies(self, start: float, end: float) -> list[float]:
        """Those of a span of time, sorted."""
        pairs = zip(self.times, self.seconds, strict=True)
        return sorted(seconds for time, seconds in pairs if start <= time < end)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that so large a share is not above."""
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def outcome_of(reply: Reply | None) -> str:
    """How a request ended whose client saw this reply, or the connection cut."""
    if reply is None:
        return "upstream_error"
    message = reply.message
    error = message.get("error") if message else None
    if error is not None:
        return _outcome_of_error(error)
    if reply.status in (401, 403):
        return "unauthorized"
    if message is None or "result" not in message:
        return "upstream_error"
    return _outcome_of_result(message["result"])


def _outcome_of_error(error: Json) -> str:
    if not error["message"].startswith(_OWN_WORDS):
        return "protocol_error"
    return {_LOST: "upstream_error", _TIMEOUT: "timeout"}.get(error["code"], REJECTED)


def _outcome_of_result(result: Any) -> str:
    if result.get("isError"):
        return "tool_error"
    return "ok" if result.get("resultType", "complete") == "complete" else "input_required"

"""The closed sets of label values that the metric contract fixes (docs/metrics.md).

Every module that counts takes its values from here, so that each is there at zero from the
start, and none is written in two ways.
"""

from __future__ import annotations

from enum import StrEnum

from exporter.protocol.failures import Fault

OTHER = "_other"
"""Stands for every value that was not admitted."""


class Outcome(StrEnum):
    """How a request ended. Every request ends exactly once."""

    OK = "ok"
    INPUT_REQUIRED = "input_required"
    TOOL_ERROR = "tool_error"
    PROTOCOL_ERROR = "protocol_error"
    TIMEOUT = "timeout"
    UPSTREAM_ERROR = "upstream_error"
    UNAUTHORIZED = "unauthorized"
    CANCELLED = "cancelled"
    CLIENT_GONE = "client_gone"
    REJECTED = "rejected"


REPLIED = frozenset(
    {Outcome.OK, Outcome.INPUT_REQUIRED, Outcome.TOOL_ERROR, Outcome.PROTOCOL_ERROR}
)
"""Outcomes of requests that the server itself replied to: it is alive."""

TOOL_OUTCOMES = (
    Outcome.OK,
    Outcome.TOOL_ERROR,
    Outcome.PROTOCOL_ERROR,
    Outcome.TIMEOUT,
    Outcome.UPSTREAM_ERROR,
)
"""At zero for every listed tool: ``increase()`` must see the first failure."""

FAILED_CALLS = frozenset(TOOL_OUTCOMES) - {Outcome.OK}
"""Outcomes of calls for which the server or the way there is to blame."""

SUCCESS = "success"
UNAUTHORIZED = "unauthorized"
PROBE_RESULTS = (SUCCESS, UNAUTHORIZED, *Fault)

UNPARSED = ("encoded", "not_json", "not_jsonrpc", "too_large", "unmatched_reply")
"""Why a message was relayed without being understood."""

TOOL_CHANGES = ADDED, REMOVED, MODIFIED = ("added", "removed", "modified")

EXIT_REASONS = ("clean", "error", "signal", "killed")

REJECTIONS = (
    "bad_envelope",
    "bad_method",
    "bad_origin",
    "bad_request",
    "body_too_large",
    "discovery",
    "head_too_large",
    "id_in_use",
    "not_json",
    "not_jsonrpc",
    "pipeline_too_large",
    "read_timeout",
    "server_not_reading",
    "stream_in_use",
    "too_many_children",
    "too_many_connections",
    "too_many_requests",
    "too_many_sessions",
    "too_many_streams",
    "unauthorized",
    "unknown_path",
    "unknown_server",
    "unknown_session",
    "web_bad_origin",
    "web_busy",
    "web_rate_limited",
    "web_unauthorized",
    "write_timeout",
)
"""Why the exporter itself rejected a request."""

_SIGKILL = 9


def exit_reason(code: int | None, was_asked: bool) -> str:
    """How a process ended, by its return code (negative: by that signal).

    One that was asked to end is ``killed`` where it did not heed that, and else ``clean``.
    """
    if was_asked:
        return "killed" if code == -_SIGKILL else "clean"
    if code == 0:
        return "clean"
    return "signal" if code is not None and code < 0 else "error"

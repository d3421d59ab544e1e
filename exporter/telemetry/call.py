"""One finished request, as data, and the exporter's own exceptions."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Outcome(StrEnum):
    """How a request ended. The set is closed, and every request ends exactly once."""

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


class Call(Struct, frozen=True, gc=False):
    """One request that has ended.

    ``seconds`` is the time from the request's last byte to the reply's, ``result_bytes`` the
    reply's length on the wire, both as the exporter saw them. ``method`` and ``tool`` are what
    the peer sent and must be admitted before they become label values.
    """

    method: str
    outcome: Outcome
    seconds: float
    to_server: bool = True
    tool: str | None = None
    code: float | None = None
    result_bytes: int | None = None
    traceparent: str | None = None
    client: str | None = None
    """The client's own name, where somebody wants to know it."""

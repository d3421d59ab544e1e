"""One finished request, as data, and the exporter's own exceptions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OTHER = "_other"
"""The label value that stands for every value that was not admitted."""


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


class ConfigError(Exception):
    """A configuration that cannot be used: one line with the file, the place and the mend."""


class UpstreamError(Exception):
    """The upstream could not be reached, or was lost before it had replied."""

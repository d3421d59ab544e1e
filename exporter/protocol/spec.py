"""What the specification fixes: its versions and its methods."""

from __future__ import annotations

MODERN = "2026-07-28"
"""The first protocol version without sessions."""

LEGACY = "2025-11-25"
"""The last protocol version with sessions."""

PROTOCOL_VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", LEGACY, MODERN})
"""Every published revision of the specification."""

_WITH_SESSIONS = frozenset(version.encode() for version in PROTOCOL_VERSIONS - {MODERN})

INITIALIZE = "initialize"
DISCOVER = "server/discover"
LISTEN = "subscriptions/listen"
CALL_TOOL = "tools/call"
LIST_TOOLS = "tools/list"
CANCELLED = "notifications/cancelled"
LIST_CHANGED = "notifications/tools/list_changed"
PROGRESS = "notifications/progress"

METHODS = frozenset(
    {
        CALL_TOOL,
        CANCELLED,
        DISCOVER,
        INITIALIZE,
        LISTEN,
        LIST_CHANGED,
        LIST_TOOLS,
        PROGRESS,
        "completion/complete",
        "elicitation/create",
        "logging/setLevel",
        "notifications/elicitation/complete",
        "notifications/initialized",
        "notifications/message",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/roots/list_changed",
        "notifications/subscriptions/acknowledged",
        "notifications/tasks/status",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "roots/list",
        "sampling/createMessage",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
    }
)
"""Every method of the specification's revisions 2024-11-05 to 2026-07-28."""

UNTIMED = frozenset({LISTEN})
"""Requests that last as long as their client listens: not in flight, and without a latency."""


def is_modern(header: bytes | None, envelope_version: str | None) -> bool:
    """Whether a request is of the protocol without sessions (2026-07-28 and later).

    ``header`` is its ``MCP-Protocol-Version``, which decides where it is there; an unknown
    version counts as a newer one. ``envelope_version`` is the one in ``params._meta``.
    """
    if header is not None:
        return header not in _WITH_SESSIONS
    return envelope_version is not None

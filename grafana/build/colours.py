"""The colours and words of what is drawn.

Where a colour has a meaning, red means that something failed, and nothing else is red. Servers and
tools, which have none, take the colours of Grafana's classic palette: it tells neighbours apart,
and Grafana 11, 12 and 13 all know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Words = Mapping[str, tuple[str, str]]
"""A value, as text, to its word and colour."""

Steps = Sequence[tuple[float, str]]
"""From which value on which colour holds; that of the first holds below it too."""

OUTCOMES = {
    "ok": "green",
    "input_required": "blue",
    "cancelled": "#8e8e8e",
    "client_gone": "#c7c7c7",
    "unauthorized": "purple",
    "rejected": "yellow",
    "tool_error": "light-red",
    "protocol_error": "#ff5286",
    "timeout": "red",
    "upstream_error": "dark-red",
}
PROBES = {
    "success": "green",
    "unauthorized": "purple",
    "timeout": "red",
    "connect_error": "dark-red",
    "protocol_error": "#ff5286",
    "process_exit": "light-red",
}
METHODS = {
    "tools/call": "blue",
    "tools/list": "purple",
    "initialize": "yellow",
    "server/discover": "orange",
    "resources/read": "green",
    "resources/list": "dark-green",
    "prompts/get": "light-yellow",
    "prompts/list": "light-purple",
    "ping": "#8e8e8e",
    "_other": "#c7c7c7",
}
DIRECTIONS = {"to_server": "purple", "to_client": "blue"}
TRANSPORTS = {"http": "purple", "stdio": "blue"}
EXITS = {"clean": "green", "error": "red", "signal": "dark-red", "killed": "light-red"}
LATENCY = {"p99": "dark-purple", "p90": "purple", "p50": "blue", "average": "yellow"}

BY_LABEL: Mapping[str, Mapping[str, str]] = {
    "outcome": OUTCOMES,
    "result": PROBES,
    "method": METHODS,
    "direction": DIRECTIONS,
    "transport": TRANSPORTS,
}
"""The colours of a label's values, where they have a meaning wherever they are drawn."""

STATES: Words = {
    "0": ("ok", "green"),
    "1": ("unknown", "text"),
    "2": ("degraded", "orange"),
    "3": ("in part", "orange"),
    "4": ("error", "red"),
}
SEVERITIES: Words = {"critical": ("critical", "red"), "warning": ("warning", "orange")}
CHANGES: Words = {
    "added": ("added", "green"),
    "removed": ("removed", "orange"),
    "modified": ("modified", "purple"),
}
YES_NO: Words = {"1": ("yes", "green"), "0": ("no", "red")}

# The first colour is that of a panel without an answer, too: where it is not "text", none is good.
BUDGET: Steps = ((0.0, "text"), (0.0, "orange"), (0.25, "green"))
"""Share of an error budget left: nearly spent, well."""
SPENT = (0.0, "spent", "red")
"""Up to which share a budget is spent; how far below nobody can act on."""
FAILING: Steps = ((0.0, "text"), (0.001, "orange"), (0.05, "red"))
"""Share of calls that failed: none, some, so many that people notice."""
ANY_IS_RED: Steps = ((0, "text"), (0, "green"), (1, "red"))
ANY_IS_ORANGE: Steps = ((0, "text"), (0, "green"), (1, "orange"))

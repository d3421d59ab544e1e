"""The few PromQL shapes that the rules share."""

from __future__ import annotations

IDENTITY = "job, instance, server"
TOOL = f"{IDENTITY}, tool"

NO_VERDICT = "cancelled|client_gone|rejected|unauthorized"
"""Outcomes that say nothing of the server: nobody waited, or it was never asked."""

UNAVAILABLE = "timeout|upstream_error"
FAILED = f"protocol_error|{UNAVAILABLE}|tool_error"
COMPLETED = f"ok|{FAILED}"
"""What tool success is a share of; ``input_required`` is a step and not an end."""

MEASURED = "input_required|ok|protocol_error|timeout|tool_error"
"""Calls whose time the server decided: it replied, or let the deadline pass."""


def select(metric: str, *matchers: str, **labels: str) -> str:
    """A selector; matchers come as `match` gives them, labels as equalities."""
    equal = [match(label, "=", value) for label, value in labels.items()]
    return f"{metric}{{{','.join([*equal, *matchers])}}}"


def match(label: str, operator: str, value: str) -> str:
    """One label matcher, its value quoted."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{label}{operator}"{quoted}"'


def total(by: str, vector: str) -> str:
    """A sum by labels."""
    return f"sum by ({by}) ({vector})"


def counted(selector: str, window: str, by: str) -> str:
    """What a counter gained in a window, where it gained.

    A counter whose very first event created it enters Prometheus with that event already in it,
    and ``increase()`` sees nothing; the second half counts it.
    """
    born = f"{selector} > 0 unless max_over_time({selector}[1d] offset {window})"
    return f"sum by ({by}) (\n  increase({selector}[{window}]) > 0\n  or\n  ({born})\n)"

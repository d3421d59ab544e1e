"""The few PromQL shapes that the rules share.

``<job>``, ``<identity>`` and the names of thresholds stand for what objectives.yml says; they are
filled in when a rule is written down (`prometheus.build.rules`).
"""

from __future__ import annotations

from functools import cache

from scripts.metric_docs import documented

DEPLOYMENT = "<identity>"
"""The exporters that are replicas of each other: what they count is added up."""
REPLICA = f"{DEPLOYMENT}, instance"
SERVER = f"{DEPLOYMENT}, server"
TOOL = f"{SERVER}, tool"

THIS_JOB = 'job="<job>"'

NO_VERDICT = "cancelled|client_gone|rejected|unauthorized"
"""Outcomes that say nothing of the server: nobody waited, or it was never asked."""

UNAVAILABLE = "timeout|upstream_error"
FAILED = f"protocol_error|{UNAVAILABLE}|tool_error"
COMPLETED = f"ok|{FAILED}"
"""What tool success is a share of; ``input_required`` is a step and not an end."""

MEASURED = "input_required|ok|protocol_error|timeout|tool_error"
"""Calls whose time the server decided: it replied, or let the deadline pass."""


def select(metric: str, *matchers: str, **labels: str) -> str:
    """A selector of this job; matchers come as `match` gives them, labels as equalities."""
    equal = [match(label, "=", value) for label, value in labels.items()]
    return f"{metric}{{{','.join([THIS_JOB, *equal, *matchers])}}}"


def match(label: str, operator: str, value: str) -> str:
    """One label matcher, its value quoted; ``<`` would begin a placeholder."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("<", "\\x3c")
    return f'{label}{operator}"{quoted}"'


def total(by: str, vector: str) -> str:
    """A sum by labels."""
    return f"sum by ({by}) ({vector})"


def highest(by: str, vector: str) -> str:
    """One value of what all replicas see alike."""
    return f"max by ({by}) ({vector})"


def gained(by: str, window: str, metric: str, *matchers: str, **labels: str) -> str:
    """What a counter gained in a window, over all replicas."""
    return total(by, once("increase", window, metric, *matchers, **labels))


def once(function: str, window: str, metric: str, *matchers: str, **labels: str) -> str:
    """A function over a window, once for every series that a replica serves.

    A replica that two scrape jobs or Services lead to has each series twice, told apart by labels
    of its target alone: a sum would count it double.
    """
    inner = f"{function}({select(metric, *matchers, **labels)}[{window}])"
    return highest(", ".join([REPLICA, *_labels(metric)]), inner)


@cache
def _labels(metric: str) -> tuple[str, ...]:
    """The labels that the exporter gives a series."""
    families = {name: labels for name, _, labels, _ in documented()}
    if metric.endswith("_bucket"):
        return (*families[metric.removesuffix("_bucket")], "le")
    return families[metric.removesuffix("_count")]

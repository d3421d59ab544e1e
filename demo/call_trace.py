"""From a call to its trace, the way that leads there from a graph: by Prometheus' exemplar."""

from __future__ import annotations

from dataclasses import dataclass

import requests

from demo.report import SECONDS_TO_ANSWER, Prometheus, of_exporter

SERVER = "files"


@dataclass(frozen=True)
class CallTrace:
    """The newest call of a tool that left an exemplar, and the page of its trace."""

    tool: str
    url: str = ""
    span_id: str = ""
    page: str = ""
    """Empty where the trace store has no such trace."""


def find(
    prometheus: Prometheus, instance: str, tool: str, since: float, traces_url: str
) -> CallTrace:
    """Ask Prometheus for the exemplars since then (Unix seconds), and the store for the page.

    Raises requests.RequestException where one of them does not answer.
    """
    series = (
        f"mcp_tool_call_duration_seconds_bucket"
        f'{{{of_exporter(instance)},server="{SERVER}",tool="{tool}"}}'
    )
    exemplars = prometheus.exemplars(series, since)
    if not exemplars:
        return CallTrace(tool)
    labels = exemplars[-1].labels
    url = f"{traces_url}/trace/{labels.get('trace_id', '')}"
    return CallTrace(tool, url, labels.get("span_id", ""), _page(url))


def shortcomings(trace: CallTrace) -> list[str]:
    """Say what is missing on the way; empty where it leads to the call's span."""
    if not trace.url:
        return [f"Prometheus has no exemplar of a call of {trace.tool}"]
    if not trace.page:
        return [f"the trace of a call of {trace.tool} did not arrive: {trace.url}"]
    if not trace.span_id or f'id="{trace.span_id}"' not in trace.page:
        return [f"the trace of a call of {trace.tool} lacks the call's span: {trace.url}"]
    return []


def _page(url: str) -> str:
    with requests.Session() as session:
        session.trust_env = False  # loopback needs no proxy
        reply = session.get(url, timeout=SECONDS_TO_ANSWER)
    return reply.text if reply.ok else ""

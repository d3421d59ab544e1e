"""What Prometheus, asked over its HTTP API, knows of the calls and of the servers."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from demo.terminal import table

QUANTILES = (0.5, 0.9, 0.99)
SECONDS_TO_ANSWER = 5
SERVERS = ("echo", "files")
"""The servers that have to be healthy."""


@dataclass(frozen=True)
class Sample:
    """One series of an instant query, or one exemplar: its labels and its value."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Tool:
    """The calls of one tool since the exporter started; latencies in seconds by quantile."""

    server: str
    name: str
    calls: float
    succeeded: float
    latencies: Mapping[float, float]


@dataclass(frozen=True)
class Server:
    """One server: its health state, and whether it counts as up."""

    name: str
    state: str
    is_up: bool


@dataclass(frozen=True)
class Report:
    """All that the demo asks for, and the names of the alerts that fire."""

    tools: tuple[Tool, ...] = ()
    servers: tuple[Server, ...] = ()
    alerts: tuple[str, ...] = ()


class Prometheus:
    """The query API of one Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False  # loopback needs no proxy

    def query(self, expression: str) -> list[Sample]:
        """Evaluate an instant query; raises requests.RequestException where that fails."""
        result = self._ask("query", {"query": expression})["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in result]

    def exemplars(self, series: str, since: float) -> list[Sample]:
        """Return the exemplars of these series since then (Unix seconds), the newest last.

        Raises requests.RequestException where that fails.
        """
        words = {"query": series, "start": f"{since:.3f}", "end": f"{time.time():.3f}"}
        found = [each for one in self._ask("query_exemplars", words) for each in one["exemplars"]]
        found.sort(key=lambda each: float(each["timestamp"]))
        return [Sample(each["labels"], float(each["value"])) for each in found]

    def _ask(self, what: str, words: Mapping[str, str]) -> Any:
        url = f"{self.url}/api/v1/{what}"
        reply = self._session.get(url, params=dict(words), timeout=SECONDS_TO_ANSWER)
        reply.raise_for_status()
        return reply.json()["data"]


def has_scraped_since(prometheus: Prometheus, instance: str, moment: float) -> bool:
    """Whether a scrape that succeeded began after `moment`, in Unix seconds.

    Without this, what an earlier run left at the same address would pass for this one's.
    """
    up = f"up{{{of_exporter(instance)}}}"
    return any(each.value > moment for each in prometheus.query(f"timestamp({up} == 1)"))


def ask(prometheus: Prometheus, instance: str) -> Report:
    """Ask for everything that one exporter counted since it started."""
    own = of_exporter(instance)
    calls = f"mcp_tool_calls_total{{{own}}}"
    good = f'mcp_tool_calls_total{{{own},outcome="ok"}}'
    totals = _by_tool(prometheus, f"sum by (server, tool) ({calls})")
    succeeded = _by_tool(prometheus, f"sum by (server, tool) ({good})")
    buckets = f"sum by (server, tool, le) (mcp_tool_call_duration_seconds_bucket{{{own}}})"
    latencies = {
        quantile: _by_tool(prometheus, f"histogram_quantile({quantile}, {buckets})")
        for quantile in QUANTILES
    }
    tools = tuple(
        Tool(
            server=key[0],
            name=key[1],
            calls=total,
            succeeded=succeeded.get(key, 0),
            latencies={q: values.get(key, math.nan) for q, values in latencies.items()},
        )
        for key, total in sorted(totals.items())
        if total
    )
    return Report(tools, _servers(prometheus, own), _alerts(prometheus))


def shortcomings(report: Report, expected: Mapping[str, int]) -> list[str]:
    """Say what Prometheus does not (yet) report as it should; empty where all is well."""
    seen = {tool.name: tool.succeeded for tool in report.tools if tool.server == "files"}
    found = [
        f"{calls} calls of {tool} were made, Prometheus reports {seen.get(tool, 0):g} as ok"
        for tool, calls in expected.items()
        if seen.get(tool) != calls
    ]
    healthy = {each.name for each in report.servers if each.is_up and each.state == "ok"}
    states = {each.name: each.state for each in report.servers}
    found += [
        f"the server {name} is not healthy: {states.get(name, 'no such series')}"
        for name in SERVERS
        if name not in healthy
    ]
    return found


def shown(report: Report) -> str:
    """Return the report as tables."""
    head = ["server", "tool", "calls", "success", *(f"p{q * 100:g}" for q in QUANTILES)]
    rows = [_row(tool) for tool in report.tools]
    calls = sum(tool.calls for tool in report.tools)
    good = sum(tool.succeeded for tool in report.tools)
    rows.append(["all", "", f"{calls:g}", _ratio(good, calls), *("-" for _ in QUANTILES)])
    servers = [[each.name, each.state, "up" if each.is_up else "down"] for each in report.servers]
    firing = ", ".join(report.alerts) or "none"
    return "\n".join(
        [
            table(head, rows),
            "",
            table(["server", "health", ""], servers),
            "",
            f"  alerts firing: {firing}",
        ]
    )


def of_exporter(instance: str) -> str:
    return f'job="mcp-exporter",instance="{instance}"'


def _by_tool(prometheus: Prometheus, expression: str) -> dict[tuple[str, str], float]:
    samples = prometheus.query(expression)
    return {(each.labels["server"], each.labels["tool"]): each.value for each in samples}


def _servers(prometheus: Prometheus, own: str) -> tuple[Server, ...]:
    up = {s.labels["server"] for s in prometheus.query(f"mcp_server_up{{{own}}} == 1")}
    states = prometheus.query(f"mcp_server_health_state{{{own}}} == 1")
    found = {each.labels["server"]: each.labels["state"] for each in states}
    return tuple(Server(name, state, name in up) for name, state in sorted(found.items()))


def _alerts(prometheus: Prometheus) -> tuple[str, ...]:
    firing = prometheus.query('group by (alertname) (ALERTS{alertstate="firing"})')
    return tuple(sorted(each.labels["alertname"] for each in firing))


def _row(tool: Tool) -> list[str]:
    latencies = [_seconds(value) for value in tool.latencies.values()]
    return [
        tool.server,
        tool.name,
        f"{tool.calls:g}",
        _ratio(tool.succeeded, tool.calls),
        *latencies,
    ]


def _ratio(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _seconds(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value * 1000:.2f} ms" if value < 1 else f"{value:.2f} s"

"""What ``status`` is drawn from, and who is asked: Prometheus, or the exporter's own scrape."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from prometheus_client.parser import text_string_to_metric_families

from exporter.config.errors import ConfigError

PATIENCE = 15.0
"""Seconds for one answer."""

_POINTS = 240
_STATE = "mcp_server_health_state"
_TOOLS = "mcp_server_tools"
_CALLS = "mcp_tool_calls_total"
_SECONDS = "mcp_tool_call_duration_seconds_bucket"
_LAST = "mcp_tool_call_last_timestamp_seconds"

Sample = tuple[Mapping[str, str], float]


@dataclass(slots=True)
class Facts:
    """Counts over the window: calls by server, tool and outcome, and cumulative buckets of their
    durations by server and tool. Times are Unix times."""

    window: str
    states: dict[str, str] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    tools: dict[str, int] = field(default_factory=dict)
    calls: dict[tuple[str, str, str], float] = field(default_factory=dict)
    buckets: dict[tuple[str, str], dict[float, float]] = field(default_factory=dict)
    last: dict[tuple[str, str], float] = field(default_factory=dict)


def ask_exporter(url: str) -> Facts:
    """What the exporter has counted since it started."""
    text = _get(f"{url.rstrip('/')}/metrics", "--web.url")
    by_name: dict[str, list[Sample]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                by_name[sample.name].append((sample.labels, sample.value))
    except ValueError:
        raise ConfigError(f"--web.url: {url} is no exporter; its /metrics is unreadable") from None
    if "mcp_exporter_build_info" not in by_name:
        raise ConfigError(f"--web.url: {url} is not mcp-exporter; name its web address")
    return _facts("since the exporter started", by_name)


def ask_prometheus(url: str, seconds: float) -> Facts:
    """What Prometheus knows of the last so many seconds."""
    window = f"{int(seconds * 1000)}ms"
    questions = {
        _STATE: f"max by (server, state) ({_STATE})",
        _TOOLS: f"max by (server) ({_TOOLS})",
        _CALLS: f"sum by (server, tool, outcome) (increase({_CALLS}[{window}]))",
        _SECONDS: f"sum by (server, tool, le) (increase({_SECONDS}[{window}]))",
        _LAST: f"max by (server, tool) ({_LAST})",
    }
    answers = {name: list(_query(url, question)) for name, question in questions.items()}
    facts = _facts(f"the last {_words(seconds)}", answers)
    facts.since = dict(_changes(url, seconds, facts.states))
    return facts


def _facts(window: str, samples: Mapping[str, Iterable[Sample]]) -> Facts:
    facts = Facts(window)
    for labels, value in samples.get(_STATE, ()):
        if value:
            facts.states[labels["server"]] = labels["state"]
    for labels, value in samples.get(_TOOLS, ()):
        facts.tools[labels["server"]] = int(value)
    for labels, value in samples.get(_CALLS, ()):
        key = (labels["server"], labels["tool"], labels["outcome"])
        facts.calls[key] = facts.calls.get(key, 0.0) + value
    for labels, value in samples.get(_SECONDS, ()):
        buckets = facts.buckets.setdefault((labels["server"], labels["tool"]), {})
        edge = float(labels["le"])
        buckets[edge] = buckets.get(edge, 0.0) + value
    for labels, value in samples.get(_LAST, ()):
        facts.last[labels["server"], labels["tool"]] = value
    return facts


def _query(url: str, question: str) -> Iterator[Sample]:
    for series in _api(url, "query", query=question):
        value = float(series["value"][1])
        if not math.isnan(value):
            yield series["metric"], value


def _changes(url: str, seconds: float, states: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """When each server came into its state, as exactly as the window's points tell."""
    end = time()
    answer = _api(
        url,
        "query_range",
        query=f"max by (server, state) ({_STATE})",
        start=f"{end - seconds:.3f}",
        end=f"{end:.3f}",
        step=f"{max(seconds / _POINTS, 0.001):.3f}",
    )
    for series in answer:
        labels = series["metric"]
        if states.get(labels["server"]) != labels["state"]:
            continue
        entered = None
        for at, value in series["values"]:
            entered = None if not float(value) else entered or float(at)
        if entered is not None:
            yield labels["server"], entered


def _api(url: str, path: str, **parameters: str) -> list[dict[str, Any]]:
    text = _get(f"{url.rstrip('/')}/api/v1/{path}?{urlencode(parameters)}", "--prometheus.url")
    try:
        result: list[dict[str, Any]] = json.loads(text)["data"]["result"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"--prometheus.url: {url} does not answer as Prometheus does") from None
    return result


def _get(url: str, flag: str) -> str:
    url, headers = _login(url)
    place = url.partition("?")[0]
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f'{flag}: {place!r} is no URL; start it with "http://"')
    try:
        asked = Request(url, headers=headers)  # noqa: S310
        # No proxy stands between this machine's own processes.
        with build_opener(ProxyHandler({})).open(asked, timeout=PATIENCE) as answer:
            text: str = answer.read().decode(errors="replace")
            return text
    except HTTPError as error:
        raise ConfigError(f"{flag}: {place} answers {error.code}; is it the right one?") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(f"{flag}: {place} cannot be reached: {reason}; is it running?") from None


def _login(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, which go into a header."""
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    login, found, host = authority.rpartition("@")
    if not found:
        return url, {}
    encoded = b64encode(unquote(login).encode()).decode()
    return f"{scheme}{mark}{host}{slash}{path}", {"Authorization": f"Basic {encoded}"}


def _words(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s"

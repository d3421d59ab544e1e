"""What ``status`` shows, and who is asked for it: Prometheus, or the exporter's own scrape."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from time import time
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from exporter.cli.flags import is_local
from exporter.config.errors import ConfigError
from exporter.config.validators import format_duration
from exporter.protocol.label_values import SUCCESS, UNAUTHORIZED

TIMEOUT = 15.0
"""Seconds for one reply."""

_POINTS = 240
_REASON_WINDOW = 300.0
_STATE = "mcp_server_health_state"
_TOOLS = "mcp_server_tools"
_SEEN = "mcp_server_last_success_timestamp_seconds"
_PROBES = "mcp_probes_total"
_CALLS = "mcp_tool_calls_total"
_SECONDS = "mcp_tool_call_duration_seconds_bucket"
_LAST = "mcp_tool_call_last_timestamp_seconds"

Sample = tuple[Mapping[str, str], float]


@dataclass(slots=True)
class StatusData:
    """Counts over the window: calls by server, tool and outcome, cumulative buckets of their
    durations by server and tool, failed probes by server and result. Times are Unix times."""

    window: str
    states: dict[str, str] = field(default_factory=dict)
    since: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    """When each server last replied; 0: never."""
    failed_probes: dict[tuple[str, str], float] = field(default_factory=dict)
    tools: dict[str, int] = field(default_factory=dict)
    calls: dict[tuple[str, str, str], float] = field(default_factory=dict)
    buckets: dict[tuple[str, str], dict[float, float]] = field(default_factory=dict)
    last: dict[tuple[str, str], float] = field(default_factory=dict)

    def only(self, server: str) -> StatusData:
        """What is known of one server."""
        found = StatusData(self.window)
        for each in fields(self)[1:]:
            known: dict[Any, Any] = getattr(self, each.name)
            kept = {key: value for key, value in known.items() if _server_of(key) == server}
            setattr(found, each.name, kept)
        return found


def _server_of(key: str | tuple[str, ...]) -> str:
    return key if isinstance(key, str) else key[0]


def ask_exporter(url: str) -> StatusData:
    """What the exporter has counted since it started. Raises ``ConfigError``."""
    with _session(url, "--web.url") as session:
        text = _get(session, f"{url.rstrip('/')}/metrics", "--web.url")
    by_name: dict[str, list[Sample]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                by_name[sample.name].append((sample.labels, sample.value))
    except ValueError:
        raise ConfigError(f"--web.url: {url} is no exporter; its /metrics is unreadable") from None
    if "mcp_exporter_build_info" not in by_name:
        raise ConfigError(f"--web.url: {url} is not mcp-exporter; name its web address")
    return _collected("since the exporter started", by_name)


def ask_prometheus(url: str, seconds: float) -> StatusData:
    """What Prometheus knows of the last so many seconds. Raises ``ConfigError``."""
    window, recent = _milliseconds(seconds), _milliseconds(min(seconds, _REASON_WINDOW))
    questions = {
        _STATE: f"max by (server, state) ({_STATE})",
        _TOOLS: f"max by (server) ({_TOOLS})",
        _SEEN: f"max by (server) ({_SEEN})",
        _PROBES: f"sum by (server, result) (increase({_PROBES}[{recent}]))",
        _CALLS: f"sum by (server, tool, outcome) (increase({_CALLS}[{window}]))",
        _SECONDS: f"sum by (server, tool, le) (increase({_SECONDS}[{window}]))",
        _LAST: f"max by (server, tool) ({_LAST})",
    }
    with _session(url, "--prometheus.url") as session:
        prometheus = _Prometheus(session, url)
        samples = {name: list(prometheus.query(query)) for name, query in questions.items()}
        found = _collected(f"of the last {format_duration(seconds)}", samples)
        found.since = dict(prometheus.changes(seconds, found.states))
    return found


def _collected(window: str, samples: Mapping[str, Iterable[Sample]]) -> StatusData:
    found = StatusData(window)
    for labels, value in samples.get(_STATE, ()):
        if value:
            found.states[labels["server"]] = labels["state"]
    for labels, value in samples.get(_TOOLS, ()):
        found.tools[labels["server"]] = int(value)
    for labels, value in samples.get(_SEEN, ()):
        found.seen[labels["server"]] = value
    for labels, value in samples.get(_PROBES, ()):
        if value and labels["result"] not in (SUCCESS, UNAUTHORIZED):
            found.failed_probes[labels["server"], labels["result"]] = value
    _collect_calls(found, samples)
    return found


def _collect_calls(found: StatusData, samples: Mapping[str, Iterable[Sample]]) -> None:
    for labels, value in samples.get(_CALLS, ()):
        key = (labels["server"], labels["tool"], labels["outcome"])
        found.calls[key] = found.calls.get(key, 0.0) + value
    for labels, value in samples.get(_SECONDS, ()):
        buckets = found.buckets.setdefault((labels["server"], labels["tool"]), {})
        edge = float(labels["le"])
        buckets[edge] = buckets.get(edge, 0.0) + value
    for labels, value in samples.get(_LAST, ()):
        found.last[labels["server"], labels["tool"]] = value


class _Prometheus:
    """Asks the HTTP API of a Prometheus."""

    def __init__(self, session: requests.Session, url: str) -> None:
        self._session = session
        self._url = url

    def query(self, query: str) -> Iterator[Sample]:
        for series in self._result("query", query=query):
            value = float(series["value"][1])
            if not math.isnan(value):
                yield series["metric"], value

    def changes(self, seconds: float, states: Mapping[str, str]) -> Iterator[tuple[str, float]]:
        """When each server came into its state, as exactly as the window's points tell."""
        end = time()
        found = self._result(
            "query_range",
            query=f"max by (server, state) ({_STATE})",
            start=f"{end - seconds:.3f}",
            end=f"{end:.3f}",
            step=f"{max(seconds / _POINTS, 0.001):.3f}",
        )
        for series in found:
            labels = series["metric"]
            if states.get(labels["server"]) != labels["state"]:
                continue
            entered = None
            for at, value in series["values"]:
                entered = None if not float(value) else entered or float(at)
            if entered is not None:
                yield labels["server"], entered

    def _result(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        place = f"{self._url.rstrip('/')}/api/v1/{path}"
        reply = _reply(self._session, place, "--prometheus.url", parameters)
        try:
            result: list[dict[str, Any]] = reply.json()["data"]["result"]
        except (ValueError, KeyError, TypeError):
            shown = _without_login(self._url)
            raise ConfigError(
                f"--prometheus.url: {shown} does not reply as Prometheus does; is it the right one?"
            ) from None
        return result


def _session(url: str, flag: str) -> requests.Session:
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f'{flag}: {url!r} is no URL; start it with "http://"')
    session = requests.Session()
    session.trust_env = not is_local(url)  # no proxy stands between this machine's own processes
    return session


def _get(session: requests.Session, url: str, flag: str) -> str:
    return _reply(session, url, flag).content.decode(errors="replace")


def _reply(
    session: requests.Session, url: str, flag: str, parameters: Mapping[str, str] | None = None
) -> requests.Response:
    place = _without_login(url)
    try:
        reply = session.get(url, params=parameters, timeout=TIMEOUT)
    except requests.RequestException as error:
        reason = _reason(error)
        raise ConfigError(f"{flag}: {place} cannot be reached: {reason}; is it running?") from None
    if not reply.ok:
        raise ConfigError(f"{flag}: {place} replies {reply.status_code}; is it the right one?")
    return reply


def _reason(error: BaseException) -> str:
    """What lies at the bottom of it, in the system's words."""
    if isinstance(error, requests.Timeout):
        return "no reply in time"
    root = error
    while (below := root.__cause__ or root.__context__) is not None:
        root = below
    words = getattr(root, "strerror", None) or str(root) or type(root).__name__
    return " ".join(str(words).split()).lower()


def _without_login(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"


def _milliseconds(seconds: float) -> str:
    return f"{int(seconds * 1000)}ms"

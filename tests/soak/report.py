"""The clients' counts beside those of Prometheus, and the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from tests.soak.prometheus_counts import PrometheusCounts
from tests.soak.tally import Tally, quantile
from tests.soak.watch import Watch

MOST_GROWTH = 0.05
MOST_SLOWER = 3.0
"""How many times as long the last p99 may be; machines that others use too are restless."""
SLACK = 0.05
"""Seconds that are always granted."""

Counts = Counter[tuple[str, ...]]


class Report:
    """What came out of one run."""

    def __init__(
        self,
        tally: Tally,
        counts: PrometheusCounts,
        watch: Watch,
        left: Mapping[str, int],
        disturbed: Mapping[str, int],
    ) -> None:
        self._watch = watch
        self._left = left
        self._disturbed = disturbed
        self._errors = counts.total("mcp_exporter_internal_errors_total")
        self._pairs = list(_pairs(tally, counts))
        self._details = list(_details(tally, counts))
        third = (watch.end - watch.warm) / 3
        spans = [(watch.warm, watch.warm + third), (watch.end - third, watch.end)]
        self._latencies = [tally.latencies(*span) for span in spans]

    @property
    def is_good(self) -> bool:
        """Whether all is as it should be."""
        return not any(bad for _, bad in self._verdicts())

    def text(self) -> str:
        """The tables, and what is wrong."""
        lines = [f"{'server':<16}{'outcome':<18}{'clients':>10}{'Prometheus':>12}"]
        for (server, outcome), own, counted in self._pairs:
            sign = "" if own == counted else "  DIFFERENT"
            lines.append(f"{server:<16}{outcome:<18}{own:>10}{counted:>12}{sign}")
        own = sum(own for _, own, _ in self._pairs)
        counted = sum(counted for _, _, counted in self._pairs)
        lines += [f"{'all':<34}{own:>10}{counted:>12}", ""]
        lines += [f"{'happened':<14}{name}: {number}" for name, number in self._disturbed.items()]
        lines += [f"{'WRONG' if bad else 'ok':<14}{text}" for text, bad in self._verdicts()]
        return "\n".join(lines)

    def _verdicts(self) -> Iterator[tuple[str, bool]]:
        wrong = [f"{key}: {own} != {counted}" for key, own, counted in self._details]
        shown = "; ".join(wrong) or "the same on both sides"
        yield f"requests, notifications and sessions by every label: {shown}", bool(wrong)
        first, last = (size / 1024 / 1024 for size in self._watch.memory)
        text = f"memory {first:.1f} MiB after warm-up, {last:.1f} MiB at the end"
        yield f"{text} ({self._watch.growth:+.1%})", self._watch.growth > MOST_GROWTH
        yield self._latency_verdict()
        yield f"processor: {self._watch.cpu_share:.0%} of one", False
        yield f"left behind: {dict(self._left) or 'nothing'}", bool(self._left)
        yield f"observation failed {self._errors} times", bool(self._errors)

    def _latency_verdict(self) -> tuple[str, bool]:
        (first, last), halves = (
            [quantile(each, share) * 1000 for each in self._latencies] for share in (0.99, 0.5)
        )
        text = (
            f"latency of a quick call, first and last third: median {halves[0]:.2f} and "
            f"{halves[1]:.2f} ms, p99 {first:.2f} and {last:.2f} ms"
        )
        return text, not last < first * MOST_SLOWER + SLACK * 1000


def _pairs(tally: Tally, counts: PrometheusCounts) -> Iterator[tuple[tuple[str, ...], int, int]]:
    """Server and outcome, with both counts."""
    own: Counts = Counter()
    for (server, _, outcome), number in tally.requests.items():
        own[server, outcome] += number
    counted = counts.sums("mcp_requests_total", "server", "outcome")
    for key in sorted(own.keys() | counted.keys()):
        yield key, own[key], counted[key]


def _details(tally: Tally, counts: PrometheusCounts) -> Iterator[tuple[str, int, int]]:
    """Whatever differs, of everything that both sides count."""
    calls: Counts = Counter()
    for (server, method, outcome), number in tally.requests.items():
        if method == "tools/call" and outcome != "rejected":
            calls[server, outcome] += number
    sessions: Counts = Counter({(server,): number for server, number in tally.sessions.items()})
    labels = ("server", "method", "outcome")
    to_server = 'direction="to_server"'
    compared: list[tuple[str, Counts, Counts]] = [
        ("request", tally.requests, counts.sums("mcp_requests_total", *labels)),
        ("latency", _timed(tally), counts.sums("mcp_request_duration_seconds_count", *labels)),
        ("call", calls, counts.sums("mcp_tool_calls_total", "server", "outcome")),
        ("session", +sessions, counts.sums("mcp_sessions_started_total", "server")),
        (
            "notification",
            tally.notifications,
            counts.sums("mcp_notifications_total", "server", "method", where=to_server),
        ),
    ]
    for name, own, counted in compared:
        for key in sorted(own.keys() | counted.keys()):
            if own[key] != counted[key]:
                yield f"{name} {key}", own[key], counted[key]


def _timed(tally: Tally) -> Counts:
    """Every request has a duration, but for those that were refused."""
    return Counter({key: n for key, n in tally.requests.items() if key[2] != "rejected"})

"""Objectives as rules: events and errors over every window, burn rates, the budget left, and the
alerts on budgets that burn: one a window pair, all of the same name."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus.build.promql import (
    MEASURED,
    NO_VERDICT,
    SERVER,
    UNAVAILABLE,
    highest,
    match,
    once,
    select,
    total,
)
from prometheus.build.rules import Alert, Group, Link, Record
from prometheus.build.settings import OBJECTIVES, BurnRate, Objective, Settings, seconds

LEVEL = "server_objective"
EVENTS = f"{LEVEL}:mcp_objective_events"
ERRORS = f"{LEVEL}:mcp_objective_errors"
TARGET = f"{LEVEL}:mcp_objective_target:ratio"
BURN = f"{LEVEL}:mcp_objective_burn"
BUDGET_LEFT = f"{LEVEL}:mcp_objective_budget_remaining:ratio_rate30d"
BURNING = {
    "availability": ("MCPAvailabilityBurning", "requests that go unanswered"),
    "latency": ("MCPLatencyBurning", "tool calls that take too long"),
}

PERIOD = "30d"
RAW_LIMIT = seconds("1h")
"""Up to here a window is read from the counters; beyond it, from the recorded 5 minute rates.

Thirty days of every counter at a scrape each 15 s pass Prometheus' limit of 50 million samples
with 20 servers of 15 series each. A rate recorded every minute gives each event the same weight,
whatever happened between, so idle time neither dilutes nor spends the budget.
"""


def groups(settings: Settings) -> list[Group]:
    """The short windows, which pages wait for, and the long ones, which change slowly."""
    fast = [window for window in _windows(settings) if seconds(window) <= RAW_LIMIT]
    slow = [window for window in _windows(settings) if seconds(window) > RAW_LIMIT]
    targets = [_target(settings, name) for name in OBJECTIVES]
    raw = [rule for window in fast for rule in _raw(settings, window)]
    averaged = [rule for window in slow for rule in _averaged(window)]
    return [
        Group("mcp-objectives", [*targets, *raw, *_burns(fast)]),
        Group("mcp-objectives-slow", [*averaged, *_burns(slow), _budget_left()], interval="1m"),
    ]


def _windows(settings: Settings) -> list[str]:
    used = {window for rate in settings.burn_rates for window in (rate.long, rate.short)}
    return sorted({"5m", PERIOD, *used}, key=seconds)


def _cases(settings: Settings, name: str) -> list[tuple[list[str], Objective]]:
    """Matchers and objective of every server without its own, then of each that has one."""
    own = {server: given[name] for server, given in settings.overrides.items() if name in given}
    others = [match("server", "!=", server) for server in own]
    single = [
        ([match("server", "=", server)], objective)
        for server, objective in own.items()
        if objective is not None
    ]
    return [(others, settings.defaults[name]), *single]


def _included(settings: Settings, name: str) -> list[str]:
    """Matchers that leave out the servers for which the objective is off."""
    return [
        match("server", "!=", server)
        for server, given in settings.overrides.items()
        if name in given and given[name] is None
    ]


def _target(settings: Settings, name: str) -> Record:
    """A number for every configured server, so that an idle one has its budget too."""
    parts = [
        f"0 * {highest(SERVER, f'last_over_time({up}[10m])')} + {objective.target:g}"
        for matchers, objective in _cases(settings, name)
        for up in [select("mcp_server_up", *matchers)]
    ]
    return Record(TARGET, "\nor\n".join(parts), {"objective": name})


def _raw(settings: Settings, window: str) -> list[Record]:
    return [
        *_pair("availability", window, _asked(settings, window), _unavailable(settings, window)),
        *_pair("latency", window, _measured(settings, window), _slow(settings, window)),
    ]


def _pair(name: str, window: str, events: str, errors: str) -> list[Record]:
    labels = {"objective": name}
    return [
        Record(f"{EVENTS}:rate{window}", events, labels),
        Record(f"{ERRORS}:rate{window}", errors, labels),
    ]


def _asked(settings: Settings, window: str) -> str:
    judged = match("outcome", "!~", NO_VERDICT)
    included = _included(settings, "availability")
    return total(SERVER, once("rate", window, "mcp_requests_total", judged, *included))


def _unavailable(settings: Settings, window: str) -> str:
    """Errors, or 0 where there are events and no counter of an error exists yet."""
    included = _included(settings, "availability")
    unavailable = match("outcome", "=~", UNAVAILABLE)
    fault = match("code", "=~", "|".join(settings.fault_codes))
    lost = once("rate", window, "mcp_requests_total", unavailable, *included)
    faults = once("rate", window, "mcp_protocol_errors_total", fault, *included)
    none = f'0 * {EVENTS}:rate{window}{{objective="availability"}}'
    both = f"\n  {lost}\n  or\n  {faults}\n"
    return f"{total(SERVER, both)}\nor\n{total(SERVER, none)}"


def _measured(settings: Settings, window: str) -> str:
    measured = match("outcome", "=~", MEASURED)
    included = _included(settings, "latency")
    calls = "mcp_tool_call_duration_seconds_count"
    return total(SERVER, once("rate", window, calls, measured, *included))


def _slow(settings: Settings, window: str) -> str:
    measured = match("outcome", "=~", MEASURED)
    bucket = "mcp_tool_call_duration_seconds_bucket"
    fast = "\n  or\n  ".join(
        once("rate", window, bucket, measured, *matchers, le=str(float(objective.threshold)))
        for matchers, objective in _cases(settings, "latency")
    )
    within = total(SERVER, f"\n  {fast}\n")
    calls = f'{EVENTS}:rate{window}{{objective="latency"}}'
    return f"{total(SERVER, calls)}\n-\n{within}"


def _averaged(window: str) -> list[Record]:
    steps = seconds(window) // 60
    return [
        Record(f"{name}:rate{window}", f"sum_over_time({name}:rate5m[{window}:1m]) / {steps}")
        for name in (EVENTS, ERRORS)
    ]


def _burns(windows: Iterable[str]) -> list[Record]:
    """Error ratios, and how many times too fast each spends the budget; absent while idle."""
    ratio = f"{ERRORS}:ratio_rate"
    return [
        rule
        for window in windows
        for rule in (
            Record(f"{ratio}{window}", f"{ERRORS}:rate{window} / ({EVENTS}:rate{window} > 0)"),
            Record(f"{BURN}:rate{window}", f"{ratio}{window} / (1 - {TARGET})"),
        )
    ]


def _budget_left() -> Record:
    """1 is a whole budget, 0 a spent one; whole where nothing was asked in the period."""
    return Record(BUDGET_LEFT, f"1 - ({BURN}:rate{PERIOD} or 0 * {TARGET})")


def alerts(settings: Settings) -> list[Group]:
    """One group an objective."""
    return [
        Group(f"mcp-{name}", [_burning(settings, name, rate) for rate in settings.burn_rates])
        for name in BURNING
    ]


def _burning(settings: Settings, name: str, rate: BurnRate) -> Alert:
    title, spent = BURNING[name]
    return Alert(
        title,
        rate.severity,
        "server",
        _too_fast(settings, name, rate),
        summary=f"MCP server {{{{ $labels.server }}}} spends its {name} budget too fast",
        description=f"{{{{ $labels.server }}}} spent its {name} budget {{{{ $value | humanize }}}}"
        f" times too fast over the last {rate.long}, on {spent}."
        f" At {rate.factor:g} times, it lasts {_lasts(rate.factor)}.",
        value=f"{{{{ $value | humanize }}}} times too fast over {rate.long}",
        link=Link("mcp-objectives", SERVER),
        hold=rate.hold,
        labels={"window": rate.long},
    )


def _too_fast(settings: Settings, name: str, rate: BurnRate) -> str:
    """Both windows, so that it ends soon after the trouble, and a least number of failures."""
    which = f'{{objective="{name}"}}'
    failures = f"round({seconds(rate.long)} * {ERRORS}:rate{rate.long}{which})"
    return "\nand\n".join(
        (
            f"{BURN}:rate{rate.long}{which} > {rate.factor:g}",
            f"{BURN}:rate{rate.short}{which} > {rate.factor:g}",
            f"{failures} >= {settings.minimum_failures}",
        )
    )


def _lasts(factor: float) -> str:
    days = 30 / factor
    return f"{days:g} days" if days >= 3 else f"{days * 24:.0f} hours"

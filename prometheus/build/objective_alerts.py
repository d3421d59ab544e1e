"""Alerts on objectives that burn: one a window pair, all of the same name."""

from __future__ import annotations

from prometheus.build.alerts import Text, alert
from prometheus.build.objectives import BURN, ERRORS
from prometheus.build.rule import Alert, Group
from prometheus.build.settings import BurnRate, Settings, seconds

LINK = ("mcp-objectives", ("job", "instance", "server"))
TEXTS = {
    "availability": ("MCPAvailabilityBurning", "requests that go unanswered"),
    "latency": ("MCPLatencyBurning", "tool calls that take too long"),
}


def groups(settings: Settings) -> list[Group]:
    """One group an objective."""
    return [
        Group(f"mcp-{name}", [_burning(settings, name, rate) for rate in settings.burn_rates])
        for name in TEXTS
    ]


def _burning(settings: Settings, name: str, rate: BurnRate) -> Alert:
    title, spent = TEXTS[name]
    return alert(
        settings,
        title,
        rate.severity,
        "server",
        _expression(settings, name, rate),
        Text(
            f"MCP server {{{{ $labels.server }}}} spends its {name} budget too fast",
            f"{{{{ $labels.server }}}} behind {{{{ $labels.instance }}}} spent its {name} budget"
            f" {{{{ $value | humanize }}}} times too fast over the last {rate.long},"
            f" on {spent}. At {rate.factor:g} times, it lasts {_lasts(rate.factor)}.",
            f"{{{{ $value | humanize }}}} times too fast over {rate.long}",
        ),
        hold=rate.hold,
        linked=LINK,
        labels={"window": rate.long},
    )


def _expression(settings: Settings, name: str, rate: BurnRate) -> str:
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

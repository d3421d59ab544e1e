"""MCP objectives: how fast the error budgets are spent, what is left, and what spent them."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, dashboard, stat, table
from grafana_foundation_sdk.models import common as shapes

from grafana.build import frame, shared
from grafana.build import queries as q
from grafana.build.colours import BUDGET, SPENT, Steps
from grafana.build.links import ROW_SERVER, ROW_TOOL, TO_SERVER, TO_TOOL
from grafana.build.panels import HALF, About, Panel, drawn, lines, now, number, rows
from grafana.build.tables import NAME, Column, listing

BURN_RATES = q.SETTINGS.burn_rates
BURN: Steps = (
    (0.0, "text"),
    (0.0, "green"),
    *(
        (rate.factor, colour)
        for rate, colour in zip(
            sorted(BURN_RATES, key=lambda rate: rate.factor),
            ("yellow", "orange", "red", "red"),
            strict=False,
        )
    ),
)
"""The factors at which prometheus/rules alerts, the slowest first."""

EACH = "{{server}} {{objective}}"
IDLE = "no traffic"


def board() -> dashboard.Dashboard:
    """The dashboard of promises: are they kept, and if not, why?"""
    found = frame.new(
        "mcp-objectives",
        "MCP objectives",
        "Are the objectives kept, how fast are the budgets spent, and by what?",
        since="now-7d",
    )
    frame.add(found, *_summary("availability"), *_summary("latency"))
    frame.add(found, _table())
    frame.section(found, "Budgets", *_budgets())
    frame.section(found, "What spent them", *_spent())
    return found


def _summary(objective: str) -> list[stat.Panel]:
    left = About(
        f"{objective.capitalize()} budget",
        f"What share of its {objective} budget has the worst server left?",
        shared.NO_RULES,
    )
    return [
        shared.attained(objective, (4, 4)),
        shared.budget_left(left, {objective: objective}, (4, 4)),
        number(
            About(
                f"{objective.capitalize()} burn, 1 h",
                f"How many times faster than allowed does the worst server spend its {objective}"
                " budget? At 1 the budget lasts exactly 30 days.",
                "idle",
            ),
            [now(q.worst("max", q.burn("1h", objective)), "times")],
            "short",
            (4, 4),
            steps=BURN,
            decimals=1,
        ),
    ]


def _table() -> table.Panel:
    burns = dict(zip((rate.long for rate in BURN_RATES), "EFGH", strict=False))
    return listing(
        About(
            "Objectives",
            "Which server keeps which objective, and how fast is its budget spent (times faster"
            f" than allowed, over {' to '.join([min(burns), max(burns)])})?",
            "no objective is recorded: are the recording rules loaded?",
        ),
        [
            rows(q.keyed(q.objective_target(), "server", "objective"), "A"),
            rows(_keyed(q.objective_attained()), "B"),
            rows(_keyed(q.budget_left()), "C"),
            drawn(_keyed(q.budget_left()), "{{key}}", "D"),
            *(rows(_keyed(q.burn(window)), ref) for window, ref in burns.items()),
        ],
        [
            Column("server", "Server", least=NAME, link=ROW_SERVER),
            Column("objective", "Objective", least=100),
            Column("Value #A", "Aimed at", "percentunit", width=90),
            Column("Value #B", "Attained", "percentunit", width=100, decimals=3, empty=IDLE),
            Column(
                "Value #C",
                "Budget left",
                "percentunit",
                width=110,
                decimals=1,
                steps=BUDGET,
                below=SPENT,
            ),
            Column(
                "Trend #D",
                "Budget",
                "percentunit",
                sparkline="blue",
                least=160,
                bounds=(-1, 1),
            ),
            *(
                Column(f"Value #{ref}", f"Burn {window}", "short", width=90, decimals=1, steps=BURN)
                for window, ref in burns.items()
            ),
        ],
        (24, 8),
        join="key",
        sort=("Budget left", False),
    )


def _keyed(vector: str) -> str:
    return q.by_key(vector, "server", "objective")


def _budgets() -> list[Panel]:
    return [
        lines(
            About(
                "Budget left",
                "How does each budget run down? Below zero the objective is missed; how far below"
                " is in the table above.",
                shared.NOTHING_RECORDED,
            ),
            [drawn(q.budget_left(), EACH)],
            "percentunit",
            (24, 8),
            floor=-1,
            link=TO_SERVER,
        ).max(1),
        *(_burn(rate.long, rate.factor, rate.severity) for rate in BURN_RATES),
    ]


def _burn(window: str, factor: float, severity: str) -> Panel:
    """Drawn on a logarithmic scale: one bad first minute at 1000 would flatten all others."""
    panel = lines(
        About(
            f"Burn rate, {window}",
            "How many times faster than allowed was the budget spent? Above the dashed line, at"
            f" {factor:g}, there is an alert ({severity}).",
            IDLE,
        ),
        [drawn(q.burn(window), EACH)],
        "short",
        HALF,
        steps=((0.0, "text"), (factor, "red")),
        link=TO_SERVER,
    )
    scale = (
        common.ScaleDistributionConfig()
        .type(shapes.ScaleDistribution.SYMLOG)
        .log(2)
        .linear_threshold(1)
    )
    return panel.scale_distribution(scale)


def _spent() -> list[Panel]:
    return [
        shared.requests_by_outcome((12, 9), None),
        listing(
            About(
                "Failed calls by tool",
                "Which tools failed in this time range, and how?",
                "no call failed",
            ),
            [rows(q.SPENT_BY, "A")],
            [
                Column("server", "Server", least=NAME, link=ROW_SERVER),
                Column("tool", "Tool", least=NAME, link=ROW_TOOL),
                Column("outcome", "Outcome", least=NAME),
                Column("Value", "Calls", "locale", width=90, decimals=0),
            ],
            (12, 9),
            sort=("Calls", True),
        ),
        lines(
            About(
                "Slowest tools",
                "Which tools were slowest in this time range, and so spent the latency budget?",
                IDLE,
            ),
            [drawn(q.slowest_over_time(5), "{{server}} {{tool}}")],
            "s",
            (24, 8),
            link=TO_TOOL,
        ),
    ]

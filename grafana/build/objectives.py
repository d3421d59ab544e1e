"""MCP objectives: how fast the error budgets are spent, what is left, and what spent them."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, stat, table

from grafana.build import frame
from grafana.build import queries as q
from grafana.build.panels import (
    BUDGET,
    OUTCOMES,
    About,
    Column,
    Panel,
    drawn,
    from_column,
    from_label,
    lines,
    link,
    listing,
    now,
    number,
    rows,
    stacked,
)

# The factors at which prometheus/rules alerts: 14.4 and 6 page, 3 and 1 open a ticket.
BURN = ((0.0, "green"), (1.0, "yellow"), (3.0, "orange"), (6.0, "red"))
EACH = "{{server}} {{objective}}"
TO_SERVER = link("Open this server", "mcp-servers", from_label("server"))
ROW_SERVER = link("Open this server", "mcp-servers", from_column("server", "Server"))
ROW_TOOL = link(
    "Open this tool", "mcp-tools", from_column("server", "Server"), from_column("tool", "Tool")
)
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
    for title, panels in (
        ("Budgets", _budgets()),
        ("What spent them", _spent()),
    ):
        frame.heading(found, title)
        frame.add(found, *panels)
    return found


def _summary(objective: str) -> list[stat.Panel]:
    named = objective.capitalize()
    return [
        number(
            About(
                f"{named}, 30 days",
                "What share was good at the worst server, and what share is aimed at?",
                IDLE,
            ),
            [
                now(q.worst("min", q.objective_attained(objective)), "attained"),
                now(q.worst("max", q.objective_target(objective)), "objective", "B"),
            ],
            "percentunit",
            (5, 4),
        ),
        number(
            About(f"{named} budget left", "What share of the budget has the worst server left?"),
            [now(q.worst("min", q.budget_left(objective)), "left")],
            "percentunit",
            (4, 4),
            steps=BUDGET,
            decimals=1,
        ),
        number(
            About(
                f"{named} burn, 1 hour",
                "How many times faster than allowed does the worst server spend its budget? At 1"
                " the budget lasts exactly 30 days.",
                IDLE,
            ),
            [now(q.worst("max", q.burn("1h", objective)), "burn")],
            "short",
            (3, 4),
            steps=BURN,
            decimals=1,
        ),
    ]


def _table() -> table.Panel:
    burns = {"1h": "E", "6h": "F", "1d": "G", "3d": "H"}
    return listing(
        About(
            "Objectives",
            "Which server keeps which objective, and how fast is its budget spent (times faster"
            " than allowed, over 1 hour to 3 days)?",
            "no server is configured",
        ),
        [
            rows(q.keyed(q.objective_target(), "server", "objective"), "A"),
            rows(_keyed(q.objective_attained()), "B"),
            rows(_keyed(q.budget_left()), "C"),
            drawn(_keyed(q.budget_left()), "{{key}}", "D"),
            *(rows(_keyed(q.burn(window)), ref) for window, ref in burns.items()),
        ],
        [
            Column("server", "Server", link=ROW_SERVER),
            Column("objective", "Objective", link=ROW_SERVER),
            Column("Value #A", "Aimed at", "percentunit", width=100, link=ROW_SERVER),
            Column("Value #B", "Attained", "percentunit", width=100, decimals=3, link=ROW_SERVER),
            Column(
                "Value #C",
                "Budget left",
                "percentunit",
                width=110,
                decimals=1,
                steps=BUDGET,
                link=ROW_SERVER,
            ),
            Column("Trend #D", "Budget", "percentunit", sparkline="blue", link=ROW_SERVER),
            *(
                Column(
                    f"Value #{ref}",
                    f"Burn {window}",
                    "short",
                    width=90,
                    decimals=1,
                    steps=BURN,
                    link=ROW_SERVER,
                )
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
            About("Budget left", "How does each budget run down? Below zero it is missed."),
            [drawn(q.budget_left(), EACH)],
            "percentunit",
            (24, 8),
            floor=None,
            link=TO_SERVER,
        ),
        *(_burn(window, alert) for window, alert in BURNS.items()),
    ]


BURNS = {
    "1h": "Above 14.4, an hour spends two hundredths of the budget, and somebody is paged.",
    "6h": "Above 6, six hours spend a twentieth of the budget, and somebody is paged.",
    "1d": "Above 3, a day spends a tenth of the budget, and a ticket is opened.",
    "3d": "Above 1, the budget will not last 30 days, and a ticket is opened.",
}
FACTORS = {"1h": 14.4, "6h": 6.0, "1d": 3.0, "3d": 1.0}


def _burn(window: str, alert: str) -> Panel:
    return lines(
        About(
            f"Burn rate, {window}",
            f"How many times faster than allowed was the budget spent? {alert}",
            IDLE,
        ),
        [drawn(q.burn(window), EACH)],
        "short",
        (12, 8),
        steps=((0.0, "text"), (FACTORS[window], "red")),
        link=TO_SERVER,
    )


def _spent() -> list[Panel]:
    return [
        stacked(
            About(
                "Requests by outcome",
                "How did all requests end? Timeouts and upstream errors spend availability.",
                IDLE,
            ),
            [drawn(q.REQUEST_OUTCOMES, "{{outcome}}")],
            "reqps",
            (12, 9),
            colours=OUTCOMES,
        ),
        listing(
            About(
                "Failed calls by tool",
                "Which tools failed in this time range, and how?",
                "no call failed",
            ),
            [rows(q.SPENT_BY, "A")],
            [
                Column("server", "Server", link=ROW_SERVER),
                Column("tool", "Tool", link=ROW_TOOL),
                Column("outcome", "Outcome", link=ROW_TOOL),
                Column("Value", "Calls", "locale", width=90, decimals=0, link=ROW_TOOL),
            ],
            (12, 9),
            sort=("Calls", True),
        ),
        lines(
            About("Slowest tools", "Whose p99 spends the latency budget?", IDLE),
            [drawn(q.SLOWEST_OVER_TIME, "{{server}} {{tool}}")],
            "s",
            (24, 8),
            link=link("Open this tool", "mcp-tools", from_label("server"), from_label("tool")),
        ),
    ]

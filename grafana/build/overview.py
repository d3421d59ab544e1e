"""MCP overview: is anything wrong, and where?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, stat, statetimeline, table, timeseries

from grafana.build import frame
from grafana.build import queries as q
from grafana.build.panels import (
    BUDGET,
    FAILING,
    OUTCOMES,
    SEVERITIES,
    STATES,
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
    states,
)

TO_SERVER = link("Open this server", "mcp-servers", from_label("server"))
TO_ITS_TOOLS = link("Open its tools", "mcp-tools", from_label("server"))
TO_TOOLS = link("Open the tools", "mcp-tools", "${server:queryparam}", "${tool:queryparam}")
ROW_SERVER = link("Open this server", "mcp-servers", from_column("server", "Server"))
ROW_TOOLS = link("Open its tools", "mcp-tools", from_column("server", "Server"))
ROW_OBJECTIVES = link("Open its objectives", "mcp-objectives", from_column("server", "Server"))

NO_SERVER = "no server is configured"
THIRD = (8, 8)


def board() -> dashboard.Dashboard:
    """The dashboard that a person opens first; all that decides is above the fold."""
    found = frame.new("mcp-overview", "MCP overview", "Is anything wrong, and where?")
    frame.add(found, *_objectives(), *_counts())
    frame.add(found, _fleet())
    frame.add(found, _health(), _outcomes(), _alerts())
    frame.heading(found, "Traffic")
    frame.add(found, *_traffic())
    return found


def _objectives() -> list[stat.Panel]:
    questions = {
        "availability": "What share of the requests that should have been answered in the last 30"
        " days did the worst server answer, and what share is aimed at?",
        "latency": "What share of the tool calls of the last 30 days ended within the threshold at"
        " the slowest server, and what share is aimed at?",
    }
    return [
        *(_objective(name, question) for name, question in questions.items()),
        number(
            About(
                "Error budget left",
                "What share of the failures that the objectives allow in 30 days is still allowed,"
                " at the worst server? Below zero the objective is missed.",
            ),
            [
                now(q.worst("min", q.budget_left("availability")), "availability"),
                now(q.worst("min", q.budget_left("latency")), "latency", "B"),
            ],
            "percentunit",
            (5, 4),
            steps=BUDGET,
        ),
    ]


def _objective(name: str, question: str) -> stat.Panel:
    return number(
        About(f"{name.capitalize()}, 30 days", question, "no traffic"),
        [
            now(q.worst("min", q.objective_attained(name)), "attained"),
            now(q.worst("max", q.objective_target(name)), "objective", "B"),
        ],
        "percentunit",
        (4, 4),
    )


def _counts() -> list[stat.Panel]:
    return [
        number(
            About("Servers up", "How many servers answer their probes, and how many are there?"),
            [now(q.SERVERS_UP, "up"), now(q.SERVERS_ALL, "configured", "B")],
            "none",
            (4, 4),
        ),
        number(
            About("Tool calls", "How many tool calls were made in this time range?", "0"),
            [now(q.calls_in_range(), "calls")],
            "locale",
            (2, 4),
            decimals=0,
        ),
        number(
            About("Failed calls", "What share of them failed?", "no calls"),
            [now(q.failed_share(), "failed")],
            "percentunit",
            (2, 4),
            steps=FAILING,
            decimals=1,
        ),
        number(
            About("Firing alerts", "How many alerts fire now?"),
            [now(q.FIRING_COUNT, "alerts")],
            "none",
            (3, 4),
            steps=((0, "green"), (1, "red")),
        ),
    ]


def _fleet() -> table.Panel:
    return listing(
        About(
            "Servers",
            "How is each server: its state, what it runs, how busy it is, how often it fails and"
            " how slow it is? Failed and Up are over this time range.",
            NO_SERVER,
        ),
        [
            rows(q.SERVER_STATE, "A"),
            rows(q.SERVER_VERSION, "B"),
            rows(q.SERVER_TOOLS, "C"),
            drawn(q.calls("server"), "{{server}}", "D"),
            drawn(q.failed_calls("server"), "{{server}}", "E"),
            rows(q.failed_share("server"), "F"),
            drawn(q.server_seconds("0.99"), "{{server}}", "G"),
            rows(q.SERVER_UP_SHARE, "H"),
            rows(q.LAST_SUCCESS, "I"),
        ],
        [
            Column("server", "Server", link=ROW_SERVER),
            Column("Value #A", "State", mappings=STATES, width=100, link=ROW_SERVER),
            Column("server_version", "Version", width=110, link=ROW_SERVER),
            Column("Value #C", "Tools", unit="none", width=70, link=ROW_TOOLS),
            Column("Trend #D", "Calls", unit="reqps", sparkline="blue", link=ROW_TOOLS),
            Column("Trend #E", "Failures", unit="reqps", sparkline="red", link=ROW_TOOLS),
            Column(
                "Value #F",
                "Failed",
                unit="percentunit",
                width=90,
                decimals=1,
                steps=FAILING,
                link=ROW_TOOLS,
            ),
            Column("Trend #G", "p99", unit="s", sparkline="purple", link=ROW_TOOLS),
            Column("Value #H", "Up", "percentunit", width=90, decimals=1, link=ROW_OBJECTIVES),
            Column("Value #I", "Last success", "dateTimeFromNow", width=150, link=ROW_SERVER),
        ],
        (24, 7),
        sort=("State", True),
    )


def _health() -> statetimeline.Panel:
    return states(
        About("Health", "In which state was each server, and since when?", NO_SERVER),
        drawn(q.SERVER_STATE, "{{server}}"),
        (7, 7),
        TO_SERVER,
    )


def _outcomes() -> timeseries.Panel:
    return stacked(
        About("Tool calls by outcome", "How many tool calls a second, and how did they end?"),
        [drawn(q.calls("outcome"), "{{outcome}}")],
        "reqps",
        (8, 7),
        colours=OUTCOMES,
        link=TO_TOOLS,
    )


def _alerts() -> table.Panel:
    return listing(
        About("Alerts", "Which alerts fire, where, and since when?", "Nothing fires."),
        [rows(q.FIRING_SINCE, "A")],
        [
            Column("severity", "Severity", mappings=SEVERITIES, width=75, link=ROW_SERVER),
            Column("alertname", "Alert", link=ROW_SERVER),
            Column("server", "Server", width=80, link=ROW_SERVER),
            Column("tool", "Tool", width=90, link=ROW_TOOLS),
            Column("Value", "Since", "dateTimeFromNow", width=100, link=ROW_SERVER),
        ],
        (9, 7),
    )


def _traffic() -> list[Panel]:
    return [
        lines(
            About("p99 by server", "How slow are the slowest tool calls of each server?"),
            [drawn(q.server_seconds("0.99"), "{{server}}")],
            "s",
            (12, 8),
            link=TO_ITS_TOOLS,
        ),
        lines(
            About("Failed calls by server", "Whose tool calls fail?"),
            [drawn(q.failed_calls("server"), "{{server}}")],
            "reqps",
            (12, 8),
            link=TO_ITS_TOOLS,
        ),
        stacked(
            About("Requests by outcome", "How did all requests end, tool calls and others?"),
            [drawn(q.REQUEST_OUTCOMES, "{{outcome}}")],
            "reqps",
            THIRD,
            colours=OUTCOMES,
            link=link("Open the servers", "mcp-servers", "${server:queryparam}"),
        ),
        lines(
            About("Requests in flight", "How many requests waited for their reply, at the most?"),
            [drawn(q.IN_FLIGHT, "{{server}}")],
            "none",
            THIRD,
            link=TO_SERVER,
        ),
        lines(
            About("Sessions", "How many clients are connected?"),
            [drawn(q.SESSIONS, "{{server}}")],
            "none",
            THIRD,
            link=TO_SERVER,
        ),
    ]

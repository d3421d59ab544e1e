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
    drawn,
    from_column,
    from_label,
    latency,
    lines,
    link,
    listing,
    now,
    number,
    rows,
    stacked,
    states,
)

SERVER = link("Open this server", "mcp-servers", from_label("server"))
ROW_SERVER = link("Open this server", "mcp-servers", from_column("server", "Server"))
ROW_TOOLS = link("Open its tools", "mcp-tools", from_column("server", "Server"))
ROW_OBJECTIVES = link("Open its objectives", "mcp-objectives", from_column("server", "Server"))
ALERT_SERVER = link("Open this server", "mcp-servers", from_column("server", "Server"))


def board() -> dashboard.Dashboard:
    """The dashboard that a person opens first."""
    found = frame.new("mcp-overview", "MCP overview", "Is anything wrong, and where?")
    frame.add(found, *_objectives(), *_counts())
    frame.add(found, _fleet())
    frame.add(found, _health(), _outcomes(), _alerts())
    frame.heading(found, "Traffic")
    frame.add(found, *_traffic())
    return found


def _objectives() -> list[stat.Panel]:
    no_traffic = "no traffic"
    return [
        number(
            About(
                "Availability, 30 days",
                "Of all requests that a server should have answered in the last 30 days, what share"
                " did the worst server answer, and what share is the objective?",
                no_traffic,
            ),
            [
                now(q.attained("availability"), "attained"),
                now(q.objective("availability"), "objective", "B"),
            ],
            "percentunit",
            (5, 4),
        ),
        number(
            About(
                "Tool success, 30 days",
                "Of all tool calls in the last 30 days, what share succeeded at the worst server,"
                " and what share is the objective?",
                no_traffic,
            ),
            [
                now(q.attained("tool_success"), "attained"),
                now(q.objective("tool_success"), "objective", "B"),
            ],
            "percentunit",
            (5, 4),
        ),
        number(
            About(
                "Error budget left",
                "How much of the failures that the objectives allow in 30 days is left, at the"
                " worst server? Below zero the objective is missed.",
                no_traffic,
            ),
            [
                now(q.budget_left("availability"), "availability"),
                now(q.budget_left("tool_success"), "tool success", "B"),
            ],
            "percentunit",
            (5, 4),
            steps=BUDGET,
        ),
    ]


def _counts() -> list[stat.Panel]:
    return [
        number(
            About(
                "Servers up",
                "How many MCP servers answer their probes, and how many are configured?",
                "none",
            ),
            [now(q.SERVERS_UP, "up"), now(q.SERVERS_ALL, "configured", "B")],
            "none",
            (3, 4),
        ),
        number(
            About("Tool calls", "How many tool calls were made in this time range?", "none"),
            [now(q.in_range(q.CALLS, q.TOOL), "calls")],
            "short",
            (3, 4),
            decimals=0,
        ),
        number(
            About("Firing alerts", "How many alerts fire now?", "0"),
            [now(q.FIRING_COUNT, "alerts")],
            "none",
            (3, 4),
            steps=[(0, "green"), (1, "red")],
        ),
    ]


def _fleet() -> table.Panel:
    return listing(
        About(
            "Servers",
            "How is each server: its state, what it runs, how busy it is, how often it fails and"
            " how slow it is? Failed, p99 and Up are over this time range.",
            "no server is configured",
        ),
        [
            rows(q.SERVER_STATE, "A"),
            rows(q.SERVER_VERSION, "B"),
            rows(q.SERVER_TOOLS, "C"),
            drawn(q.per_second(q.CALLS, q.TOOL, "server"), "{{server}}", "D"),
            drawn(q.failed_per_second("server"), "{{server}}", "E"),
            rows(q.failed_share("server"), "F"),
            rows(q.quantile_in_range(0.99, q.CALL_SECONDS, q.TOOL, "server"), "G"),
            rows(q.SERVER_UPTIME, "H"),
            rows(q.LAST_SUCCESS, "I"),
        ],
        [
            Column("server", "Server", link=ROW_SERVER),
            Column("Value #A", "State", mappings=STATES, width=100),
            Column("server_version", "Version", width=110),
            Column("Value #C", "Tools", unit="none", width=70, link=ROW_TOOLS),
            Column("Trend #D", "Calls", unit="reqps", sparkline="blue", link=ROW_TOOLS),
            Column("Trend #E", "Failures", unit="reqps", sparkline="red", link=ROW_TOOLS),
            Column("Value #F", "Failed", unit="percentunit", width=90, decimals=1, steps=FAILING),
            Column("Value #G", "p99", unit="s", width=90, link=ROW_TOOLS),
            Column("Value #H", "Up", unit="percentunit", width=90, decimals=1, link=ROW_OBJECTIVES),
            Column("Value #I", "Last success", unit="dateTimeFromNow", width=140),
        ],
        (24, 7),
        sort=("State", True),
    )


def _health() -> statetimeline.Panel:
    return states(
        About(
            "Health", "In which state was each server, and since when?", "no server is configured"
        ),
        drawn(q.SERVER_STATE, "{{server}}"),
        (8, 8),
        SERVER,
    )


def _outcomes() -> timeseries.Panel:
    return stacked(
        About(
            "Tool calls by outcome",
            "How many tool calls a second, and how did they end?",
            "no calls",
        ),
        [drawn(q.per_second(q.CALLS, q.TOOL, "outcome"), "{{outcome}}")],
        "reqps",
        (8, 8),
        colours=OUTCOMES,
        link=link("Open the tools", "mcp-tools", "${server:queryparam}", "${tool:queryparam}"),
    )


def _alerts() -> table.Panel:
    return listing(
        About("Firing alerts", "Which alerts fire, where, and since when?", "Nothing fires."),
        [rows(q.FIRING_SINCE, "A")],
        [
            Column("severity", "Severity", mappings=SEVERITIES, width=80),
            Column("alertname", "Alert"),
            Column("server", "Server", link=ALERT_SERVER, width=110),
            Column("tool", "Tool", width=110),
            Column("Value", "Since", unit="dateTimeFromNow", width=120),
        ],
        (8, 8),
    )


def _traffic() -> list[timeseries.Panel]:
    seconds = q.CALL_SECONDS
    return [
        latency(
            About(
                "Tool call latency",
                "How long do tool calls take? A dot is one call with its trace.",
                "no calls",
            ),
            {
                "p99": q.quantile(0.99, seconds, q.TOOL),
                "p50": q.quantile(0.5, seconds, q.TOOL),
                "average": q.mean(seconds, q.TOOL),
            },
            "s",
            (12, 8),
            exemplar=True,
        ),
        lines(
            About("Failed calls by server", "Which server's tool calls fail?", "no failures"),
            [drawn(q.failed_per_second("server"), "{{server}}")],
            "reqps",
            (12, 8),
            link=link("Open its tools", "mcp-tools", from_label("server")),
        ),
        stacked(
            About("Requests by method", "What do clients ask for?", "no requests"),
            [drawn(q.per_second(q.REQUESTS, q.SERVER, "method"), "{{method}}")],
            "reqps",
            (8, 8),
            link=SERVER,
        ),
        lines(
            About("Requests in flight", "How many requests wait for their reply?", "none"),
            [drawn(q.IN_FLIGHT, "{{server}}")],
            "none",
            (8, 8),
            link=SERVER,
        ),
        lines(
            About("Sessions", "How many clients are connected?", "none"),
            [drawn(q.SESSIONS, "{{server}}")],
            "none",
            (8, 8),
            link=SERVER,
        ),
    ]

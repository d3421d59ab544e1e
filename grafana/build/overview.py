"""MCP overview: is anything wrong, and where?"""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, stat, table

from grafana.build import frame, shared
from grafana.build import queries as q
from grafana.build.colours import ANY_IS_ORANGE, ANY_IS_RED, FAILING, SEVERITIES
from grafana.build.links import (
    KEPT,
    ROW_TOOLS,
    TO_ITS_TOOLS,
    TO_SERVER,
    TO_SERVERS,
    TO_TOOLS,
    Link,
    cell,
)
from grafana.build.panels import (
    HALF,
    About,
    Panel,
    count,
    drawn,
    failed_share,
    line_each,
    now,
    number,
    rows,
    stepped,
)
from grafana.build.tables import Column, listing

ROW_ALERT: Link = {
    "title": "Open what it is about",
    "url": f"/d/{cell('Board')}?{KEPT}&var-server={cell('Of server')}&var-tool={cell('Of tool')}",
    "targetBlank": False,
}


def board() -> dashboard.Dashboard:
    """The dashboard that a person opens first; all that decides is above the fold."""
    found = frame.new("mcp-overview", "MCP overview", "Is anything wrong, and where?")
    frame.add(found, *_counts(), *_objectives())
    frame.add(found, _servers())
    frame.add(
        found,
        shared.health((6, 7), TO_SERVER),
        shared.calls_by_outcome((6, 7), TO_TOOLS),
        _alerts(),
    )
    frame.section(found, "Traffic", *_traffic())
    return found


def _counts() -> list[stat.Panel]:
    return [
        number(
            About("Servers down", "How many servers does nobody reach?", "no server"),
            [now(q.SERVERS_DOWN, "down")],
            "none",
            (3, 3),
            steps=ANY_IS_RED,
        ),
        _firing(),
        failed_share(
            About("Failed calls", "What share of the tool calls failed?", "no calls"),
            q.failed_share(),
            (3, 3),
        ),
        count(
            About("Tool calls", "How many tool calls were made in this time range?", "0"),
            q.calls_in_range(),
            (3, 3),
        ),
    ]


def _firing() -> stat.Panel:
    panel = number(
        About("Firing alerts", "How many alerts fire now?"),
        [
            now(q.firing_count(severity), severity, ref)
            for severity, ref in (("critical", "A"), ("warning", "B"))
        ],
        "none",
        (3, 3),
        steps=ANY_IS_RED,
    )
    return panel.override_by_name("warning", [stepped(ANY_IS_ORANGE)])


def _objectives() -> list[stat.Panel]:
    return [
        shared.budget_left(
            About(
                "Error budget left",
                "What share of the failures that the objectives allow in 30 days is still allowed,"
                " at the worst server? Where it is spent, the objective is missed.",
                shared.NO_RULES,
            ),
            {"availability": "availability", "latency": "latency"},
            (4, 3),
        ),
        shared.attained("availability", (4, 3)),
        shared.attained("latency", (4, 3)),
    ]


def _servers() -> table.Panel:
    return listing(
        About(
            "Servers",
            "How is each server: its state and since when, how busy it is, how often it fails and"
            " how slow it is? Calls and failures are a minute; Failed and Up are over this time"
            " range. A click on the state asks the server now, and shows what it said.",
            shared.NO_SERVER,
        ),
        [
            *shared.STATE_QUERIES,
            drawn(q.calls("server"), "{{server}}", "D"),
            drawn(q.failed_calls("server"), "{{server}}", "E"),
            rows(q.failed_share("server"), "F"),
            drawn(q.server_seconds("0.99"), "{{server}}", "G"),
            rows(q.SERVER_UP_SHARE, "H"),
            rows(q.LAST_SUCCESS, "I"),
            rows(q.SERVER_TOOLS, "J"),
        ],
        [
            *shared.STATE_COLUMNS,
            Column("Trend #D", "Calls", "short", sparkline="blue", least=120),
            Column("Trend #E", "Failures", "short", sparkline="red", least=120),
            Column(
                "Value #F",
                "Failed",
                "percentunit",
                width=80,
                decimals=1,
                steps=FAILING,
                link=ROW_TOOLS,
            ),
            Column("Trend #G", "p99", "s", sparkline="purple", least=130),
            Column("Value #H", "Up", "percentunit", width=80, decimals=1),
            Column("Value #I", "Last success", "dateTimeFromNow", width=140, empty="never"),
            Column("Value #J", "Tools", "none", width=65),
            shared.WITNESS,
        ],
        (24, 8),
        sort=("State", True),
    )


def _alerts() -> table.Panel:
    return listing(
        About("Alerts", "Which alerts fire, where, and since when?", "Nothing fires."),
        [rows(q.firing_since(), "A")],
        [
            Column("severity", "Severity", words=SEVERITIES, width=85),
            Column("alertname", "Alert", least=220, link=ROW_ALERT),
            Column("server", "Server", width=110),
            Column("tool", "Tool", width=90),
            Column("Value", "Since", "dateTimeFromNow", width=140),
            Column("board", "Board", is_hidden=True),
            Column("of_server", "Of server", is_hidden=True),
            Column("of_tool", "Of tool", is_hidden=True),
        ],
        (12, 7),
        sort=("Severity", False),
    )


def _traffic() -> list[Panel]:
    objective = q.SETTINGS.defaults["latency"].threshold
    return [
        line_each(
            About(
                "p99 by server",
                "How slow are the slowest tool calls of each server? The dashed line is the"
                " threshold of the latency objective.",
                "no calls",
            ),
            q.server_seconds("0.99"),
            "server",
            "s",
            HALF,
            steps=((0.0, "text"), (objective, "red")),
            link=TO_ITS_TOOLS,
        ),
        line_each(
            About("Failed calls a minute", "Whose tool calls fail?", "no call failed"),
            q.FAILED_BY_SERVER,
            "server",
            "short",
            HALF,
            link=TO_ITS_TOOLS,
        ),
        line_each(
            About("Calls a minute by server", "Which servers are used?", shared.NOTHING_RECORDED),
            q.calls("server"),
            "server",
            "short",
            HALF,
            link=TO_ITS_TOOLS,
        ),
        shared.requests_by_outcome(HALF, TO_SERVERS),
    ]

"""MCP tools: the ranking of all, and one tool."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, table

from grafana.build import frame
from grafana.build import queries as q
from grafana.build.panels import (
    FAILING,
    OUTCOMES,
    About,
    Column,
    Panel,
    density,
    drawn,
    from_column,
    from_label,
    latency,
    link,
    listing,
    now,
    number,
    ranking,
    rows,
    stacked,
)

ROW_TOOL = link(
    "Show this tool alone",
    "mcp-tools",
    from_column("server", "Server"),
    from_column("tool", "Tool"),
)
BAR_TOOL = link("Show this tool alone", "mcp-tools", from_label("server"), from_label("tool"))
ROW_SERVER = link("Open this server", "mcp-servers", from_column("server", "Server"))

QUANTILES = {"fastest": q.FASTEST, "p50": 0.5, "p90": 0.9, "p99": 0.99, "slowest": 1.0}


def board() -> dashboard.Dashboard:
    """The dashboard of a tool: choose one, or compare all."""
    found = frame.new("mcp-tools", "MCP tools", "Which tools are used, fail, or are slow?")
    frame.add(found, *_summary())
    frame.add(found, *_calls())
    frame.heading(found, "All tools chosen")
    frame.add(found, _all(), *_rankings(), _never())
    return found


def _summary() -> list[Panel]:
    return [
        number(
            About("Calls", "How many calls were made in this time range?", "0"),
            [now(q.calls_in_range(), "calls")],
            "locale",
            (3, 4),
            decimals=0,
        ),
        number(
            About("Failed", "How many of them failed?", "0"),
            [now(q.failed_in_range(), "failed")],
            "locale",
            (3, 4),
            decimals=0,
            steps=((0, "text"), (0.5, "red")),
        ),
        number(
            About("Failed share", "What share of them failed?", "no calls"),
            [now(q.failed_share(), "failed")],
            "percentunit",
            (3, 4),
            decimals=1,
            steps=FAILING,
        ),
        number(
            About(
                "Latency",
                "How long did the fastest call take in this time range, how long half of them, nine"
                " of ten, 99 of 100, and the slowest? Each is as exact as a bucket is narrow.",
                "no calls",
            ),
            [
                now(q.seconds_in_range(share), name, ref)
                for (name, share), ref in zip(QUANTILES.items(), "ABCDE", strict=True)
            ],
            "s",
            (11, 4),
        ),
        number(
            About("Last call", "When was a tool chosen last called?", "never"),
            [now(q.worst("max", q.LAST_CALL), "last call")],
            "dateTimeFromNow",
            (4, 4),
        ),
    ]


def _calls() -> list[Panel]:
    return [
        stacked(
            About("Calls by outcome", "How many calls a second, and how did they end?"),
            [drawn(q.calls("outcome"), "{{outcome}}")],
            "reqps",
            (12, 8),
            colours=OUTCOMES,
            link=link("Open the servers", "mcp-servers", "${server:queryparam}"),
        ),
        latency(
            About(
                "Latency",
                "How long do calls take, at the slowest tool chosen? The average is that of all.",
                "no calls",
            ),
            {
                "p99": q.seconds("0.99"),
                "p90": q.seconds("0.9"),
                "p50": q.seconds("0.5"),
                "average": q.SECONDS_MEAN,
            },
            "s",
            (12, 8),
        ),
        density(
            About(
                "Spread of latency",
                "How many calls took how long? A dot is one call, and opens its trace.",
                "no calls",
            ),
            q.SECONDS_BUCKETS,
            "s",
            (12, 8),
            exemplar=True,
        ),
        latency(
            About("Result size", "How much of a model's context do the results take?", "no calls"),
            {
                "p99": q.result_bytes(0.99),
                "p50": q.result_bytes(0.5),
                "average": q.RESULT_BYTES_MEAN_OVER_TIME,
            },
            "bytes",
            (12, 8),
        ),
    ]


def _all() -> table.Panel:
    return listing(
        About(
            "Tools",
            "How is each tool: how often called, how often failed, how slow, how large, and when"
            " last? All of it in this time range.",
            "no tool is listed",
        ),
        [
            rows(q.keyed(q.calls_in_range(q.EACH), "server", "tool"), "A"),
            drawn(_keyed(q.calls(q.EACH)), "{{key}}", "B"),
            rows(_keyed(q.failed_in_range(q.EACH)), "C"),
            rows(_keyed(q.failed_share(q.EACH)), "D"),
            rows(_keyed(q.seconds_in_range(0.5, q.EACH)), "E"),
            rows(_keyed(q.seconds_in_range(0.9, q.EACH)), "F"),
            rows(_keyed(q.seconds_in_range(0.99, q.EACH)), "G"),
            rows(_keyed(q.SECONDS_MEAN_IN_RANGE), "H"),
            rows(_keyed(q.RESULT_BYTES_MEAN), "I"),
            rows(_keyed(q.LAST_CALL), "J"),
        ],
        [
            Column("server", "Server", link=ROW_SERVER),
            Column("tool", "Tool", link=ROW_TOOL),
            Column("Value #A", "Calls", "locale", width=80, decimals=0, link=ROW_TOOL),
            Column("Trend #B", "Rate", "reqps", sparkline="blue", link=ROW_TOOL),
            Column("Value #C", "Failed", "locale", width=80, decimals=0, link=ROW_TOOL),
            Column(
                "Value #D",
                "Failed share",
                "percentunit",
                width=110,
                decimals=1,
                steps=FAILING,
                link=ROW_TOOL,
            ),
            Column("Value #E", "p50", "s", width=90, link=ROW_TOOL),
            Column("Value #F", "p90", "s", width=90, link=ROW_TOOL),
            Column("Value #G", "p99", "s", width=90, link=ROW_TOOL),
            Column("Value #H", "Average", "s", width=90, link=ROW_TOOL),
            Column("Value #I", "Result", "bytes", width=90, link=ROW_TOOL),
            Column("Value #J", "Last call", "dateTimeFromNow", width=140, link=ROW_TOOL),
        ],
        (24, 10),
        join="key",
        sort=("Calls", True),
    )


def _keyed(vector: str) -> str:
    return q.by_key(vector, "server", "tool")


def _rankings() -> list[Panel]:
    each = "{{server}} {{tool}}"
    return [
        ranking(
            About("Slowest", "Which tools have the highest p99?", "no calls"),
            q.SLOWEST,
            each,
            "s",
            (6, 9),
            link=BAR_TOOL,
        ),
        ranking(
            About("Most failing", "Which tools failed most often?", "no call failed"),
            q.MOST_FAILING,
            each,
            "locale",
            (6, 9),
            colour="red",
            decimals=0,
            link=BAR_TOOL,
        ),
        ranking(
            About("Largest results", "Which tools flood a model's context?", "no calls"),
            q.LARGEST,
            each,
            "bytes",
            (6, 9),
            link=BAR_TOOL,
        ),
    ]


def _never() -> table.Panel:
    return listing(
        About(
            "Not called",
            "Which tools are listed, and cost context, but were not called in this time range?",
            "every tool was called",
        ),
        [rows(q.NEVER_CALLED, "A")],
        [
            Column("server", "Server", link=ROW_SERVER),
            Column("tool", "Tool", link=ROW_TOOL),
            Column("Value", "Calls", "locale", width=70, decimals=0, link=ROW_TOOL),
        ],
        (6, 9),
    )

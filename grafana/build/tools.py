"""MCP tools: the ranking of all, and one tool."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, table

from grafana.build import frame, shared
from grafana.build import queries as q
from grafana.build.colours import FAILING
from grafana.build.links import ROW_SERVER, ROW_TOOL, TO_SERVERS, TO_TOOL
from grafana.build.panels import (
    HALF,
    About,
    Panel,
    count,
    density,
    drawn,
    failed_share,
    latency,
    now,
    number,
    ranking,
    rows,
)
from grafana.build.tables import NAME, Column, listing

EACH = "{{server}} {{tool}}"
QUARTER = (6, 11)
QUANTILES = {"fastest": q.FASTEST, "p50": 0.5, "p90": 0.9, "p99": 0.99, "slowest ≤": 1.0}
FIRST_BUCKET = 0.001
SERVER = Column("server", "Server", least=NAME, link=ROW_SERVER)
TOOL = Column("tool", "Tool", least=NAME, link=ROW_TOOL)


def board() -> dashboard.Dashboard:
    """The dashboard of a tool: choose one, or compare all."""
    found = frame.new("mcp-tools", "MCP tools", "Which tools are used, fail, or are slow?")
    frame.add(found, *_summary())
    frame.add(found, *_calls())
    frame.section(found, "All tools chosen", _all(), *_rankings(), _never())
    return found


def _summary() -> list[Panel]:
    return [
        count(
            About("Calls", "How many calls were made in this time range?", "0"),
            q.calls_in_range(),
            (3, 4),
        ),
        count(
            About("Failed", "How many of them failed?", "0"),
            q.failed_in_range(),
            (3, 4),
            steps=((0, "text"), (0.5, "red")),
        ),
        failed_share(
            About("Failed share", "What share of them failed?", "no calls"),
            q.failed_share(),
            (3, 4),
        ),
        number(
            About(
                "Latency of all calls",
                "How long did the fastest call take in this time range, how long half of them, nine"
                " of ten, 99 of 100, and the slowest? Each is as exact as a bucket is narrow.",
                "no calls",
            ),
            [
                now(q.seconds_in_range(share), name, ref)
                for (name, share), ref in zip(QUANTILES.items(), "ABCDE", strict=True)
            ],
            "s",
            (8, 4),
            below=(FIRST_BUCKET, "< 1 ms", "text"),
        ),
        number(
            About("Last call", "When was a tool chosen last called?", "never"),
            [now(q.worst("max", q.LAST_CALL), "last call")],
            "dateTimeFromNow",
            (3, 4),
        ),
        count(
            About(
                "Invented names",
                "How many calls named a tool that no server chosen lists? Models make names up. The"
                " names themselves are in the log of calls alone.",
                "0",
            ),
            q.INVENTED_NAMES,
            (4, 4),
            steps=((0, "text"), (0.5, "orange")),
        ),
    ]


def _calls() -> list[Panel]:
    return [
        shared.calls_by_outcome(HALF, TO_SERVERS),
        latency(
            About(
                "Latency of the slowest tool",
                "How long do calls take, at the slowest tool chosen? One tool chosen: that one.",
                "no calls",
            ),
            {"p99": q.seconds("0.99"), "p90": q.seconds("0.9"), "p50": q.seconds("0.5")},
            "s",
            HALF,
        ),
        density(
            About(
                "Spread of latency",
                "How many calls took how long? A dot is one call, and opens its trace.",
                "no calls",
            ),
            q.SECONDS_SPREAD,
            "s",
            HALF,
            exemplar=True,
        ),
        latency(
            About(
                "Result size",
                "How much of a model's context do the results take? Four bytes are about a token.",
                "no calls",
            ),
            {
                "p99": q.result_bytes(0.99),
                "p50": q.result_bytes(0.5),
                "average": q.RESULT_BYTES_MEAN_OVER_TIME,
            },
            "bytes",
            HALF,
        ),
    ]


def _all() -> table.Panel:
    return listing(
        About(
            "Tools",
            "How is each tool: how often called, how often failed, how slow, how large, and when"
            " last? All of it in this time range. Calls a minute are drawn; the tokens of an"
            " average result are an estimate, a quarter of its bytes.",
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
            rows(_keyed(q.RESULT_TOKENS_MEAN), "J"),
            rows(_keyed(q.LAST_CALL), "K"),
        ],
        [
            SERVER,
            TOOL,
            Column("Value #A", "Calls", "locale", width=75, decimals=0),
            Column("Trend #B", "A minute", "short", sparkline="blue", least=120),
            Column("Value #C", "Failed", "locale", width=75, decimals=0),
            Column("Value #D", "Failed share", "percentunit", width=105, decimals=1, steps=FAILING),
            *(
                Column(f"Value #{ref}", title, "s", width=80)
                for title, ref in zip(("p50", "p90", "p99", "Average"), "EFGH", strict=True)
            ),
            Column("Value #I", "Result", "bytes", width=85),
            Column("Value #J", "≈ tokens", "locale", width=85, decimals=0),
            Column("Value #K", "Last call", "dateTimeFromNow", width=140, empty="never"),
        ],
        (24, 10),
        join="key",
        sort=("Calls", True),
    )


def _keyed(vector: str) -> str:
    return q.by_key(vector, "server", "tool")


def _rankings() -> list[Panel]:
    return [
        ranking(
            About("Slowest", "Which tools have the highest p99?", "no calls"),
            q.SLOWEST,
            EACH,
            "s",
            QUARTER,
            link=TO_TOOL,
        ),
        ranking(
            About("Most failing", "Which tools failed most often?", "no call failed"),
            q.MOST_FAILING,
            EACH,
            "locale",
            QUARTER,
            fixed="red",
            decimals=0,
            link=TO_TOOL,
        ),
        ranking(
            About(
                "Largest results, ≈ tokens",
                "Which tools flood a model's context? An average result, estimated at four bytes a"
                " token.",
                "no calls",
            ),
            q.LARGEST,
            EACH,
            "locale",
            QUARTER,
            decimals=0,
            link=TO_TOOL,
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
        [SERVER, TOOL],
        QUARTER,
        sort=("Server", False),
    )

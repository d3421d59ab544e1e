"""MCP exporter: what watching costs, and whether the watcher is well."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.build import frame
from grafana.build import queries as q
from grafana.build.panels import (
    TRANSPORTS,
    About,
    Column,
    Panel,
    density,
    drawn,
    latency,
    lines,
    listing,
    now,
    number,
    rows,
)

EACH = "{{instance}}"
YES_NO = {"1": ("yes", "green"), "0": ("no", "red")}
WELL = "none"
HALF = (12, 8)
THIRD = (8, 8)


def board() -> dashboard.Dashboard:
    """The dashboard of the exporter itself."""
    found = frame.new("mcp-exporter", "MCP exporter", "Is the exporter itself well, and cheap?")
    frame.add(found, *_summary())
    for title, panels in (
        ("What a call pays", _overhead()),
        ("Process", _process()),
        ("Scrape", _scrape()),
        ("What went wrong", _trouble()),
    ):
        frame.heading(found, title)
        frame.add(found, *panels)
    return found


def _summary() -> list[Panel]:
    return [
        number(
            About("Scraped", "Does Prometheus reach the exporter?", "not scraped"),
            [now(q.UP, EACH)],
            "none",
            (4, 5),
            mappings=YES_NO,
        ),
        number(
            About("Configuration loaded", "Was the last change of configuration accepted?"),
            [now(q.RELOADED, EACH)],
            "none",
            (4, 5),
            mappings=YES_NO,
        ),
        number(
            About("Loaded", "When was a configuration last accepted?", "never"),
            [now(q.RELOADED_AT, EACH)],
            "dateTimeFromNow",
            (4, 5),
        ),
        number(
            About("Running for", "How long has the exporter been running?"),
            [now(q.UPTIME, EACH)],
            "s",
            (4, 5),
        ),
        listing(
            About("Build", "Which version runs, on which Python?", "not scraped"),
            [rows(q.BUILD, "A")],
            [
                Column("instance", "Instance"),
                Column("version", "Version", width=90),
                Column("revision", "Revision", width=100),
                Column("python_version", "Python", width=90),
            ],
            (8, 5),
        ),
    ]


def _overhead() -> list[Panel]:
    return [
        lines(
            About(
                "Overhead p99",
                "How long does a request and its reply spend inside the exporter, at the slowest"
                " hundredth?",
                "no requests",
            ),
            [drawn(q.quantile(0.99, q.OVERHEAD, q.TARGET, "transport"), "{{transport}}")],
            "s",
            THIRD,
            colours=TRANSPORTS,
        ),
        latency(
            About("Overhead", "How long is that for all transports together?", "no requests"),
            {
                "p99": q.quantile(0.99, q.OVERHEAD, q.TARGET),
                "p50": q.quantile(0.5, q.OVERHEAD, q.TARGET),
                "average": q.mean(q.OVERHEAD, q.TARGET),
            },
            "s",
            THIRD,
        ),
        density(
            About("Spread of overhead", "How many requests paid how much?", "no requests"),
            q.buckets("increase", q.OVERHEAD, q.TARGET),
            "s",
            THIRD,
        ),
    ]


def _process() -> list[Panel]:
    return [
        latency(
            About("Event loop lag", "How late does the relaying loop wake, and so every call?"),
            {
                "p99": q.quantile(0.99, q.LOOP_LAG, q.TARGET),
                "p50": q.quantile(0.5, q.LOOP_LAG, q.TARGET),
                "average": q.mean(q.LOOP_LAG, q.TARGET),
            },
            "s",
            HALF,
        ),
        lines(
            About("CPU", "How many CPU cores does the exporter use?"),
            [drawn(q.CPU, EACH)],
            "short",
            HALF,
        ),
        lines(
            About("Memory", "How much memory does the exporter hold?"),
            [drawn(q.MEMORY, EACH)],
            "bytes",
            THIRD,
        ),
        lines(
            About("Open files", "How many files and connections are open, of how many allowed?"),
            [drawn(q.OPEN_FILES, f"{EACH} open"), drawn(q.MAX_FILES, f"{EACH} allowed", "B")],
            "short",
            THIRD,
        ),
        lines(
            About("Garbage collections", "How often does Python collect garbage?"),
            [drawn(q.COLLECTIONS, "generation {{generation}}")],
            "ops",
            THIRD,
        ),
    ]


def _scrape() -> list[Panel]:
    return [
        lines(
            About("Scrape duration", "How long does a scrape take?", "not scraped"),
            [drawn(q.SCRAPE_SECONDS, EACH)],
            "s",
            THIRD,
        ),
        lines(
            About("Series", "How many series does a scrape carry?", "not scraped"),
            [drawn(q.SCRAPE_SERIES, EACH)],
            "short",
            THIRD,
        ),
        lines(
            About("New series", "How many series did a scrape carry for the first time?"),
            [drawn(q.SCRAPE_NEW_SERIES, EACH)],
            "short",
            THIRD,
        ),
    ]


def _trouble() -> list[Panel]:
    return [
        lines(
            About(
                "Refused requests",
                "Which requests does the exporter itself refuse, and why?",
                WELL,
            ),
            [drawn(q.REJECTED, "{{reason}}")],
            "short",
            HALF,
        ),
        lines(
            About(
                "Label overflow",
                "Which labels had values that were folded into _other, and how many?",
                WELL,
            ),
            [drawn(q.OVERFLOW, "{{label}}")],
            "short",
            HALF,
        ),
        lines(
            About(
                "Unread messages",
                "Which messages were relayed without being understood, and why?",
                WELL,
            ),
            [drawn(q.UNPARSED, "{{server}} {{reason}}")],
            "short",
            HALF,
        ),
        lines(
            About("Internal errors", "Where did observation fail while the traffic went on?", WELL),
            [drawn(q.INTERNAL_ERRORS, "{{where}}")],
            "short",
            HALF,
        ),
    ]

"""MCP exporter: what watching costs, and whether the watcher is well."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, table, timeseries

from grafana.build import frame, shared
from grafana.build import queries as q
from grafana.build.colours import ANY_IS_ORANGE, YES_NO
from grafana.build.panels import (
    HALF,
    THIRD,
    About,
    Panel,
    density,
    drawn,
    events,
    line_each,
    lines,
    rows,
)
from grafana.build.tables import NAME, Column, listing

WELL = "none"
UNSEEN = "not scraped"
TOO_NEW = "not scraped for long enough"


def board() -> dashboard.Dashboard:
    """The dashboard of the exporter itself."""
    found = frame.new("mcp-exporter", "MCP exporter", "Is the exporter itself well, and cheap?")
    frame.add(found, _exporters())
    frame.section(found, "What a call pays", *_overhead())
    frame.section(found, "Process", *_process())
    frame.section(found, "Scrape", *_scrape())
    frame.section(found, "What went wrong", *_trouble())
    frame.folded(found, "Tracing", *_tracing())
    frame.folded(found, "Discovery in Kubernetes", *_discovery())
    return found


def _exporters() -> table.Panel:
    return listing(
        About(
            "Exporters",
            "Does Prometheus reach each exporter, since when does it run, was its configuration"
            " accepted, and which version is it?",
            UNSEEN,
        ),
        [
            rows(q.UP, "A"),
            rows(q.UPTIME, "B"),
            rows(q.RELOADED, "C"),
            rows(q.RELOADED_AT, "D"),
            rows(q.BUILD, "E"),
            rows(q.FILES_FAILED, "F"),
        ],
        [
            Column("instance", "Instance", least=NAME),
            Column("Value #A", "Scraped", words=YES_NO, width=100),
            Column("Value #B", "Running for", "s", width=130),
            Column("Value #C", "Config accepted", words=YES_NO, width=140),
            Column("Value #F", "Wrong files", "none", width=110, steps=ANY_IS_ORANGE),
            Column("Value #D", "Last good load", "dateTimeFromNow", width=150, empty="never"),
            Column("version", "Version", width=100),
            Column("revision", "Revision", width=120),
            Column("python_version", "Python", width=100),
        ],
        (24, 5),
        join="instance",
        sort=("Scraped", False),
    )


def _overhead() -> list[Panel]:
    idle = "no requests"
    return [
        line_each(
            About(
                "Overhead p99",
                "How long does a request and its reply spend inside the exporter, at the slowest"
                " hundredth?",
                idle,
            ),
            q.quantile(0.99, q.OVERHEAD, q.TARGET, "transport"),
            "transport",
            "s",
            THIRD,
        ),
        shared.quantiles(
            About("Overhead", "How long is that for all transports together?", idle),
            q.OVERHEAD,
            q.TARGET,
            THIRD,
        ),
        density(
            About("Spread of overhead", "How many requests paid how much?", idle),
            q.spread(q.OVERHEAD, q.TARGET),
            "s",
            THIRD,
        ),
    ]


def _process() -> list[Panel]:
    return [
        shared.quantiles(
            About(
                "Event loop lag",
                "How late does the relaying loop wake, and so every call?",
                TOO_NEW,
            ),
            q.LOOP_LAG,
            q.TARGET,
            HALF,
        ),
        line_each(
            About("CPU", "What share of a core does the exporter use?", TOO_NEW),
            q.CPU,
            "instance",
            "percentunit",
            HALF,
        ),
        _line("Memory", "How much memory does the exporter hold?", q.MEMORY, "bytes", HALF),
        _line(
            "Open files",
            "What share of the files and connections allowed are open?",
            q.OPEN_FILES,
            "percentunit",
            HALF,
        ),
    ]


def _scrape() -> list[Panel]:
    return [
        _line("Scrape duration", "How long does a scrape take?", q.SCRAPE_SECONDS, "s"),
        _line("Series", "How many series does a scrape carry?", q.SCRAPE_SERIES, "short"),
        _line(
            "New series",
            "How many series did a scrape carry for the first time?",
            q.SCRAPE_NEW_SERIES,
            "short",
        ),
    ]


def _line(
    title: str, question: str, expr: str, unit: str, size: tuple[int, int] = THIRD
) -> timeseries.Panel:
    return line_each(About(title, question, UNSEEN), expr, "instance", unit, size)


def _tracing() -> list[Panel]:
    off = "no spans: tracing is off, or nothing was asked"
    return [
        events(
            About("Spans sent", "How many spans did the collector take?", off),
            q.SPANS_SENT,
            "{{instance}}",
            HALF,
        ),
        events(
            About("Spans dropped", "Which spans were not sent, and why?", WELL),
            q.SPANS_DROPPED,
            "{{reason}}",
            HALF,
        ),
        events(
            About("Trace contexts", "Do clients say which trace a request is of, and where?", off),
            q.TRACE_CONTEXTS,
            "{{source}}",
            HALF,
        ),
        events(
            About(
                "Trace joins",
                "Are servers told which span called them, so that theirs are below it?",
                "no server is told: propagate is off, or nothing was asked",
            ),
            q.TRACE_JOINS,
            "{{result}}",
            HALF,
        ),
    ]


def _discovery() -> list[Panel]:
    off = "nothing is discovered here"
    return [
        listing(
            About(
                "Namespaces",
                "Which namespaces are searched for MCP servers, and does the API server reply?",
                off,
            ),
            [rows(q.DISCOVERY_UP, "A"), rows(q.DISCOVERY_LAST, "B")],
            [
                Column("scope", "Namespace", least=NAME),
                Column("Value #A", "Reached", words=YES_NO, width=95),
                Column("Value #B", "Last reply", "dateTimeFromNow", width=140, empty="never"),
            ],
            THIRD,
            join="scope",
            sort=("Reached", False),
        ),
        lines(
            About(
                "Services found",
                "How many Services say that they are MCP servers, and what became of them?",
                off,
            ),
            [drawn(q.DISCOVERED, "{{result}}")],
            "none",
            THIRD,
        ),
        events(
            About(
                "Discovery failures",
                "How often could Services not be listed, or the file not be written?",
                WELL,
            ),
            q.DISCOVERY_FAILURES,
            "{{step}}",
            THIRD,
        ),
    ]


def _trouble() -> list[Panel]:
    return [
        _events(
            "Rejected requests",
            "Which requests does the exporter itself reject, and why?",
            q.REJECTED,
            "{{reason}}",
        ),
        _events(
            "Label overflow",
            "Which labels had values that were folded into _other, and how many?",
            q.OVERFLOW,
            "{{label}}",
        ),
        _events(
            "Unread messages",
            "Which messages were relayed without being understood, and why?",
            q.UNPARSED,
            "{{server}} {{reason}}",
        ),
        _events(
            "Internal errors",
            "Where did observation fail while the traffic went on?",
            q.INTERNAL_ERRORS,
            "{{where}}",
        ),
    ]


def _events(title: str, question: str, expr: str, legend: str) -> timeseries.Panel:
    return events(About(title, question, WELL), expr, legend, HALF)

"""MCP servers: one server, or a few side by side."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard, table

from grafana.build import frame, shared
from grafana.build import queries as q
from grafana.build.colours import CHANGES, EXITS, PROBES
from grafana.build.links import ROW_OBJECTIVES, ROW_TOOLS, TO_ITS_TOOLS, TO_OBJECTIVES, TO_TOOLS
from grafana.build.panels import (
    HALF,
    THIRD,
    About,
    Panel,
    counted_each,
    drawn,
    events,
    line_each,
    lines,
    moments,
    rows,
    stacked,
    states,
)
from grafana.build.tables import NAME, Column, listing

NO_PROCESS = "no server runs as a process here"
NO_PROBE = "no probe, or not scraped for long enough"
QUARTER = (6, 8)


def board() -> dashboard.Dashboard:
    """The dashboard of a server: its health, its traffic, its processes, its tool list."""
    found = frame.new("mcp-servers", "MCP servers", "How is this server, and what does it do?")
    frame.add(found, _servers())
    frame.section(found, "Health", *_health())
    frame.section(found, "Traffic", *_traffic())
    frame.section(found, "Tool list", *_tool_list())
    frame.section(found, "Sessions", *_sessions())
    frame.section(found, "Processes", *_processes())
    frame.folded(found, "From server to client", *_from_server())
    return found


def _servers() -> table.Panel:
    return listing(
        About(
            "Servers",
            "How is each server, since when, and what does it say it is? Up is over this time"
            " range. A click on the state asks the server now, and shows what it said.",
            shared.NO_SERVER,
        ),
        [
            *shared.STATE_QUERIES,
            rows(q.SERVER_UP_SHARE, "D"),
            rows(q.LAST_SUCCESS, "E"),
            rows(q.SERVER_INFO, "F"),
        ],
        [
            *shared.STATE_COLUMNS,
            Column("Value #D", "Up", "percentunit", width=80, decimals=1, link=ROW_OBJECTIVES),
            Column("Value #E", "Last success", "dateTimeFromNow", width=140, empty="never"),
            Column("server_name", "Its own name", least=NAME),
            Column("server_version", "Version", width=110),
            Column("transport", "Transport", width=90),
            Column("protocol_version", "Protocol", width=110),
            shared.WITNESS,
        ],
        (24, 8),
        sort=("State", True),
    )


def _health() -> list[Panel]:
    return [
        shared.health(HALF, TO_OBJECTIVES),
        states(
            About(
                "Health as each exporter sees it",
                "Where several exporters have a server: which of them reach it?",
                "one exporter has each server",
            ),
            q.REPLICA_STATE,
            "{{server}} at {{instance}}",
            HALF,
        ),
        events(
            About("Probes by result", "How did the probes end?", NO_PROBE),
            q.PROBES,
            "{{result}}",
            HALF,
            colours=PROBES,
        ),
        shared.quantiles(
            About(
                "Probe duration", "How long does it take the server to answer a probe?", NO_PROBE
            ),
            q.PROBE_SECONDS,
            q.SERVER,
            HALF,
        ),
    ]


def _traffic() -> list[Panel]:
    return [
        stacked(
            About("Requests a minute by method", "What do clients ask for?", "no requests"),
            q.REQUESTS,
            "method",
            "short",
            THIRD,
            link=TO_TOOLS,
        ),
        shared.requests_by_outcome(THIRD, TO_TOOLS),
        line_each(
            About(
                "p99 by method",
                "How long do the slowest of the clients' requests of each method take?",
                "no requests",
            ),
            q.REQUEST_P99,
            "method",
            "s",
            THIRD,
            link=TO_TOOLS,
            exemplar=True,
        ),
        events(
            About(
                "Protocol errors",
                "Which JSON-RPC errors does the server reply with, and to what?",
                "no protocol error",
            ),
            q.PROTOCOL_ERRORS,
            "{{method}}: {{code}}",
            THIRD,
        ),
        counted_each(
            About("Requests in flight", "How many requests waited for their reply, at the most?"),
            q.IN_FLIGHT,
            "server",
            THIRD,
            link=TO_ITS_TOOLS,
        ),
        line_each(
            About("Message bytes", "How many bytes of messages pass, and which way?"),
            q.MESSAGE_BYTES,
            "direction",
            "binBps",
            THIRD,
        ),
    ]


def _tool_list() -> list[Panel]:
    return [
        listing(
            About(
                "Tools listed",
                "How many tools does each server list, and what do their definitions take of a"
                " model's context? The tokens are an estimate: a quarter of the bytes.",
                "no server has listed its tools",
            ),
            [
                rows(q.SERVER_TOOLS, "A"),
                rows(q.TOOL_LIST_BYTES, "B"),
                rows(q.TOOL_LIST_TOKENS, "C"),
            ],
            [
                Column("server", "Server", least=NAME, link=ROW_TOOLS),
                Column("Value #A", "Tools", "none", width=80),
                Column("Value #B", "Definitions", "bytes", width=110),
                Column("Value #C", "Tokens, estimated", "locale", width=160, decimals=0),
            ],
            HALF,
            sort=("Tokens, estimated", True),
        ),
        listing(
            About(
                "Changes of the tool list",
                "When were tools added, removed or redefined, and by which server? A redefined tool"
                " may be a trap.",
                "no change",
            ),
            [moments(q.TOOL_CHANGES, "A")],
            [
                Column("Time", "When", "dateTimeAsIso", width=170),
                Column("server", "Server", least=NAME, link=ROW_TOOLS),
                Column("change", "Change", words=CHANGES, width=100),
                Column("Value", "Tools", "none", width=80, decimals=0),
            ],
            HALF,
            sort=("When", True),
        ).interval("1m"),
    ]


def _sessions() -> list[Panel]:
    return [
        counted_each(
            About("Sessions", "How many clients were connected, at the most?"),
            q.SESSIONS,
            "server",
            QUARTER,
            link=TO_ITS_TOOLS,
        ),
        events(
            About(
                "Sessions started",
                "How many sessions start, in which protocol version?",
                "none started",
            ),
            q.SESSIONS_STARTED,
            "{{protocol_version}}",
            QUARTER,
        ),
        shared.quantiles(
            About(
                "Session duration",
                "How long do sessions last that end now? As exact as a bucket is narrow.",
                "no session ended",
            ),
            q.SESSION_SECONDS,
            q.SERVER,
            QUARTER,
            high=0.9,
        ),
        listing(
            About("Clients", "Which clients came in this time range, how often?", "no client"),
            [rows(q.SESSION_CLIENTS, "A")],
            [
                Column("client", "Client", least=NAME),
                Column("protocol_version", "Protocol", width=100),
                Column("Value", "Sessions", "locale", width=95, decimals=0),
            ],
            QUARTER,
            sort=("Sessions", True),
        ),
    ]


def _processes() -> list[Panel]:
    return [
        counted_each(
            About("Processes", "How many processes run for the server?", NO_PROCESS),
            q.PROCESSES,
            "server",
            THIRD,
        ),
        events(
            About("Process starts", "How many processes start?", "none started"),
            q.PROCESS_STARTS,
            "{{server}}",
            THIRD,
        ),
        events(
            About("Process exits", "How many processes end, and why?", "none ended"),
            q.PROCESS_EXITS,
            "{{reason}}",
            THIRD,
            colours=EXITS,
        ),
        line_each(
            About("Process memory", "How much memory do the processes hold?", NO_PROCESS),
            q.PROCESS_MEMORY,
            "server",
            "bytes",
            HALF,
        ),
        line_each(
            About(
                "Process CPU",
                "What share of a core do the processes use?",
                f"{NO_PROCESS}, or not scraped for long enough",
            ),
            q.PROCESS_CPU,
            "server",
            "percentunit",
            HALF,
        ),
    ]


def _from_server() -> list[Panel]:
    return [
        lines(
            About(
                "Requests from server to client, a minute",
                "Does the server ask its clients for sampling, input or roots, and is it answered?",
                "the server asks nothing",
            ),
            [drawn(q.SERVER_REQUESTS, "{{method}} {{outcome}}")],
            "short",
            HALF,
        ),
        lines(
            About(
                "Notifications a minute",
                "Which notifications pass, and which way?",
                "no notification",
            ),
            [drawn(q.NOTIFICATIONS, "{{method}} {{direction}}")],
            "short",
            HALF,
        ),
    ]

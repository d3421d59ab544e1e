"""MCP servers: one server, or a few side by side."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.build import frame
from grafana.build import queries as q
from grafana.build.panels import (
    CHANGES,
    DIRECTIONS,
    EXITS,
    METHODS,
    OUTCOMES,
    PROBES,
    STATES,
    About,
    Column,
    Panel,
    drawn,
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

TO_TOOLS = link("Open its tools", "mcp-tools", from_label("server"))
TO_ALL_TOOLS = link("Open the tools", "mcp-tools", "${server:queryparam}")
TO_OBJECTIVES = link("Open its objectives", "mcp-objectives", from_label("server"))
ROW_TOOLS = link("Open its tools", "mcp-tools", 'var-server=${__data.fields["Server"]}')

NO_PROCESS = "no server runs as a process here"
THIRD = (8, 8)
HALF = (12, 8)


def board() -> dashboard.Dashboard:
    """The dashboard of a server: its health, its traffic, its processes, its tool list."""
    found = frame.new("mcp-servers", "MCP servers", "How is this server, and what does it do?")
    frame.add(found, *_summary())
    for title, panels in (
        ("Health", _health()),
        ("Traffic", _traffic()),
        ("Sessions", _sessions()),
        ("Processes", _processes()),
        ("Tool list", _tool_list()),
    ):
        frame.heading(found, title)
        frame.add(found, *panels)
    return found


def _summary() -> list[Panel]:
    return [
        number(
            About("State", "In which state is each server now?", "no server"),
            [now(q.SERVER_STATE, "{{server}}")],
            "none",
            (6, 6),
            mappings=STATES,
        ),
        listing(
            About("Identity", "What does each server say it is?", "no server has answered yet"),
            [rows(q.SERVER_INFO, "A")],
            [
                Column("server", "Server", link=ROW_TOOLS),
                Column("server_name", "Its own name", link=ROW_TOOLS),
                Column("server_version", "Version", link=ROW_TOOLS),
                Column("transport", "Transport", link=ROW_TOOLS),
                Column("protocol_version", "Protocol", link=ROW_TOOLS),
            ],
            (10, 6),
        ),
        number(
            About("Up", "For what share of this time range was the server up?"),
            [now(q.SERVER_UP_SHARE, "{{server}}")],
            "percentunit",
            (4, 6),
            decimals=1,
        ),
        number(
            About("Last success", "When did the server last prove to be alive?", "never"),
            [now(q.LAST_SUCCESS, "{{server}}")],
            "dateTimeFromNow",
            (4, 6),
        ),
    ]


def _health() -> list[Panel]:
    return [
        states(
            About("Health over time", "In which state was each server, and since when?"),
            drawn(q.SERVER_STATE, "{{server}}"),
            HALF,
            TO_OBJECTIVES,
        ),
        stacked(
            About("Probes by result", "How did the probes end?"),
            [drawn(q.PROBES, "{{result}}")],
            "short",
            HALF,
            colours=PROBES,
        ),
        latency(
            About("Probe duration", "How long does it take the server to answer a probe?"),
            {
                "p99": q.quantile(0.99, q.PROBE_SECONDS, q.SERVER),
                "p50": q.quantile(0.5, q.PROBE_SECONDS, q.SERVER),
                "average": q.mean(q.PROBE_SECONDS, q.SERVER),
            },
            "s",
            THIRD,
        ),
        lines(
            About("Failures in a row", "How many probes or calls failed since the last success?"),
            [drawn(q.SERVER_FAILURES, "{{server}}")],
            "none",
            THIRD,
            link=TO_OBJECTIVES,
        ),
        lines(
            About("Changes of state", "Between which states did the server go, and how often?"),
            [drawn(q.SERVER_TRANSITIONS, "{{server}}: {{from}} → {{to}}")],
            "short",
            THIRD,
            link=TO_OBJECTIVES,
        ),
    ]


def _traffic() -> list[Panel]:
    return [
        stacked(
            About("Requests by method", "What do clients ask for?"),
            [drawn(q.REQUESTS, "{{method}}")],
            "reqps",
            THIRD,
            colours=METHODS,
            link=TO_ALL_TOOLS,
        ),
        stacked(
            About("Requests by outcome", "How do requests end?"),
            [drawn(q.REQUEST_OUTCOMES, "{{outcome}}")],
            "reqps",
            THIRD,
            colours=OUTCOMES,
            link=TO_ALL_TOOLS,
        ),
        lines(
            About("p99 by method", "How long do the slowest requests of each method take?"),
            [drawn(q.REQUEST_P99, "{{method}}", exemplar=True)],
            "s",
            THIRD,
            colours=METHODS,
            link=TO_ALL_TOOLS,
        ),
        lines(
            About(
                "Protocol errors by code",
                "Which JSON-RPC errors does the server reply with, and to what?",
                "no protocol error",
            ),
            [drawn(q.PROTOCOL_ERRORS, "{{method}} {{code}}")],
            "reqps",
            THIRD,
        ),
        lines(
            About("Requests in flight", "How many requests waited for their reply, at the most?"),
            [drawn(q.IN_FLIGHT, "{{server}}")],
            "none",
            THIRD,
            link=TO_TOOLS,
        ),
        lines(
            About("Message bytes", "How many bytes of messages pass, and which way?"),
            [drawn(q.MESSAGE_BYTES, "{{direction}}")],
            "Bps",
            THIRD,
            colours=DIRECTIONS,
        ),
        lines(
            About(
                "Requests from server to client",
                "Does the server ask its clients for sampling, input or roots, and is it answered?",
                "the server asks nothing",
            ),
            [drawn(q.SERVER_REQUESTS, "{{method}} {{outcome}}")],
            "reqps",
            HALF,
        ),
        lines(
            About("Notifications", "Which notifications pass, and which way?", "no notification"),
            [drawn(q.NOTIFICATIONS, "{{method}} {{direction}}")],
            "reqps",
            HALF,
        ),
    ]


def _sessions() -> list[Panel]:
    return [
        lines(
            About("Sessions", "How many clients are connected?"),
            [drawn(q.SESSIONS, "{{server}}")],
            "none",
            (6, 8),
            link=TO_TOOLS,
        ),
        stacked(
            About("Sessions started", "How many sessions start, in which protocol version?"),
            [drawn(q.SESSIONS_STARTED, "{{protocol_version}}")],
            "short",
            (6, 8),
        ),
        latency(
            About(
                "Session duration", "How long do sessions last that end now?", "no session ended"
            ),
            {
                "p90": q.quantile(0.9, q.SESSION_SECONDS, q.SERVER),
                "p50": q.quantile(0.5, q.SESSION_SECONDS, q.SERVER),
                "average": q.mean(q.SESSION_SECONDS, q.SERVER),
            },
            "s",
            (6, 8),
        ),
        listing(
            About("Clients", "Which clients came in this time range, how often?", "no client"),
            [rows(q.SESSION_CLIENTS, "A")],
            [
                Column("client", "Client"),
                Column("protocol_version", "Protocol", width=110),
                Column("Value", "Sessions", "locale", width=90, decimals=0),
            ],
            (6, 8),
            sort=("Sessions", True),
        ),
    ]


def _processes() -> list[Panel]:
    return [
        lines(
            About("Processes", "How many processes run for the server?", NO_PROCESS),
            [drawn(q.PROCESSES, "{{server}}")],
            "none",
            THIRD,
        ),
        lines(
            About("Process starts", "How many processes start?", NO_PROCESS),
            [drawn(q.PROCESS_STARTS, "{{server}}")],
            "short",
            THIRD,
        ),
        stacked(
            About("Process exits", "How many processes end, and why?", "none"),
            [drawn(q.PROCESS_EXITS, "{{reason}}")],
            "short",
            THIRD,
            colours=EXITS,
        ),
        lines(
            About("Process memory", "How much memory do the processes hold?", NO_PROCESS),
            [drawn(q.PROCESS_MEMORY, "{{server}}")],
            "bytes",
            HALF,
        ),
        lines(
            About("Process CPU", "How many CPU cores do the processes use?", NO_PROCESS),
            [drawn(q.PROCESS_CPU, "{{server}}")],
            "short",
            HALF,
        ),
    ]


def _tool_list() -> list[Panel]:
    return [
        lines(
            About("Tools listed", "How many tools does the server offer?"),
            [drawn(q.SERVER_TOOLS, "{{server}}")],
            "none",
            THIRD,
            link=TO_TOOLS,
        ),
        lines(
            About("Size of the tool list", "How much of a model's context does the list take?"),
            [drawn(q.TOOL_LIST_BYTES, "{{server}}")],
            "bytes",
            THIRD,
            link=TO_TOOLS,
        ),
        lines(
            About(
                "Changes of the tool list",
                "Were tools added, removed or redefined? A redefined tool may be a trap.",
                "no change",
            ),
            [drawn(q.TOOL_LIST_CHANGES, "{{change}}")],
            "short",
            THIRD,
            colours=CHANGES,
        ),
    ]

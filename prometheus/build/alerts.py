"""Every alert but those on objectives: one table.

``<window>`` and the like are the alert's own thresholds in objectives.yml; what a row names there
must be, and nothing else may be (`prometheus.build.settings`).
"""

from __future__ import annotations

from prometheus.build.promql import (
    DEPLOYMENT,
    REPLICA,
    SERVER,
    TOOL,
    gained,
    highest,
    match,
    once,
    select,
    total,
)
from prometheus.build.recording import MEAN_MEMORY
from prometheus.build.rules import Alert, Group, Link

A_SERVER = Link("mcp-servers", SERVER)
A_TOOL = Link("mcp-tools", TOOL)
A_REPLICA = Link("mcp-exporter", REPLICA)
EXPORTERS = Link("mcp-exporter", DEPLOYMENT)


def _saying(state: str) -> str:
    """How many replicas see a server in these states.

    A failed scrape takes no vote away, and one that left has none for long. Nothing recorded is
    read: groups are evaluated in any order, and what pages would come an evaluation later.
    """
    matcher = match("state", "=~", state)
    return total(SERVER, once("last_over_time", "2m", "mcp_server_health_state", matcher))


IN_ERROR = f"{_saying('error')} > 0"
REACHED = f"{_saying('ok|degraded')} > 0"
"""A replica that has just begun says ``unknown``, which is no vote."""

DEGRADED = select("mcp_server_health_state", state="degraded")
LAST_SUCCESS = select("mcp_server_last_success_timestamp_seconds")
NEWEST_SUCCESS = highest(SERVER, f"max_over_time({LAST_SUCCESS}[1h])")
NEWEST_SUCCESS_THEN = highest(SERVER, f"max_over_time({LAST_SUCCESS}[1h] offset <after>)")
SINCE = "{{ if gt $value 1e9 }}never{{ else }}{{ $value | humanizeDuration }} ago{{ end }}"
MEMORY_NOW = f"min_over_time({MEAN_MEMORY}[1h])"
MEMORY_THEN = f"max_over_time({MEAN_MEMORY}[1h] offset 5h)"

SERVERS = (
    # It fires on for a while after the recovery: one page for a server that goes up and down, and
    # what it hides has passed when it ends.
    Alert(
        "MCPServerDown",
        "critical",
        "server",
        highest(SERVER, f"last_over_time({select('mcp_server_consecutive_failures')}[2m])")
        + f"\nand on ({SERVER})\n{IN_ERROR}\nunless on ({SERVER})\n{REACHED}",
        summary="MCP server {{ $labels.server }} is down",
        description="Nobody reaches {{ $labels.server }}: it has failed {{ $value | humanize }}"
        " times in a row. Calls to its tools fail.",
        value="{{ $value | humanize }} failures in a row",
        link=A_SERVER,
        hold="<for>",
        keep="<keep_firing_for>",
    ),
    Alert(
        "MCPServerDownInPart",
        "warning",
        "server",
        f"{IN_ERROR}\nand on ({SERVER})\n{REACHED}",
        summary="MCP server {{ $labels.server }} is down for some exporters",
        description="{{ $labels.server }} is out of reach for {{ $value | humanize }} of the"
        " exporters, and not for the others: a part of the calls to its tools fails.",
        value="out of reach for {{ $value | humanize }}",
        link=A_SERVER,
        hold="<for>",
    ),
    # Weighted by samples, so that a replica that came or went within the window counts as long as
    # it was there.
    Alert(
        "MCPServerDegraded",
        "warning",
        "server",
        f"{total(SERVER, f'sum_over_time({DEGRADED}[<window>])')}\n/\n"
        f"{total(SERVER, f'count_over_time({DEGRADED}[<window>])')}\n> <share>",
        summary="MCP server {{ $labels.server }} is degraded",
        description="{{ $labels.server }} was degraded for {{ $value | humanizePercentage }} of"
        " the last <window>: some checks or calls fail, not enough in a row to call it down.",
        value="degraded {{ $value | humanizePercentage }} of <window>",
        link=A_SERVER,
        hold="<for>",
    ),
    Alert(
        "MCPServerFlapping",
        "warning",
        "server",
        "round({}) >= <failures>".format(
            total(
                SERVER,
                highest(
                    f"{SERVER}, to",
                    f"increase({select('mcp_server_health_transitions_total', **{'from': 'ok'})}"
                    "[<window>])",
                ),
            )
        ),
        summary="MCP server {{ $labels.server }} is flapping",
        description="{{ $labels.server }} stopped being healthy {{ $value | humanize }} times in"
        " <window> and recovered in between.",
        value="{{ $value | humanize }} failures in <window>",
        link=A_SERVER,
    ),
    # The newest success is no newer than it was: right through restarts, after which a replica
    # says 0, which means never. Its age would read as decades.
    Alert(
        "MCPServerNoSuccess",
        "warning",
        "server",
        f"time() - (\n  {NEWEST_SUCCESS}\n  <=\n  {NEWEST_SUCCESS_THEN}\n)\nand\n"
        + total(SERVER, f"increase({select('mcp_probes_total')}[<after>])")
        + " > 0",
        summary="MCP server {{ $labels.server }} has not answered for long",
        description=f"{{{{ $labels.server }}}} is probed, but last answered: {SINCE}.",
        value=f"last success: {SINCE}",
        link=A_SERVER,
        hold="<for>",
    ),
    # Exits, not starts: a new session starts a process too, and rightly so. Each replica has
    # processes of its own.
    Alert(
        "MCPProcessRestartLoop",
        "warning",
        "server",
        "round({}) >= <exits>".format(
            gained(
                SERVER,
                "<window>",
                "mcp_server_process_exits_total",
                match("reason", "=~", "error|signal"),
            )
        ),
        summary="Processes of MCP server {{ $labels.server }} keep dying",
        description="{{ $value | humanize }} processes of {{ $labels.server }} ended with an error"
        " or a signal in <window>.",
        value="{{ $value | humanize }} exits in <window>",
        link=A_SERVER,
        hold="<for>",
    ),
    # The lowest of the last hour above the highest of five hours before: not a sawtooth.
    Alert(
        "MCPProcessMemoryGrowing",
        "warning",
        "server",
        highest(
            SERVER,
            f"\n  {MEMORY_NOW} - {MEMORY_THEN} > <bytes>\n  and\n"
            f"  {MEMORY_NOW} > <factor> * {MEMORY_THEN}\n",
        ),
        summary="Processes of MCP server {{ $labels.server }} use more and more memory",
        description="A process of {{ $labels.server }} holds {{ $value | humanize1024 }}B more, on"
        " average, than five hours ago.",
        value="{{ $value | humanize1024 }}B more in 5h",
        link=A_SERVER,
        hold="<for>",
    ),
    Alert(
        "MCPToolDefinitionsChanged",
        "warning",
        "server",
        highest(
            f"{SERVER}, change", f"increase({select('mcp_server_tool_changes_total')}[<window>])"
        )
        + " > 0",
        summary="MCP server {{ $labels.server }} changed its tool definitions",
        description="Tool definitions of {{ $labels.server }} {{ $labels.change }} in the last"
        " <window>: {{ $value | humanize }}. Where nobody updated the server, treat it as an"
        " attack: a changed description can steer a model.",
        value="{{ $value | humanize }} {{ $labels.change }}",
        link=A_SERVER,
    ),
)

KNOWN = '{tool!="_other"}'
"""A tool that the server never listed is a client's mistake and no trouble of the server's."""
ERRORS = "server_tool:mcp_tool_call_errors"
TIMEOUTS = gained(TOOL, "15m", "mcp_tool_calls_total", outcome="timeout")
IN_15_MINUTES = 900
REQUESTS_ENDED = f"increase({select('mcp_requests_total')}[<window>])"

TOOLS = (
    # The short window ends it soon after the trouble.
    Alert(
        "MCPToolErrorRatio",
        "warning",
        "tool",
        f"{ERRORS}:ratio_rate15m{KNOWN} > <ratio>\nand\n{ERRORS}:ratio_rate5m{KNOWN} > <ratio>\n"
        f"and\nround({IN_15_MINUTES} * {ERRORS}:rate15m{KNOWN}) >= <failures>",
        summary="MCP tool {{ $labels.tool }} of {{ $labels.server }} fails often",
        description="{{ $value | humanizePercentage }} of the calls to {{ $labels.tool }} of"
        " {{ $labels.server }} failed in the last 15m.",
        value="{{ $value | humanizePercentage }} of calls in 15m",
        link=A_TOOL,
        hold="<for>",
    ),
    Alert(
        "MCPToolTimeouts",
        "warning",
        "tool",
        f"round({TIMEOUTS}) >= <timeouts>\nand\n"
        f"{TIMEOUTS} > <ratio> * {IN_15_MINUTES} * server_tool:mcp_tool_calls_completed:rate15m",
        summary="MCP tool {{ $labels.tool }} of {{ $labels.server }} times out",
        description="{{ $value | humanize }} calls to {{ $labels.tool }} of {{ $labels.server }}"
        " had no reply within the exporter's deadline in the last 15m.",
        value="{{ $value | humanize }} timeouts in 15m",
        link=A_TOOL,
        hold="<for>",
    ),
    # Looked at replica by replica, each of which has connections and processes of its own. Held
    # for a while: right after a start one call in flight is all there is to see.
    Alert(
        "MCPToolCallsStuck",
        "warning",
        "tool",
        total(
            SERVER,
            f"\n  {once('min_over_time', '<window>', 'mcp_requests_in_flight')} > 0\n"
            f"  unless on ({REPLICA}, server)\n"
            f"  {total(f'{REPLICA}, server', REQUESTS_ENDED)} > 0\n",
        ),
        summary="Calls to MCP server {{ $labels.server }} are stuck",
        description="{{ $value | humanize }} requests to {{ $labels.server }} wait, and beside"
        " them none has ended in the last <window>.",
        value="{{ $value | humanize }} requests in flight",
        link=A_SERVER,
        hold="<for>",
    ),
)

UP = select("up")
STARTED = select("process_start_time_seconds")
RELOADED = select("mcp_exporter_config_last_reload_successful")
FILES_FAILED = select("mcp_exporter_config_files_failed")
DISCOVERY = '{job="<job>-discovery"}'
UNWRITTEN = 'mcp_exporter_discovery_failures_total{job="<job>-discovery",step="write"}'
INTERNAL_ERRORS = select("mcp_exporter_internal_errors_total")
SPANS_DROPPED = select("mcp_exporter_spans_dropped_total")
SCRAPE_SECONDS = select("scrape_duration_seconds")
FOLDED = gained(f"{DEPLOYMENT}, label", "<window>", "mcp_exporter_label_overflow_total")
REQUESTS = gained(DEPLOYMENT, "<window>", "mcp_requests_total")

EXPORTER = (
    Alert(
        "MCPExporterDown",
        "critical",
        "exporter",
        f"{highest(REPLICA, UP)} == 0",
        summary="MCP exporter {{ $labels.instance }} is down",
        description="Prometheus cannot scrape {{ $labels.instance }}. Where the process is gone,"
        " so are the MCP servers behind it, for every client that reaches them through it.",
        value="up is {{ $value }}",
        link=A_REPLICA,
        hold="<for>",
    ),
    # What hides all that the exporters last said: as long as one of them is up, it speaks.
    Alert(
        "MCPExporterAllDown",
        "critical",
        "exporter",
        f"count by ({DEPLOYMENT}) ({highest(REPLICA, UP)} == 0)"
        f"\nunless on ({DEPLOYMENT})\n{UP} == 1",
        summary="Every MCP exporter of {{ $labels.job }} is down",
        description="Prometheus can scrape none of the targets of {{ $labels.job }}"
        " ({{ $value }} in all). Where the processes are gone, so are all MCP servers behind them.",
        value="{{ $value }} down, none up",
        link=EXPORTERS,
        hold="<for>",
    ),
    Alert(
        "MCPExporterAbsent",
        "critical",
        "exporter",
        f"absent({UP})",
        summary="No MCP exporter is scraped",
        description="Prometheus has no target of the job <job>: nothing is watched.",
        value="no target",
        link=Link("mcp-exporter", "job"),
        hold="<for>",
    ),
    # One that is up again at each scrape is never down for long, and loses every session.
    Alert(
        "MCPExporterRestartLoop",
        "warning",
        "exporter",
        f"{highest(REPLICA, f'changes({STARTED}[<window>])')} >= <restarts>",
        summary="MCP exporter {{ $labels.instance }} keeps restarting",
        description="{{ $labels.instance }} started {{ $value | humanize }} times in the last"
        " <window>. Each time every session behind it ends.",
        value="{{ $value | humanize }} starts in <window>",
        link=A_REPLICA,
    ),
    Alert(
        "MCPExporterReloadFailed",
        "warning",
        "exporter",
        f"{highest(REPLICA, f'max_over_time({RELOADED}[5m])')} == 0",
        summary="MCP exporter {{ $labels.instance }} rejected its new configuration",
        description="The last reload of {{ $labels.instance }} failed; it goes on with the"
        " configuration before. A restart would fail.",
        value="last reload failed",
        link=A_REPLICA,
        hold="<for>",
    ),
    Alert(
        "MCPExporterConfigFileFailed",
        "warning",
        "exporter",
        f"{highest(REPLICA, f'min_over_time({FILES_FAILED}[5m])')} > 0",
        summary="MCP exporter {{ $labels.instance }} cannot use {{ $value }} of its files",
        description="{{ $value }} files of the configuration of {{ $labels.instance }} are wrong."
        " What they said before is in force; what is new in them is not.",
        value="{{ $value }} wrong files",
        link=A_REPLICA,
        hold="<for>",
    ),
    # A job of its own. By no label of its own: `namespace` may be the target's.
    Alert(
        "MCPExporterDiscoveryFailing",
        "warning",
        "exporter",
        f"min by ({REPLICA}) (max_over_time(mcp_exporter_discovery_up{DISCOVERY}[5m])) == 0"
        f"\nor {highest(REPLICA, f'increase({UNWRITTEN}[<window>])')} > 0"
        f"\nor {highest(REPLICA, f'up{DISCOVERY}')} == 0",
        summary="MCP servers are no longer found by {{ $labels.instance }}",
        description="{{ $labels.instance }} cannot list Services, cannot write what it found, or"
        " is gone. The servers that were found stay; new ones, and changes, are not served.",
        value="not in <window>",
        link=Link("mcp-exporter"),
        hold="<for>",
    ),
    # A share of the requests too: where there are many, models invent a name now and then.
    Alert(
        "MCPExporterLabelOverflow",
        "warning",
        "exporter",
        f"{FOLDED} > <values>\nand\n{FOLDED} > on ({DEPLOYMENT}) group_left <share> * {REQUESTS}",
        summary="MCP exporter folds values of the label {{ $labels.label }}",
        description="{{ $value | humanize }} values of {{ $labels.label }} became _other in the"
        " last <window>: a client invents names, or a limit is too low.",
        value="{{ $value | humanize }} values in <window>",
        link=EXPORTERS,
    ),
    # A counter whose very first event created it enters Prometheus with that event already in it,
    # and increase() sees nothing; the second half counts it.
    Alert(
        "MCPExporterInternalErrors",
        "warning",
        "exporter",
        highest(
            f"{REPLICA}, where",
            f"\n  increase({INTERNAL_ERRORS}[<window>]) > 0\n  or\n  ({INTERNAL_ERRORS} > 0"
            f" unless max_over_time({INTERNAL_ERRORS}[1d] offset <window>))\n",
        ),
        summary="MCP exporter {{ $labels.instance }} has internal errors",
        description="Internal errors in {{ $labels.where }} within the last <window>:"
        " {{ $value | humanize }}. The traffic went on, but numbers are missing.",
        value="{{ $value | humanize }} in <window>",
        link=A_REPLICA,
    ),
    Alert(
        "MCPExporterRejectedRequests",
        "warning",
        "exporter",
        # Clients ask for well-known paths at their start, whether there is anything or not.
        gained(
            f"{DEPLOYMENT}, reason",
            "<window>",
            "mcp_exporter_rejected_requests_total",
            match("reason", "!=", "discovery"),
        )
        + " > <requests>",
        summary="MCP exporter rejects many requests",
        description="{{ $value | humanize }} requests were rejected for {{ $labels.reason }} in"
        " the last <window>: a client is set up wrongly, or someone is trying doors.",
        value="{{ $value | humanize }} requests in <window>",
        link=EXPORTERS,
    ),
    Alert(
        "MCPExporterSpansLost",
        "warning",
        "exporter",
        highest(f"{REPLICA}, reason", f"increase({SPANS_DROPPED}[<window>])") + " > 0",
        summary="MCP exporter {{ $labels.instance }} loses spans",
        description="{{ $value | humanize }} spans of {{ $labels.instance }} were dropped as"
        " {{ $labels.reason }} in the last <window>, and some all the time: traces and exemplars"
        " have gaps. Calls are not slower for it.",
        value="{{ $value | humanize }} spans in <window>",
        link=A_REPLICA,
        hold="<for>",
    ),
    Alert(
        "MCPExporterScrapeSlow",
        "warning",
        "exporter",
        f"{highest(REPLICA, f'avg_over_time({SCRAPE_SECONDS}[<window>])')} > <seconds>",
        summary="Scrapes of MCP exporter {{ $labels.instance }} are slow",
        description="A scrape of {{ $labels.instance }} takes {{ $value | humanizeDuration }} on"
        " average; past the scrape timeout there would be no data at all.",
        value="{{ $value | humanizeDuration }} a scrape",
        link=A_REPLICA,
        hold="<for>",
    ),
)

MONITORING = (
    Alert(
        "MCPNotificationsFailing",
        "critical",
        "monitoring",
        total(
            "job, instance, integration",
            "increase(alertmanager_notifications_failed_total[<window>])",
        )
        + " > 0",
        summary="Alertmanager cannot notify through {{ $labels.integration }}",
        description="{{ $value | humanize }} notifications of {{ $labels.instance }} through"
        " {{ $labels.integration }} failed in the last <window>. Nobody may have been told of what"
        " fires.",
        value="{{ $value | humanize }} notifications in <window>",
        link=Link("mcp-exporter"),
    ),
    Alert(
        "Watchdog",
        "none",
        "monitoring",
        "vector(1)",
        summary="Alerting works from Prometheus to the receiver",
        description="This alert always fires. What receives it must complain when it stops coming.",
        value="always 1",
        link=Link("mcp-exporter"),
    ),
)

FILES = {
    "servers.alerts.yml": Group("mcp-servers", SERVERS),
    "tools.alerts.yml": Group("mcp-tools", TOOLS),
    "exporter.alerts.yml": Group("mcp-exporter", EXPORTER),
    "monitoring.alerts.yml": Group("mcp-monitoring", MONITORING),
}
THRESHOLDS = {
    alert.key: alert.thresholds
    for alert in (*SERVERS, *TOOLS, *EXPORTER, *MONITORING)
    if alert.thresholds
}
"""What objectives.yml must say of each alert."""

"""Alerts about tools: they fail, time out or hang."""

from __future__ import annotations

from prometheus.build.alerts import LINKED, Text, alert, thresholds
from prometheus.build.promql import IDENTITY, TOOL, select, total
from prometheus.build.rule import Alert, Group
from prometheus.build.settings import Settings

WINDOW = "15m"
SECONDS = 900
KNOWN = '{tool!="_other"}'
"""A tool that the server never listed is a client's mistake and no trouble of the server's."""


def groups(settings: Settings) -> list[Group]:
    """One group: they are read together."""
    return [Group("mcp-tools", [make(settings) for make in (_errors, _timeouts, _stuck)])]


def _errors(settings: Settings) -> Alert:
    """The short window ends it soon after the trouble."""
    limits = thresholds(settings, "tool_error_ratio")
    ratio = "instance_server_tool:mcp_tool_call_errors:ratio_rate"
    errors = f"instance_server_tool:mcp_tool_call_errors:rate{WINDOW}{KNOWN}"
    return alert(
        settings,
        "MCPToolErrorRatio",
        "warning",
        "tool",
        "\nand\n".join(
            (
                f"{ratio}{WINDOW}{KNOWN} > {limits['ratio']}",
                f"{ratio}5m{KNOWN} > {limits['ratio']}",
                f"round({SECONDS} * {errors}) >= {limits['failures']}",
            )
        ),
        Text(
            "MCP tool {{ $labels.tool }} of {{ $labels.server }} fails often",
            "{{ $value | humanizePercentage }} of the calls to {{ $labels.tool }} of"
            f" {{{{ $labels.server }}}} failed in the last {WINDOW}.",
            f"{{{{ $value | humanizePercentage }}}} of calls in {WINDOW}",
        ),
        hold=limits["for"],
    )


def _timeouts(settings: Settings) -> Alert:
    limits = thresholds(settings, "tool_timeouts")
    calls = select("mcp_tool_calls_total", job=settings.job, outcome="timeout")
    timeouts = total(TOOL, f"increase({calls}[{WINDOW}])")
    completed = f"instance_server_tool:mcp_tool_calls_completed:rate{WINDOW}"
    return alert(
        settings,
        "MCPToolTimeouts",
        "warning",
        "tool",
        f"round({timeouts}) >= {limits['timeouts']}\nand\n"
        f"{timeouts} > {limits['ratio']} * {SECONDS} * {completed}",
        Text(
            "MCP tool {{ $labels.tool }} of {{ $labels.server }} times out",
            "{{ $value | humanize }} calls to {{ $labels.tool }} of {{ $labels.server }} had no"
            f" reply within the exporter's deadline in the last {WINDOW}.",
            f"{{{{ $value | humanize }}}} timeouts in {WINDOW}",
        ),
        hold=limits["for"],
    )


def _stuck(settings: Settings) -> Alert:
    """Held for a while: right after a start one call in flight is all there is to see."""
    limits = thresholds(settings, "tool_calls_stuck")
    window = limits["window"]
    in_flight = select("mcp_requests_in_flight", job=settings.job)
    ended = total(IDENTITY, f"increase({select('mcp_requests_total', job=settings.job)}[{window}])")
    return alert(
        settings,
        "MCPToolCallsStuck",
        "warning",
        "tool",
        f"min_over_time({in_flight}[{window}]) > 0\nunless on ({IDENTITY})\n{ended} > 0",
        Text(
            "Calls to MCP server {{ $labels.server }} are stuck",
            "{{ $value | humanize }} requests to {{ $labels.server }} behind"
            f" {{{{ $labels.instance }}}} wait, and none has ended in the last {window}.",
            "{{ $value | humanize }} requests in flight",
        ),
        hold=limits["for"],
        linked=LINKED["server"],
    )

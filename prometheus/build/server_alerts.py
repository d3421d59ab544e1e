"""Alerts about a server as a whole: its health, its processes, its tool definitions."""

from __future__ import annotations

from prometheus.build.alerts import Text, alert, thresholds
from prometheus.build.promql import IDENTITY, match, select, total
from prometheus.build.rule import Alert, Group
from prometheus.build.settings import Settings

MEAN_MEMORY = "instance_server:mcp_server_process_resident_memory_bytes:mean"


def groups(settings: Settings) -> list[Group]:
    """One group: they are read together."""
    makers = (_down, _degraded, _flapping, _no_success, _restarts, _memory, _definitions)
    return [Group("mcp-servers", [make(settings) for make in makers])]


def _down(settings: Settings) -> Alert:
    """``last_over_time`` bridges a failed scrape, which would otherwise resolve the alert.

    It fires on for a while after the recovery: one page for a server that goes up and down, and
    what it hides has passed when it ends.
    """
    limits = thresholds(settings, "server_down")
    failures = select("mcp_server_consecutive_failures", job=settings.job)
    error = select("mcp_server_health_state", job=settings.job, state="error")
    return alert(
        settings,
        "MCPServerDown",
        "critical",
        "server",
        f"last_over_time({failures}[5m])\nand ignoring (state)\nlast_over_time({error}[5m]) == 1",
        Text(
            "MCP server {{ $labels.server }} is down",
            "{{ $labels.server }} behind {{ $labels.instance }} has failed"
            " {{ $value | humanize }} times in a row. Calls to its tools fail.",
            "{{ $value | humanize }} failures in a row",
        ),
        hold=limits["for"],
        keep=limits["keep_firing_for"],
    )


def _degraded(settings: Settings) -> Alert:
    limits = thresholds(settings, "server_degraded")
    degraded = select("mcp_server_health_state", job=settings.job, state="degraded")
    return alert(
        settings,
        "MCPServerDegraded",
        "warning",
        "server",
        total(IDENTITY, f"avg_over_time({degraded}[{limits['window']}])") + f" > {limits['share']}",
        Text(
            "MCP server {{ $labels.server }} is degraded",
            "{{ $labels.server }} behind {{ $labels.instance }} was degraded for"
            f" {{{{ $value | humanizePercentage }}}} of the last {limits['window']}:"
            " some checks or calls fail, not enough in a row to call it down.",
            f"degraded {{{{ $value | humanizePercentage }}}} of {limits['window']}",
        ),
        hold=limits["for"],
    )


def _flapping(settings: Settings) -> Alert:
    limits = thresholds(settings, "server_flapping")
    lost = select("mcp_server_health_transitions_total", job=settings.job, **{"from": "ok"})
    gained = total(IDENTITY, f"increase({lost}[{limits['window']}])")
    return alert(
        settings,
        "MCPServerFlapping",
        "warning",
        "server",
        f"round({gained}) >= {limits['failures']}",
        Text(
            "MCP server {{ $labels.server }} is flapping",
            "{{ $labels.server }} behind {{ $labels.instance }} stopped being healthy"
            f" {{{{ $value | humanize }}}} times in {limits['window']} and recovered in between.",
            f"{{{{ $value | humanize }}}} failures in {limits['window']}",
        ),
    )


def _no_success(settings: Settings) -> Alert:
    """The timestamp stands still; 0 means never, and its age would read as decades.

    Compared with its own past, and not with the clock alone: after a restart it is 0 for a while.
    """
    limits = thresholds(settings, "server_no_success")
    last = select("mcp_server_last_success_timestamp_seconds", job=settings.job)
    age = f"time() - ({last} == {last} offset {limits['after']})"
    probes = f"increase({select('mcp_probes_total', job=settings.job)}[{limits['after']}])"
    since = "{{ if gt $value 1e9 }}never{{ else }}{{ $value | humanizeDuration }} ago{{ end }}"
    return alert(
        settings,
        "MCPServerNoSuccess",
        "warning",
        "server",
        f"{age}\nand on ({IDENTITY})\n{total(IDENTITY, probes)} > 0",
        Text(
            "MCP server {{ $labels.server }} has not answered for long",
            "{{ $labels.server }} behind {{ $labels.instance }} is probed, but last answered:"
            f" {since}.",
            f"last success: {since}",
        ),
        hold=limits["for"],
    )


def _restarts(settings: Settings) -> Alert:
    """Exits, not starts: a new session starts a process too, and rightly so."""
    limits = thresholds(settings, "process_restart_loop")
    crash = match("reason", "=~", "error|signal")
    exits = select("mcp_server_process_exits_total", crash, job=settings.job)
    gained = total(IDENTITY, f"increase({exits}[{limits['window']}])")
    return alert(
        settings,
        "MCPProcessRestartLoop",
        "warning",
        "server",
        f"round({gained}) >= {limits['exits']}",
        Text(
            "Processes of MCP server {{ $labels.server }} keep dying",
            "{{ $value | humanize }} processes of {{ $labels.server }} behind"
            f" {{{{ $labels.instance }}}} ended with an error or a signal in {limits['window']}.",
            f"{{{{ $value | humanize }}}} exits in {limits['window']}",
        ),
        hold=limits["for"],
    )


def _memory(settings: Settings) -> Alert:
    """The lowest of the last hour above the highest of five hours before: not a sawtooth."""
    limits = thresholds(settings, "process_memory_growing")
    now = f"min_over_time({MEAN_MEMORY}[1h])"
    then = f"max_over_time({MEAN_MEMORY}[1h] offset 5h)"
    return alert(
        settings,
        "MCPProcessMemoryGrowing",
        "warning",
        "server",
        f"{now} - {then} > {limits['bytes']}\nand\n{now} > {limits['factor']} * {then}",
        Text(
            "Processes of MCP server {{ $labels.server }} use more and more memory",
            "A process of {{ $labels.server }} behind {{ $labels.instance }} holds"
            " {{ $value | humanize1024 }}B more, on average, than five hours ago.",
            "{{ $value | humanize1024 }}B more in 5h",
        ),
        hold=limits["for"],
    )


def _definitions(settings: Settings) -> Alert:
    window = thresholds(settings, "tool_definitions_changed")["window"]
    changes = select("mcp_server_tool_changes_total", job=settings.job)
    return alert(
        settings,
        "MCPToolDefinitionsChanged",
        "warning",
        "server",
        total(f"{IDENTITY}, change", f"increase({changes}[{window}])") + " > 0",
        Text(
            "MCP server {{ $labels.server }} changed its tool definitions",
            "Tool definitions of {{ $labels.server }} {{ $labels.change }} in the last"
            f" {window},"
            " as seen by {{ $labels.instance }}: {{ $value | humanize }}. Where nobody updated the"
            " server, treat it as an attack: a changed description can steer a model.",
            "{{ $value | humanize }} {{ $labels.change }}",
        ),
    )

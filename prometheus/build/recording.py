"""Recording rules for traffic: numerators and denominators apart, a ratio last."""

from __future__ import annotations

from prometheus.build.promql import (
    COMPLETED,
    FAILED,
    MEASURED,
    REPLICA,
    SERVER,
    TOOL,
    match,
    once,
    select,
    total,
)
from prometheus.build.rules import Group, Record

QUANTILES = ("0.5", "0.9", "0.99")
WINDOWS = ("5m", "15m")
MEAN_MEMORY = "instance_server:mcp_server_process_resident_memory_bytes:mean"


def groups() -> list[Group]:
    """What dashboards and alerts read instead of every series of every tool."""
    return [
        Group("mcp-traffic", [*_rates(), *_tool_success()]),
        # The dearest by far, as every bucket of every tool is read.
        Group("mcp-quantiles", _quantiles(), interval="1m"),
        Group("mcp-processes", [_memory()], interval="1m"),
    ]


def _rates() -> list[Record]:
    calls = "mcp_tool_calls:rate5m"
    return [
        Record(
            "server_outcome:mcp_requests:rate5m",
            total(f"{SERVER}, outcome", once("rate", "5m", "mcp_requests_total")),
        ),
        Record(
            f"server_tool_outcome:{calls}",
            total(f"{TOOL}, outcome", once("rate", "5m", "mcp_tool_calls_total")),
        ),
        Record(f"server_tool:{calls}", total(TOOL, f"server_tool_outcome:{calls}")),
        Record(f"server:{calls}", total(SERVER, f"server_tool:{calls}")),
    ]


def _tool_success() -> list[Record]:
    return [rule for window in WINDOWS for rule in _tool_success_over(window)]


def _tool_success_over(window: str) -> list[Record]:
    completed = f"mcp_tool_calls_completed:rate{window}"
    errors = f"mcp_tool_call_errors:rate{window}"
    failed = total(TOOL, _calls(window, FAILED))
    per_tool = [
        Record(f"server_tool:{completed}", total(TOOL, _calls(window, COMPLETED))),
        Record(f"server_tool:{errors}", f"{failed}\nor\n0 * server_tool:{completed}"),
    ]
    per_server = [
        Record(f"server:{name}", total(SERVER, f"server_tool:{name}"))
        for name in (completed, errors)
    ]
    levels = ("server_tool", "server")
    return [*per_tool, *per_server, *(_error_ratio(level, window) for level in levels)]


def _calls(window: str, outcomes: str) -> str:
    return once("rate", window, "mcp_tool_calls_total", match("outcome", "=~", outcomes))


def _error_ratio(level: str, window: str) -> Record:
    """Absent while idle: 0/0 would be recorded as NaN and stay in every later window."""
    errors = f"{level}:mcp_tool_call_errors:rate{window}"
    completed = f"{level}:mcp_tool_calls_completed:rate{window}"
    return Record(
        f"{level}:mcp_tool_call_errors:ratio_rate{window}", f"{errors} / ({completed} > 0)"
    )


def _quantiles() -> list[Record]:
    measured = match("outcome", "=~", MEASURED)
    bucket = once("rate", "5m", "mcp_tool_call_duration_seconds_bucket", measured)
    levels = {"server_tool_quantile": TOOL, "server_quantile": SERVER}
    return [
        Record(
            f"{level}:mcp_tool_call_duration_seconds:rate5m",
            # The comparison drops the NaN of an idle histogram.
            f"histogram_quantile({quantile}, {total(f'{by}, le', bucket)}) >= 0",
            {"quantile": quantile},
        )
        for level, by in levels.items()
        for quantile in QUANTILES
    ]


def _memory() -> Record:
    """A replica's own: its processes are as old as it is, and are compared with their past."""
    memory = select("mcp_server_process_resident_memory_bytes")
    processes = select("mcp_server_processes")
    by = f"{REPLICA}, server"
    return Record(MEAN_MEMORY, f"{total(by, memory)} / ({total(by, processes)} > 0)")

"""Recording rules for traffic: numerators and denominators apart, a ratio last."""

from __future__ import annotations

from prometheus.build.promql import (
    COMPLETED,
    FAILED,
    IDENTITY,
    MEASURED,
    TOOL,
    match,
    select,
    total,
)
from prometheus.build.rule import Group, Record
from prometheus.build.settings import Settings

QUANTILES = ("0.5", "0.9", "0.99")
WINDOWS = ("5m", "15m")


def groups(settings: Settings) -> list[Group]:
    """What dashboards and alerts read instead of every series of every tool."""
    return [
        Group("mcp-traffic", [*_rates(settings.job), *_tool_success(settings.job)]),
        # The dearest by far, as every bucket of every tool is read.
        Group("mcp-latency", _quantiles(settings.job), interval="1m"),
        Group("mcp-processes", [_memory(settings.job)], interval="1m"),
    ]


def _rates(job: str) -> list[Record]:
    requests = f"rate({select('mcp_requests_total', job=job)}[5m])"
    calls = f"rate({select('mcp_tool_calls_total', job=job)}[5m])"
    by_outcome = total(f"{TOOL}, outcome", calls)
    return [
        Record(
            "instance_server_outcome:mcp_requests:rate5m", total(f"{IDENTITY}, outcome", requests)
        ),
        Record("instance_server_tool_outcome:mcp_tool_calls:rate5m", by_outcome),
        Record(
            "instance_server_tool:mcp_tool_calls:rate5m",
            total(TOOL, "instance_server_tool_outcome:mcp_tool_calls:rate5m"),
        ),
        Record(
            "instance_server:mcp_tool_calls:rate5m",
            total(IDENTITY, "instance_server_tool:mcp_tool_calls:rate5m"),
        ),
    ]


def _tool_success(job: str) -> list[Record]:
    return [rule for window in WINDOWS for rule in _tool_success_over(job, window)]


def _tool_success_over(job: str, window: str) -> list[Record]:
    completed, errors = (
        f"mcp_tool_calls_completed:rate{window}",
        f"mcp_tool_call_errors:rate{window}",
    )
    failed = total(TOOL, f"rate({_calls(job, FAILED)}[{window}])")
    per_tool = [
        Record(
            f"instance_server_tool:{completed}",
            total(TOOL, f"rate({_calls(job, COMPLETED)}[{window}])"),
        ),
        Record(
            f"instance_server_tool:{errors}",
            f"{failed}\nor\n0 * instance_server_tool:{completed}",
        ),
    ]
    per_server = [
        Record(f"instance_server:{name}", total(IDENTITY, f"instance_server_tool:{name}"))
        for name in (completed, errors)
    ]
    levels = ("instance_server_tool", "instance_server")
    return [*per_tool, *per_server, *(_error_ratio(level, window) for level in levels)]


def _calls(job: str, outcomes: str) -> str:
    return select("mcp_tool_calls_total", match("outcome", "=~", outcomes), job=job)


def _error_ratio(level: str, window: str) -> Record:
    """Absent while idle: 0/0 would be recorded as NaN and stay in every later window."""
    errors = f"{level}:mcp_tool_call_errors:rate{window}"
    completed = f"{level}:mcp_tool_calls_completed:rate{window}"
    return Record(
        f"{level}:mcp_tool_call_errors:ratio_rate{window}", f"{errors} / ({completed} > 0)"
    )


def _quantiles(job: str) -> list[Record]:
    measured = match("outcome", "=~", MEASURED)
    bucket = select("mcp_tool_call_duration_seconds_bucket", measured, job=job)
    levels = {"instance_server_tool_quantile": TOOL, "instance_server_quantile": IDENTITY}
    return [
        Record(
            f"{level}:mcp_tool_call_duration_seconds:rate5m",
            # The comparison drops the NaN of an idle histogram.
            f"histogram_quantile({quantile}, {total(f'{by}, le', f'rate({bucket}[5m])')}) >= 0",
            {"quantile": quantile},
        )
        for level, by in levels.items()
        for quantile in QUANTILES
    ]


def _memory(job: str) -> Record:
    memory = select("mcp_server_process_resident_memory_bytes", job=job)
    processes = select("mcp_server_processes", job=job)
    return Record(
        "instance_server:mcp_server_process_resident_memory_bytes:mean",
        f"{total(IDENTITY, memory)} / ({total(IDENTITY, processes)} > 0)",
    )

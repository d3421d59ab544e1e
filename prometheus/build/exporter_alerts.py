"""Alerts about the exporter itself."""

from __future__ import annotations

from prometheus.build.alerts import Text, alert, thresholds
from prometheus.build.promql import counted, select, total
from prometheus.build.rule import Alert, Group
from prometheus.build.settings import Settings

EXPORTER = "job, instance"


def groups(settings: Settings) -> list[Group]:
    """One group: they are read together."""
    makers = (_down, _absent, _restarts, _reload, _overflow, _internal, _rejected, _slow)
    return [Group("mcp-exporter", [make(settings) for make in makers])]


def _down(settings: Settings) -> Alert:
    return alert(
        settings,
        "MCPExporterDown",
        "critical",
        "exporter",
        f"{select('up', job=settings.job)} == 0",
        Text(
            "MCP exporter {{ $labels.instance }} is down",
            "Prometheus cannot scrape {{ $labels.instance }}. Where the process is gone, so are"
            " the MCP servers behind it, for every client that reaches them through it.",
            "up is {{ $value }}",
        ),
        hold=thresholds(settings, "exporter_down")["for"],
    )


def _absent(settings: Settings) -> Alert:
    return alert(
        settings,
        "MCPExporterAbsent",
        "critical",
        "exporter",
        f"absent({select('up', job=settings.job)})",
        Text(
            "No MCP exporter is scraped",
            f"Prometheus has no target of the job {settings.job}: nothing is watched.",
            "no target",
        ),
        hold=thresholds(settings, "exporter_absent")["for"],
        linked=("mcp-exporter", ("job",)),
    )


def _restarts(settings: Settings) -> Alert:
    """One that is up again at each scrape is never down for long, and loses every session."""
    limits = thresholds(settings, "exporter_restart_loop")
    started = select("process_start_time_seconds", job=settings.job)
    return alert(
        settings,
        "MCPExporterRestartLoop",
        "warning",
        "exporter",
        f"changes({started}[{limits['window']}]) >= {limits['restarts']}",
        Text(
            "MCP exporter {{ $labels.instance }} keeps restarting",
            "{{ $labels.instance }} started {{ $value | humanize }} times in the last"
            f" {limits['window']}. Each time every session behind it ends.",
            f"{{{{ $value | humanize }}}} starts in {limits['window']}",
        ),
    )


def _reload(settings: Settings) -> Alert:
    loaded = select("mcp_exporter_config_last_reload_successful", job=settings.job)
    return alert(
        settings,
        "MCPExporterReloadFailed",
        "warning",
        "exporter",
        f"max_over_time({loaded}[5m]) == 0",
        Text(
            "MCP exporter {{ $labels.instance }} refused its new configuration",
            "The last reload of {{ $labels.instance }} failed; it goes on with the configuration"
            " before. A restart would fail.",
            "last reload failed",
        ),
        hold=thresholds(settings, "exporter_reload_failed")["for"],
    )


def _overflow(settings: Settings) -> Alert:
    """A share of the requests too: where there are many, models invent a name now and then."""
    limits = thresholds(settings, "exporter_label_overflow")
    folded = select("mcp_exporter_label_overflow_total", job=settings.job)
    gained = total(f"{EXPORTER}, label", f"increase({folded}[{limits['window']}])")
    requests = select("mcp_requests_total", job=settings.job)
    asked = total(EXPORTER, f"increase({requests}[{limits['window']}])")
    return alert(
        settings,
        "MCPExporterLabelOverflow",
        "warning",
        "exporter",
        f"{gained} > {limits['values']}\nand\n"
        f"{gained} > on ({EXPORTER}) group_left {limits['share']} * {asked}",
        Text(
            "MCP exporter {{ $labels.instance }} folds values of the label {{ $labels.label }}",
            "{{ $value | humanize }} values of {{ $labels.label }} became _other in the last"
            f" {limits['window']}: a client invents names, or a limit is too low.",
            f"{{{{ $value | humanize }}}} values in {limits['window']}",
        ),
    )


def _internal(settings: Settings) -> Alert:
    window = thresholds(settings, "exporter_internal_errors")["window"]
    errors = select("mcp_exporter_internal_errors_total", job=settings.job)
    return alert(
        settings,
        "MCPExporterInternalErrors",
        "warning",
        "exporter",
        counted(errors, window, f"{EXPORTER}, where"),
        Text(
            "MCP exporter {{ $labels.instance }} has internal errors",
            f"Internal errors in {{{{ $labels.where }}}} within the last {window}:"
            " {{ $value | humanize }}. The traffic went on, but numbers are missing.",
            f"{{{{ $value | humanize }}}} in {window}",
        ),
    )


def _rejected(settings: Settings) -> Alert:
    limits = thresholds(settings, "exporter_rejected_requests")
    rejected = select("mcp_exporter_rejected_requests_total", job=settings.job)
    gained = total(f"{EXPORTER}, reason", f"increase({rejected}[{limits['window']}])")
    return alert(
        settings,
        "MCPExporterRejectedRequests",
        "warning",
        "exporter",
        f"{gained} > {limits['requests']}",
        Text(
            "MCP exporter {{ $labels.instance }} rejects many requests",
            "{{ $value | humanize }} requests were rejected for {{ $labels.reason }} in the last"
            f" {limits['window']}: a client is set up wrongly, or someone is trying doors.",
            f"{{{{ $value | humanize }}}} requests in {limits['window']}",
        ),
    )


def _slow(settings: Settings) -> Alert:
    limits = thresholds(settings, "exporter_scrape_slow")
    duration = select("scrape_duration_seconds", job=settings.job)
    return alert(
        settings,
        "MCPExporterScrapeSlow",
        "warning",
        "exporter",
        f"avg_over_time({duration}[{limits['window']}]) > {limits['seconds']}",
        Text(
            "Scrapes of MCP exporter {{ $labels.instance }} are slow",
            "A scrape of {{ $labels.instance }} takes {{ $value | humanizeDuration }} on average;"
            " past the scrape timeout there would be no data at all.",
            "{{ $value | humanizeDuration }} a scrape",
        ),
        hold=limits["for"],
    )

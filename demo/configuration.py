"""The project's own configuration files, with the demo's addresses, folders and haste."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INTERVAL = "1s"
"""How often the demo scrapes and evaluates, so that what happens is seen at once."""

COMPOSE_INBOX = "mailpit:1025"
"""Where docker-compose.yml has its inbox."""

PART_OF_JOB = {"mcp-exporter": "exporter"}
"""The part that a scrape job is about, where they differ in name."""

Document = dict[str, Any]


def prometheus(source: Document, folder: Path, addresses: Mapping[str, str]) -> Document:
    """Return the Prometheus configuration `source`, found in `folder`, for the demo.

    A job is scraped at its part's address; a part without one does not run here.
    """
    made = copy.deepcopy(source)
    made["global"] |= {
        "scrape_interval": INTERVAL,
        "scrape_timeout": INTERVAL,
        "evaluation_interval": INTERVAL,
    }
    made["rule_files"] = [str(folder / pattern) for pattern in source["rule_files"]]
    made["scrape_configs"] = [
        {**_without_pace(job), "static_configs": [{"targets": [addresses[name]]}]}
        for job in source["scrape_configs"]
        if (name := PART_OF_JOB.get(job["job_name"], job["job_name"])) in addresses
    ]
    made["alerting"] = {"alertmanagers": []}
    if "alertmanager" in addresses:
        target = {"targets": [addresses["alertmanager"]]}
        made["alerting"]["alertmanagers"] = [{"static_configs": [target]}]
    return made


def alertmanager(source: Document, inbox: str) -> Document:
    """Return the Alertmanager configuration for the demo: mail leaves soon, and to `inbox`.

    Where the person's own mail server is configured, that stays.
    """
    made = copy.deepcopy(source)
    if made["global"]["smtp_smarthost"] == COMPOSE_INBOX:
        made["global"]["smtp_smarthost"] = inbox
    _hasten(made["route"])
    return made


def exporter(python: str, root: Path, addresses: Mapping[str, str], mode_file: Path) -> Document:
    """Return the exporter's configuration: two servers that it starts, and one that it calls.

    The server `files` makes spans of its own. The mode of `flaky` is what stands in `mode_file`.
    """
    library = str(root / "demo" / "library")
    files = ["-m", "demo.instrument", "files", "mcp_servers.files", "--root", library]
    flaky = ["-m", "mcp_servers.flaky", "--mode-file", str(mode_file)]
    return {
        "mcpServers": {
            "files": {
                "command": python,
                "args": files,
                "cwd": str(root),
                "env": spans_to(addresses["traces"]),
            },
            "echo": {"url": f"http://{addresses['echo']}/mcp"},
            "flaky": {"command": python, "args": flaky, "cwd": str(root), "timeout": "10s"},
        },
        "probe": {"interval": "5s", "timeout": "2s"},
        "tracing": {"endpoint": f"http://{addresses['traces']}"},
    }


def spans_to(traces: str) -> dict[str, str]:
    """Return the environment of a process that makes spans of its own."""
    return {
        # Before what the person's own environment may say.
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://{traces}/v1/traces",
        "OTEL_SDK_DISABLED": "false",
        "NO_PROXY": "127.0.0.1",
    }


def data_sources(source: Document, traces: str) -> Document:
    """Return Grafana's data sources for the demo: an exemplar leads to the demo's own page."""
    made = copy.deepcopy(source)
    made["datasources"] = [each for each in made["datasources"] if each["uid"] != "jaeger"]
    page = {
        "name": "trace_id",
        # Grafana expands variables in its files; a dollar is written as two.
        "url": f"http://{traces}/trace/$${{__value.raw}}",
        "urlDisplayLabel": "Open the trace",
    }
    for each in made["datasources"]:
        if each["uid"] == "prometheus":
            each["jsonData"]["exemplarTraceIdDestinations"] = [page]
    return made


def grafana(root: Path, state: Path, addresses: Mapping[str, str]) -> dict[str, str]:
    """Return Grafana's settings, as the environment in which it starts."""
    host, _, port = addresses["grafana"].partition(":")
    data = state / "grafana"
    dashboards = root / "grafana" / "dashboards"
    return {
        "GF_SERVER_HTTP_ADDR": host,
        "GF_SERVER_HTTP_PORT": port,
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_PATHS_PROVISIONING": str(state / "provisioning"),
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": str(dashboards / "mcp-overview.json"),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_PLUGINS_PREINSTALL_DISABLED": "true",
        "DASHBOARDS_PATH": str(dashboards),
        "PROMETHEUS_URL": f"http://{addresses['prometheus']}",
        "ALERTMANAGER_URL": f"http://{addresses.get('alertmanager', '127.0.0.1:9093')}",
    }


def _without_pace(job: Document) -> Document:
    return {k: v for k, v in job.items() if k not in ("scrape_interval", "scrape_timeout")}


def _hasten(route: Document) -> None:
    for name, value in {"group_wait": "5s", "group_interval": "30s"}.items():
        if name in route:
            route[name] = value
    for child in route.get("routes", []):
        _hasten(child)

"""The whole way of an alert, for real: MCP servers, exporter, Prometheus, Alertmanager, receivers.

Rules, routes, templates and the start script are the committed ones,
only faster (`tests.support.fast_rules`).
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.support import fast_rules
from tests.support.alert_rules import FILES, PROMETHEUS, read
from tests.support.receivers import Receivers, receivers
from tests.support.running import free_address, get, running
from tests.support.tools import tool

SCRAPE = "1s"
"""Slower than everything else is fast, for a machine that has other things to do."""
VERSION = "2026-07-28"


@dataclass
class Exporter:
    """The real exporter with this configuration."""

    folder: Path
    config: Mapping[str, Any]
    mcp: str = field(default_factory=free_address)
    web: str = field(default_factory=free_address)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The exporter from the moment on that it is ready."""
        path = self.folder / "exporter.yml"
        path.write_text(yaml.safe_dump(dict(self.config)))
        command = [sys.executable, "-m", "exporter", "serve", f"--config.file={path}"]
        command += [f"--mcp.listen-address={self.mcp}", f"--web.listen-address={self.web}"]
        log = self.folder / "exporter.log"
        with running(command, f"http://{self.web}/-/ready", log) as process:
            yield process


@dataclass
class Stack:
    """Everything that runs, and what has arrived."""

    exporters: Sequence[Exporter]
    prometheus: str
    received: Receivers
    rest: ExitStack
    processes: list[subprocess.Popen[bytes]]

    def lose_exporter(self, number: int = 0) -> None:
        """End an exporter with no chance to say goodbye."""
        self.processes[number].kill()
        self.processes[number].wait()

    def return_exporter(self, number: int = 0) -> None:
        """Start it again, at the same addresses."""
        self.processes[number] = self.rest.enter_context(self.exporters[number].running())

    def firing(self) -> set[tuple[str, str]]:
        """Name and server of what fires in Prometheus, without the Watchdog."""
        found = get(f"{self.prometheus}/api/v1/alerts")["data"]["alerts"]
        return {
            (alert["labels"]["alertname"], alert["labels"].get("server", ""))
            for alert in found
            if alert["state"] == "firing" and alert["labels"]["alertname"] != "Watchdog"
        }

    def value(self, query: str) -> float:
        """The one value of a query; 0 where there is none."""
        return value_of(self.prometheus, query)


def value_of(prometheus: str, query: str) -> float:
    """The one value of a query that a Prometheus answers; 0 where there is none."""
    found = get(f"{prometheus}/api/v1/query", query=query)["data"]["result"]
    return float(found[0]["value"][1]) if found else 0.0


class Traffic:
    """Calls one tool of each server again and again, each in a thread of its own.

    A call is a server, a tool, and how many seconds pass between two of them.
    """

    def __init__(self, exporter: Exporter, calls: Sequence[tuple[str, str, float]]) -> None:
        self._exporter = exporter
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=call, daemon=True) for call in calls
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def _repeat(self, server: str, name: str, every: float) -> None:
        while not self._over.wait(every):
            with suppress(requests.RequestException):
                call_tool(self._exporter, server, name, {})


_IDS = itertools.count(1)


def call_tool(exporter: Exporter, server: str, name: str, arguments: Mapping[str, Any]) -> None:
    """One call of a tool through an exporter, whatever comes of it."""
    envelope = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {
        "jsonrpc": "2.0",
        "id": next(_IDS),
        "method": "tools/call",
        "params": {"name": name, "arguments": dict(arguments), "_meta": envelope},
    }
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": name,
    }
    url = f"http://{exporter.mcp}/{server}/mcp"
    requests.post(url, json=body, headers=headers, timeout=60)


@contextmanager
def stack(
    folder: Path, config: Mapping[str, Any], factor: int = fast_rules.FACTOR, replicas: int = 1
) -> Iterator[Stack]:
    """The whole stack, with this configuration of each exporter, so many times as fast."""
    exporters = [Exporter(_folder(folder, f"exporter-{n}"), config) for n in range(replicas)]
    with receivers() as received, ExitStack() as rest:
        alertmanager = rest.enter_context(_alertmanager(folder, received, factor))
        processes = [rest.enter_context(exporter.running()) for exporter in exporters]
        prometheus = rest.enter_context(prometheus_of(folder, exporters, alertmanager, factor))
        yield Stack(exporters, prometheus, received, rest, processes)


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    return parent / name


@contextmanager
def _alertmanager(folder: Path, received: Receivers, factor: int) -> Iterator[str]:
    """Alertmanager as `alertmanager.sh` starts it, from a faster copy of the configuration."""
    home = folder / "alertmanager"
    secrets = home / "secrets"
    secrets.mkdir(parents=True)
    for name, content in received.secrets().items():
        (secrets / name).write_text(content)
    text = (PROMETHEUS / "alertmanager.yml").read_text(encoding="utf-8")
    (home / "alertmanager.yml").write_text(fast_rules.speed_up_routes(text, factor))
    (home / "templates").symlink_to(PROMETHEUS / "templates")
    script = home / "alertmanager.sh"
    script.write_text((PROMETHEUS / "alertmanager.sh").read_text(encoding="utf-8"))
    address = free_address()
    command = ["/bin/sh", str(script), "--cluster.listen-address="]
    command += [f"--storage.path={home / 'data'}", f"--web.listen-address={address}"]
    ready = f"http://{address}/-/ready"
    given = {"ALERTMANAGER": tool("alertmanager"), "TMPDIR": str(home)}
    with running(command, ready, folder / "alertmanager.log", **given):
        yield address


@contextmanager
def prometheus_of(
    folder: Path, exporters: Sequence[Exporter], alertmanager: str, factor: int = fast_rules.FACTOR
) -> Iterator[str]:
    """Prometheus with the committed rules and these exporters as one deployment; its URL."""
    _write_rules(folder / "rules", factor)
    address = free_address()
    targets = {
        "mcp-exporter": [exporter.web for exporter in exporters],
        "prometheus": [address],
        "alertmanager": [alertmanager],
    }
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump(_prometheus_config(targets, factor)))
    command = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
        f"--web.console.templates={PROMETHEUS / 'consoles'}",
        # The first alerts find no Alertmanager yet.
        f"--rules.alert.resend-delay={fast_rules.shorter('1m', factor)}",
    ]
    with running(command, f"http://{address}/-/ready", folder / "prometheus.log"):
        yield f"http://{address}"


def _write_rules(folder: Path, factor: int) -> None:
    folder.mkdir()
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        (folder / path.name).write_text(fast_rules.speed_up(text, factor), encoding="utf-8")


def _prometheus_config(targets: Mapping[str, list[str]], factor: int) -> Any:
    config = read(PROMETHEUS / "prometheus.yml")
    if factor > 1:
        config["global"] = dict.fromkeys(config["global"], SCRAPE)
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    there = {"targets": targets["alertmanager"]}
    config["alerting"]["alertmanagers"] = [{"static_configs": [there]}]
    return config

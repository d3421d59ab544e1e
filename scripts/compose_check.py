"""Tries docker-compose.yml on a real engine: `python3 -m scripts.compose_check`.

It builds, starts and asks every part, calls a tool through the exporter, takes the stack down and up
again and looks whether anything was lost. The stack gets a project name of its own, so one that is
already running keeps its containers and its data; at the end nothing is left but the images.

Needs a Docker engine with `docker compose` or docker-compose 1.29, and nothing outside Python's
standard library. Exit code 0 means that everything held.
"""

from __future__ import annotations

import argparse
import functools
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "mcp-exporter-check"
SERVICES = ("exporter", "demo-http", "prometheus", "alertmanager", "grafana", "mailpit")
PORTS = {
    "MCP_PORT": 6279,
    "MCP_WEB_PORT": 6280,
    "PROMETHEUS_PORT": 9090,
    "ALERTMANAGER_PORT": 9093,
    "GRAFANA_PORT": 3000,
    "MAILPIT_PORT": 8025,
}
SECONDS_TO_HEALTH = 180
SECONDS_TO_SEE = 120
CALL = {"name": "list_files", "arguments": {}}


class Failed(Exception):
    """Something does not hold; the message says what."""


@dataclass(frozen=True)
class Stack:
    """The compose project under test and where its ports are published."""

    compose: tuple[str, ...]
    docker: str
    services: tuple[str, ...]
    ports: Mapping[str, int]

    def run(self, *arguments: str, seen: bool = True) -> str:
        """Run compose and return its output. Raises Failed with its errors."""
        return _run((*self.compose, "--project-name", PROJECT, *arguments), self.ports, seen)

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of the service's container."""
        container = self.run("ps", "--quiet", service, seen=False).strip()
        if not container:
            raise Failed(f"{service} has no container")
        found: list[dict[str, Any]] = json.loads(_run((self.docker, "inspect", container)))
        return found[0]

    def ask(self, port: str, path: str, body: object = None, **headers: str) -> Any:
        """GET, or POST where there is a body; returns the JSON. Raises Failed unless 2xx."""
        text = None if body is None else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if text is not None:
            named["Content-Type"] = "application/json"
        return _json(self.ports[port], path, text, named)

    def query(self, promql: str, at: float | None = None) -> dict[str, float]:
        """Ask Prometheus: the series' `server` label (or "") to its value."""
        parameters = {"query": promql} | ({} if at is None else {"time": str(at)})
        reply = self.ask("PROMETHEUS_PORT", f"/api/v1/query?{urlencode(parameters)}")
        return {s["metric"].get("server", ""): float(s["value"][1]) for s in reply["data"]["result"]}


def main() -> int:
    options = _options()
    try:
        stack = _stack(tuple(s for s in SERVICES if s not in options.without))
        stack.run("config", "--quiet")
        try:
            _check(stack, build=not options.no_build)
        finally:
            if not options.keep:
                stack.run("down", "--volumes")
    except Failed as reason:
        _say(f"FAILED: {reason}")
        return 1
    _say("everything held")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=SERVICES,
        metavar="SERVICE",
        help="leave a service out, where its image cannot be had; may be given again",
    )
    parser.add_argument("--no-build", action="store_true", help="take the image that is there")
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    return parser.parse_args()


def _stack(services: tuple[str, ...]) -> Stack:
    docker = shutil.which("docker")
    if docker is None:
        raise Failed("no `docker` on the PATH; install a Docker engine")
    ports = {name: _free_port(usual) for name, usual in PORTS.items()}
    return Stack(_compose(docker), docker, services, ports)


def _compose(docker: str) -> tuple[str, ...]:
    plugin = subprocess.run([docker, "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return docker, "compose"
    standalone = shutil.which("docker-compose")
    if standalone is None:
        raise Failed("neither `docker compose` nor `docker-compose` is installed")
    return (standalone,)


def _free_port(usual: int) -> int:
    """The usual port, or another one where that is taken."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", usual))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _check(stack: Stack, *, build: bool) -> None:
    if build:
        stack.run("build", "exporter")
    _start(stack)
    for service in stack.services:
        _confined(service, stack.inspect(service))
    _see("the exporter's target is up", lambda: stack.query('up{job="mcp-exporter"} == 1'))
    _see("every MCP server is up", functools.partial(_servers_up, stack))
    _call(stack)
    calls = functools.partial(_calls, stack)
    before = _see("the call is in Prometheus", calls)
    _notify(stack)
    _see("the alert is in the inbox", functools.partial(_mails, stack))
    silence = _silence(stack)
    _dashboards(stack)
    _stop(stack)
    at = time.time() - 1
    stack.run("down")
    _start(stack)
    _same("the call is still in Prometheus", before, calls(at - _age(stack, at)))
    _same("the silence is still in Alertmanager", True, silence in _silences(stack))
    _see("the mail is still in the inbox", functools.partial(_mails, stack))
    _call(stack)
    _see("a call after the restart is in Prometheus", calls)


def _start(stack: Stack) -> None:
    stack.run("up", "--detach", *stack.services)
    for service in stack.services:
        _see(f"{service} is healthy", functools.partial(_healthy, stack, service), SECONDS_TO_HEALTH)

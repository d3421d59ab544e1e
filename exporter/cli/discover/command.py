"""``mcp-exporter discover kubernetes``: from its flags to a file that is kept true."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.cli.flags import Flags, address
from exporter.config.errors import ConfigError

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
SECONDS_TO_GATHER = 0.3
"""Changes of so long become one new file."""
_API = re.compile(r"(https://[^/@?# ]+|http://127\.0\.0\.1:[0-9]{1,5})/?")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class DiscoverOptions:
    """What the flags say."""

    url: str
    token_file: Path | None
    ca_file: Path | None
    namespaces: tuple[str, ...]
    """An empty one for all."""
    output: Path
    limit: int
    domain: str
    listen: tuple[str, int]


def add(parser: argparse.ArgumentParser) -> None:
    """Add its words and flags."""
    parser.description = (
        "Finds MCP servers and writes them into a file, of the directory that serve reads with\n"
        "--config.directory. Runs until a signal stops it."
    )
    parser.add_argument("source", choices=("kubernetes",), help="where to look for them")
    flag = Flags(parser)
    flag("--output", "", "the file, such as servers.d/kubernetes.yml", "FILE")
    flag("--kubernetes.namespaces", "", "whose Services, with commas; *: all", "NAMES")
    flag("--kubernetes.url", _in_cluster_url(), "the API server", "URL")
    flag("--kubernetes.token-file", f"{_ACCOUNT}/token", "read for each request", "FILE")
    flag("--kubernetes.ca-file", f"{_ACCOUNT}/ca.crt", "who signed its certificate", "FILE")
    flag("--kubernetes.cluster-domain", "cluster.local", "of the names of Services", "DOMAIN")
    flag("--limit", "1000", "at most so many servers are written", "SERVERS")
    flag("--web.listen-address", "127.0.0.1:6281", "where Prometheus scrapes it", "HOST:PORT")
    flag.choice(
        "--log.level", ("debug", "info", "warning", "error"), "info", "the least that is logged"
    )
    flag.choice("--log.format", ("text", "json"), "text", "of each line")
    parser.set_defaults(run=run, extra="kubernetes")


def run(arguments: argparse.Namespace) -> int:
    """Follow the Services until a signal comes. Raises ``ConfigError``."""
    from exporter.telemetry import logs

    given = vars(arguments)
    options = _options(given)
    logs.configure(given["log.level"], given["log.format"])
    asyncio.run(_run(options))
    return 0


def _in_cluster_url() -> str:
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://{f'[{host}]' if ':' in host else host}:{port}" if host else ""


def _options(given: Mapping[str, Any]) -> DiscoverOptions:
    if not given["output"]:
        raise ConfigError("--output: no file; give one, such as servers.d/kubernetes.yml")
    url = given["kubernetes.url"]
    if not _API.fullmatch(url):
        raise ConfigError(
            f"--kubernetes.url: {url!r} is no API server; give https://HOST:PORT, or run in a pod"
        )
    if not (given["limit"].isascii() and given["limit"].isdigit()) or int(given["limit"]) == 0:
        raise ConfigError(f"--limit: {given['limit']!r} is not a whole number from 1")
    return DiscoverOptions(
        url=url,
        token_file=_file("--kubernetes.token-file", given["kubernetes.token_file"]),
        ca_file=_file("--kubernetes.ca-file", given["kubernetes.ca_file"]),
        namespaces=_namespaces(given["kubernetes.namespaces"]),
        output=_output(given["output"]),
        limit=int(given["limit"]),
        domain=given["kubernetes.cluster_domain"],
        listen=address("--web.listen-address", given["web.listen_address"]),
    )


def _namespaces(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == ("*",):
        return ("",)
    if not names:
        raise ConfigError("--kubernetes.namespaces: none; give names with commas, or * for all")
    for name in names:
        if not _NAMESPACE.fullmatch(name):
            raise ConfigError(f"--kubernetes.namespaces: {name!r} is no name of a namespace")
    return names


def _file(flag: str, text: str) -> Path | None:
    if text and not os.access(text, os.R_OK):
        raise ConfigError(f"{flag}: {text} cannot be read; check the path, or give an empty one")
    return Path(text) if text else None


def _output(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".yml", ".yaml", ".json") or path.name.startswith("."):
        raise ConfigError(f"--output: {text} is not read by serve; name it NAME.yml")
    if not os.access(path.parent, os.W_OK):
        raise ConfigError(f"--output: {path.parent} cannot be written; check the folder")
    return path


async def _run(options: DiscoverOptions) -> None:
    from prometheus_client import start_http_server

    from exporter.cli.discover.api import ApiServer, Services
    from exporter.cli.discover.follow import DiscoveredServers, follow
    from exporter.cli.discover.metrics import DiscoveryMetrics
    from exporter.cli.discover.output_file import OutputFile

    metrics = DiscoveryMetrics()
    host, port = options.listen
    try:
        scraped, _ = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise ConfigError(f"--web.listen-address: {host}:{port}: {error.strerror}") from None
    server = ApiServer(options.url, options.token_file, options.ca_file)
    loop = asyncio.get_running_loop()
    found = DiscoveredServers(
        OutputFile(options.output, options.limit),
        metrics,
        options.domain,
        options.namespaces,
        later=lambda write: loop.call_later(SECONDS_TO_GATHER, write),
    )
    try:
        async with server.client() as client, asyncio.TaskGroup() as tasks:
            working = []
            for scope in options.namespaces:
                metrics.expect(scope)
                services = Services(server, client, scope)
                working.append(tasks.create_task(follow(scope, services, found, metrics)))
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(name, _cancel, working)
    except OSError as error:
        raise ConfigError(f"--kubernetes.ca-file: {options.ca_file}: {error}") from None
    finally:
        scraped.shutdown()


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()

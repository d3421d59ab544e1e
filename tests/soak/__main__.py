"""Soaks the exporter: python -m tests.soak [--minutes 30] [--clients 12]

Clients of both eras call HTTP and stdio servers through a real exporter that a real Prometheus
scrapes, while servers are killed and the configuration is reloaded. In the end every count in
Prometheus must be the clients' own, memory and latency what they were, and nothing may be left:
else the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.soak.clients import Client, Legacy, Modern
from tests.soak.disturbances import KILLED, Disturber, HttpServer
from tests.soak.prometheus_counts import PrometheusCounts
from tests.soak.report import Report
from tests.soak.tally import Tally
from tests.soak.watch import Watch
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.held_resources import HeldResources, wait_for_release
from tests.support.running import free_address, running
from tests.support.tools import tool

SETTINGS: dict[str, Any] = {
    "probe": {"interval": "10s", "timeout": "5s"},
    "idle_timeout": "20s",
    "timeout": "2s",
}
PAUSE = 0.03
"""Seconds between two calls of a client, on average."""
DISTURB_EVERY = 7.0


def main() -> int:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        steady, restarted = HttpServer(free_address()), HttpServer(free_address())
        stack.callback(steady.kill)
        stack.callback(restarted.kill)
        servers = {
            "steady_http": steady.entry,
            "steady_stdio": scripted_stdio(),
            "restarted_http": restarted.entry,
            "killed_stdio": scripted_stdio(KILLED),
            "changed_stdio": scripted_stdio(),
        }
        for server in (steady, restarted):
            server.start()
        relay = stack.enter_context(exporter(folder, servers, **SETTINGS))
        prometheus = stack.enter_context(_prometheus(folder, relay.web))
        disturber = Disturber(relay, folder / "exporter.json", restarted)
        soak = Soak(relay, prometheus, disturber, [*servers])
        try:
            return asyncio.run(soak.run(options.minutes * 60, options.clients))
        except BaseException:
            print(f"exporter: {relay.process.poll()}\n{relay.log.read_text()[-5000:]}", flush=True)
            raise


class Soak:
    """One run."""

    def __init__(
        self, relay: Exporter, prometheus: str, disturber: Disturber, servers: list[str]
    ) -> None:
        self._relay = relay
        self._books = PrometheusCounts(prometheus)
        self._disturber = disturber
        self._servers = servers
        self._tally = Tally()

    async def run(self, seconds: float, clients: int) -> int:
        """Soak, wait for rest, compare and report; the exit code."""
        relay, over = self._relay, asyncio.Event()
        await asyncio.to_thread(self._wait_for_probes)
        before = await asyncio.to_thread(HeldResources.of, relay)
        watch = Watch(psutil.Process(relay.pid), seconds)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._disturber.run(over, DISTURB_EVERY))
            group.create_task(watch.run(over))
            for client in self._clients(clients):
                group.create_task(client.run(over))
            await asyncio.sleep(seconds)
            over.set()
        left = await asyncio.to_thread(wait_for_release, lambda: HeldResources.of(relay), before)
        await asyncio.to_thread(self._books.wait_for_scrape, time.time())
        report = Report(self._tally, self._books, watch, left, self._disturber.done)
        print(report.text(), flush=True)
        return 0 if report.is_good else 1

    def _clients(self, number: int) -> Iterator[Client]:
        for place in range(number):
            server = self._servers[place % len(self._servers)]
            kind = (Modern, Legacy)[place // len(self._servers) % 2]
            steady = server.startswith("steady")
            # Of different pace, so that they do not march in step.
            yield kind(self._relay.host, server, self._tally, PAUSE * (1 + place / 100), steady)

    def _wait_for_probes(self) -> None:
        self._books.wait_until(f"sum(mcp_probes_total) >= {len(self._servers)}")


@contextmanager
def _prometheus(folder: Path, target: str) -> Iterator[str]:
    """A real Prometheus that scrapes the exporter; its URL."""
    config, address = folder / "prometheus.yml", free_address()
    config.write_text(
        "global: {scrape_interval: 5s}\n"
        "scrape_configs:\n"
        "  - job_name: mcp-exporter\n"
        f"    static_configs: [{{targets: ['{target.removeprefix('http://')}']}}]\n"
    )
    command = [
        tool("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with running(command, f"http://{address}/-/ready", folder / "prometheus.log"):
        yield f"http://{address}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=20)
    return parser


if __name__ == "__main__":
    sys.exit(main())

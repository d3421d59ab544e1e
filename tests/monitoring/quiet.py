"""Sees that no alert but the Watchdog fires while nothing is wrong.

python -m tests.monitoring.quiet [--minutes 10] [--idle] [--replicas 2]

The real exporter, Prometheus and Alertmanager with the committed rules at their own pace. With
traffic, clients make the mistakes that models make: some calls fail, some names are invented.
With --idle a client is connected and says nothing. With --replicas there are several exporters of
one deployment, and clients of each. Exit code 1 where an alert fired or a
notification was sent, or where the Watchdog was not heard.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from mcp import Client

from tests.support.alerting_stack import Stack, stack
from tests.support.running import get, mcp_server

SERVERS = ("files", "echo")
LOOK_SECONDS = 5
CALL_SECONDS = 0.5


def main() -> int:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name, mcp_server("echo", Path(name)) as echo:
        folder = Path(name)
        (folder / "notes.txt").write_text("nothing is wrong\n")
        files = {"command": sys.executable, "args": ["-m", "mcp_servers.files", "--root", name]}
        config = {"servers": {"files": files, "echo": {"url": echo}}}
        with stack(folder, config, factor=1, replicas=options.replicas) as found:
            return asyncio.run(_watch(found, options.minutes * 60, options.idle))


async def _watch(found: Stack, seconds: float, idle: bool) -> int:
    seen: dict[tuple[str, str], str] = {}
    until = time.monotonic() + seconds
    async with _clients(found, calling=not idle) as calls:
        while time.monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
            for name, server, state in await asyncio.to_thread(_alerts, found):
                if seen.get((name, server)) != state:
                    print(f"{time.strftime('%H:%M:%S')}  {name} {server} is {state}", flush=True)
                seen[name, server] = state
        return await asyncio.to_thread(_judge, found, calls)


def _alerts(found: Stack) -> list[tuple[str, str, str]]:
    alerts = get(f"{found.prometheus}/api/v1/alerts")["data"]["alerts"]
    return [
        (alert["labels"]["alertname"], alert["labels"].get("server", ""), alert["state"])
        for alert in alerts
    ]


def _judge(found: Stack, calls: dict[str, int]) -> int:
    fired = 'count by (alertname, server) (count_over_time(ALERTS{alertstate="firing"}[1d]))'
    rows = get(f"{found.prometheus}/api/v1/query", query=fired)["data"]["result"]
    names = sorted(row["metric"]["alertname"] for row in rows)
    counted = found.value("sum(mcp_tool_calls_total)")
    failed = found.value('sum(mcp_tool_calls_total{outcome!="ok"})')
    told = len(found.received.mails) + len(found.received.at("/slack"))
    watched = len(found.received.at("/watchdog"))
    print(f"calls made: {calls}; counted by Prometheus: {counted:g}, of them failed: {failed:g}")
    print(f"fired: {', '.join(names)}; mails and Slack messages: {told}; Watchdog calls: {watched}")
    quiet = names == ["Watchdog"] and not told and watched
    print("quiet" if quiet else "NOT QUIET")
    return 0 if quiet else 1


@asynccontextmanager
async def _clients(found: Stack, calling: bool) -> AsyncIterator[dict[str, int]]:
    """One connected client an exporter and server; they call, or wait."""
    calls = dict.fromkeys(SERVERS, 0)
    async with AsyncExitStack() as rest:
        clients = [
            (server, await rest.enter_async_context(Client(f"http://{exporter.mcp}/{server}/mcp")))
            for exporter in found.exporters
            for server in SERVERS
        ]
        for _, client in clients:
            await client.list_tools()
        if not calling:
            yield calls
            return
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_call(client, server, calls)) for server, client in clients]
            yield calls
            for task in tasks:
                task.cancel()


async def _call(client: Client, server: str, calls: dict[str, int]) -> None:
    while True:
        await asyncio.sleep(CALL_SECONDS)
        name, arguments = _wish(server)
        with suppress(Exception):
            await client.call_tool(name, arguments)
        calls[server] += 1


def _wish(server: str) -> tuple[str, dict[str, Any]]:
    """What a model asks for: now and then a file that is not there, or a tool that is not."""
    luck = random.random()
    if luck < 0.01:
        return "an_invented_tool", {}
    if server == "echo":
        return "echo", {"text": "hello"}
    return "read_file", {"path": "notes.txt" if luck > 0.05 else "missing.txt"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.monitoring.quiet", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--replicas", type=int, default=1, help="how many exporters there are")
    parser.add_argument("--idle", action="store_true", help="connect, and call nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Restarts of one of two exporters behind a load balancer: no call fails, and none is uncounted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from tests.support.exporting import UNPROBED, Scrape, scripted_stdio
from tests.support.raw_client import Json, call, initialize, legacy, modern, modern_call
from tests.support.running import free_address, running, wait_for

RESTARTS = 4
CALLS_A_CONNECTION = 50
CHECK_INTERVAL = 0.1
SCRAPE_INTERVAL = 0.1
DRAIN_DELAY = "1500ms"
"""Longer than the balancer needs to notice, and longer than a scrape interval."""


class Balancer:
    """Forwards connections in turn to the exporters whose ``/-/ready`` said yes when last asked."""

    def __init__(self, backends: dict[str, str]) -> None:
        self.address = ""
        self._backends = backends
        self._ready: set[str] = set()
        self._turn = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Balancer:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def ready(self) -> int:
        return len(self._ready)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._checks = [self._loop.create_task(self._check(mcp)) for mcp in self._backends]
        opening = asyncio.start_server(self._forward, "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(opening)
        self.address = "{}:{}".format(*self._server.sockets[0].getsockname())
        self._started.set()
        self._loop.run_forever()

    async def _close(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _check(self, mcp: str) -> None:
        host, _, port = self._backends[mcp].partition(":")
        while True:
            (self._ready.add if await _is_ready(host, int(port)) else self._ready.discard)(mcp)
            await asyncio.sleep(CHECK_INTERVAL)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        ready = sorted(self._ready)
        host, _, port = ready[self._turn % len(ready)].partition(":")
        with contextlib.suppress(OSError):
            there = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        writer.close()


async def _is_ready(host: str, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        line = await reader.readline()
        writer.close()
    except OSError:
        return False
    return b" 200 " in line


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


class Upstream(BaseHTTPRequestHandler):
    """An MCP server over HTTP that says yes to everything."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Clients:
    """Call without a pause, each on a connection that is kept as long as it may be."""

    def __init__(self, address: str) -> None:
        self.called: Counter[str] = Counter()
        self.failed: list[str] = []
        self.lost_sessions = 0
        self._address = address
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        works: list[Callable[[], None]] = [
            lambda: self._call_modern("child"),
            lambda: self._call_modern("web"),
            self._call_in_sessions,
            self._call_in_sessions,
        ]
        self._threads = [threading.Thread(target=work) for work in works]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _call_modern(self, server: str) -> None:
        headers = modern("tools/call", "act")
        while not self._stopped.is_set():
            with self._connection() as http:
                for number in range(CALLS_A_CONNECTION):
                    self._note(server, self._post(http, server, modern_call(number, "ok"), headers))

    def _call_in_sessions(self) -> None:
        """A session lives in one exporter: where it is not found, a client begins another."""
        while not self._stopped.is_set():
            with self._connection() as http:
                begun = self._post(http, "child", initialize(), legacy())
                session = begun.headers.get("Mcp-Session-Id") if begun is not None else None
                for number in range(CALLS_A_CONNECTION):
                    reply = self._post(http, "child", call(number, "ok"), legacy(session))
                    if reply is not None and reply.status_code == 404:
                        self.lost_sessions += 1
                        break
                    self._note("child", reply)

    def _note(self, server: str, reply: requests.Response | None) -> None:
        with self._lock:
            if reply is not None and reply.status_code == 200:
                self.called[server] += 1
            elif reply is not None:
                self.failed.append(f"{server}: {reply.status_code} {reply.text}")

    def _post(
        self, http: requests.Session, server: str, body: Json, headers: dict[str, str]
    ) -> requests.Response | None:
        try:
            url = f"http://{self._address}/{server}/mcp"
            return http.post(url, json=body, headers=headers, timeout=30)
        except requests.RequestException as error:
            self.failed.append(f"{server}: {error}")
            return None

    @contextmanager
    def _connection(self) -> Iterator[requests.Session]:
        with requests.Session() as http:
            http.trust_env = False
            yield http


class Scraper:
    """Scrapes both as Prometheus does, and adds up what each run of each was last seen to count."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses
        self._last: dict[tuple[str, float], dict[str, float]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def sums(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for counted in self._last.values():
            found.update({server: int(count) for server, count in counted.items()})
        return found

    def _run(self) -> None:
        with requests.Session() as http:
            http.trust_env = False
            while not self._stopped.wait(SCRAPE_INTERVAL):
                for address in self._addresses:
                    self._scrape(http, address)

    def _scrape(self, http: requests.Session, address: str) -> None:
        try:
            scrape = Scrape(http.get(f"http://{address}/metrics", timeout=5).text)
        except requests.RequestException:
            return
        began = scrape.total("process_start_time_seconds")
        if began:
            calls = scrape.by("server", "mcp_tool_calls_total", outcome="ok")
            self._last[address, began] = calls


@contextmanager
def upstream() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
        server.shutdown()
        thread.join()


@contextmanager
def replica(config: Path, mcp: str, web: str) -> Iterator[Any]:
    words = [sys.executable, "-m", "exporter", "serve", "--config.file", str(config)]
    words += ["--mcp.listen-address", mcp, "--web.listen-address", web, "--wrap.socket", ""]
    words += ["--drain.delay", DRAIN_DELAY, "--drain.timeout", "10s"]
    with running(words, f"http://{web}/-/ready", config.parent / f"{web}.log") as process:
        yield process


def test_restarts_cost_nobody_a_call_and_no_count(tmp_path: Path) -> None:
    first, second = (free_address(), free_address()), (free_address(), free_address())
    with ExitStack() as stack:
        url = stack.enter_context(upstream())
        servers = {"child": scripted_stdio(), "web": {"url": url}}
        config = tmp_path / "mcp.json"
        config.write_text(json.dumps({"servers": servers, "probe": UNPROBED}))
        stack.enter_context(replica(config, *first))
        leaving = ExitStack()
        leaving.enter_context(replica(config, *second))
        stack.callback(leaving.close)
        balancer = stack.enter_context(Balancer(dict([first, second])))
        wait_for(lambda: balancer.ready == 2, 30, "both are ready")
        scraper = stack.enter_context(Scraper([first[1], second[1]]))
        with Clients(balancer.address) as clients:
            for _ in range(RESTARTS):
                leaving.close()  # SIGTERM, and wait for the end
                leaving.enter_context(replica(config, *second))
                wait_for(lambda: balancer.ready == 2, 30, "it is back")
                time.sleep(0.3)
        wait_for(lambda: scraper.sums() == clients.called, 30, "every call is counted")
    assert clients.failed == []
    assert min(clients.called.values()) > 20 * RESTARTS
    assert clients.lost_sessions > 0, "sessions with a stdio server end with their exporter"

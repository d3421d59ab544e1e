"""Two exporters of one configuration, one of which is restarted, and clients that do not pause."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from tests.support.exporting import UNPROBED, Scrape, scripted_stdio
from tests.support.raw_client import (
    Json,
    call,
    initialize,
    legacy,
    modern,
    modern_call,
    open_reply,
    sent,
)
from tests.support.running import free_address, running

CALLS_A_CONNECTION = 50
SCRAPE_INTERVAL = 0.1
STREAM_TIME = 10.0
"""Seconds that a stream is held open: longer than the delay, so that the exporter ends it."""


class Upstream(BaseHTTPRequestHandler):
    """An MCP server over HTTP that says yes to everything, and whose streams stay open."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        result = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
        self.send_response(200)
        if asked["method"] == "initialize":
            self.send_header("Mcp-Session-Id", uuid4().hex)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.flush()
        self.rfile.read(1)  # until the other side hangs up

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def upstream() -> Iterator[str]:
    """Such a server; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Upstream) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
        server.shutdown()
        thread.join()


class Pair:
    """Two exporters before a stdio server (``child``) and one over HTTP (``web``); the second can
    be restarted.

    ``drain_delay`` is longer than the balancer needs to notice, and than a scrape interval.
    """

    def __init__(self, folder: Path, drain_delay: str) -> None:
        self.addresses = [(free_address(), free_address()) for _ in range(2)]
        """Of each exporter, where clients connect and where it is scraped."""
        self._config = folder / "mcp.json"
        self._drain_delay = drain_delay
        self._stack, self._second = ExitStack(), ExitStack()

    def __enter__(self) -> Pair:
        servers = {"child": scripted_stdio(), "web": {"url": self._stack.enter_context(upstream())}}
        self._config.write_text(json.dumps({"servers": servers, "probe": UNPROBED}))
        self._stack.enter_context(self._exporter(*self.addresses[0]))
        self._second.enter_context(self._exporter(*self.addresses[1]))
        return self

    def __exit__(self, *_: object) -> None:
        self._second.close()
        self._stack.close()

    def restart(self) -> None:
        """Have the second leave, and start it again."""
        self._second.close()  # SIGTERM, and wait for the end
        self._second.enter_context(self._exporter(*self.addresses[1]))

    @contextmanager
    def _exporter(self, mcp: str, web: str) -> Iterator[Any]:
        words = [sys.executable, "-m", "exporter", "serve", "--config.file", str(self._config)]
        words += ["--mcp.listen-address", mcp, "--web.listen-address", web, "--wrap.socket", ""]
        words += ["--drain.delay", self._drain_delay, "--drain.timeout", "10s"]
        log = self._config.with_name(f"{web}.log")
        with running(words, f"http://{web}/-/ready", log) as process:
            yield process


class Clients:
    """Call without a pause in both eras, each on a connection that is kept as long as it may be,
    and hold streams open."""

    def __init__(self, address: str) -> None:
        self.counted: Counter[str] = Counter()
        """Calls and sessions by server, and sessions that were not found."""
        self.failed: list[str] = []
        self.ended_streams = 0
        """How many streams ended before their clients left; each is followed by another."""
        self._address = address
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._sockets: dict[str, socket.socket] = {}
        works: list[Callable[[str], None]] = [self._call, self._call_in_sessions, self._listen]
        self._threads = [
            threading.Thread(target=work, args=[server])
            for server in ("child", "web")
            for work in works
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for stream in list(self._sockets.values()):
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def calls(self) -> int:
        """How many calls were answered."""
        return sum(count for name, count in self.counted.items() if name.startswith("calls"))

    def hold(self, exporter: str, restart: Callable[[], None]) -> None:
        """Have a stdio session and its stream at an exporter while it is restarted: the stream
        ends, and nobody knows the session any more."""
        with _connection() as http:
            session = self._begin(http, "child", exporter)
            with open_reply(f"http://{exporter}/child/mcp", None, legacy(session), "GET") as stream:
                restart()
                stream.read()
                self.ended_streams += 1
            reply = self._post(http, "child", call(0, "ok"), legacy(session))
            if reply is not None and reply.status_code == 404:
                self._count("sessions not found")
            else:
                self.failed.append(f"the session of the leaver: {reply}")

    def _call(self, server: str) -> None:
        headers = modern("tools/call", "act")
        while not self._stopped.is_set():
            with _connection() as http:
                for number in range(CALLS_A_CONNECTION):
                    reply = self._post(http, server, modern_call(number, "ok"), headers)
                    self._note(f"calls {server}", reply)

    def _call_in_sessions(self, server: str) -> None:
        """A stdio session lives in one exporter: where it is not found, a client begins another."""
        while not self._stopped.is_set():
            with _connection() as http:
                session = self._begin(http, server)
                for number in range(CALLS_A_CONNECTION):
                    reply = self._post(http, server, call(number, "ok"), legacy(session))
                    if reply is not None and reply.status_code == 404:
                        self._count("sessions not found")
                        break
                    self._note(f"calls {server}", reply)

    def _listen(self, server: str) -> None:
        with _connection() as http:
            while not self._stopped.is_set():
                session = self._begin(http, server)
                try:
                    self._stream(server, session)
                except (OSError, HTTPException) as error:
                    if not self._stopped.is_set():
                        self.failed.append(f"stream of {server}: {error!r}")

    def _stream(self, server: str, session: str | None) -> None:
        """Hold a stream open, for a while or until it ends."""
        url, headers = f"http://{self._address}/{server}/mcp", legacy(session)
        with sent(url, headers=headers, method="GET", patience=STREAM_TIME) as connection:
            self._sockets[server] = connection.sock
            reply = connection.getresponse()
            if reply.status == 404:
                self._count("sessions not found")
            elif reply.status != 200:
                self.failed.append(f"stream of {server}: {reply.status}")
            else:
                with suppress(TimeoutError):
                    reply.read()
                    self.ended_streams += not self._stopped.is_set()

    def _begin(self, http: requests.Session, server: str, address: str = "") -> str | None:
        reply = self._post(http, server, initialize(), legacy(), address)
        self._note(f"sessions {server}", reply)
        return reply.headers.get("Mcp-Session-Id") if reply is not None else None

    def _note(self, what: str, reply: requests.Response | None) -> None:
        if reply is not None and reply.status_code == 200:
            self._count(what)
        elif reply is not None:
            self.failed.append(f"{what}: {reply.status_code} {reply.text}")

    def _count(self, what: str) -> None:
        with self._lock:
            self.counted[what] += 1

    def _post(
        self,
        http: requests.Session,
        server: str,
        body: Json,
        headers: dict[str, str],
        address: str = "",
    ) -> requests.Response | None:
        try:
            url = f"http://{address or self._address}/{server}/mcp"
            return http.post(url, json=body, headers=headers, timeout=30)
        except requests.RequestException as error:
            self.failed.append(f"{server}: {error}")
            return None


class Scraper:
    """Scrapes both as Prometheus does, and adds up what each run of each was last seen to count."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses
        self._last: dict[tuple[str, float], Counter[str]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def sums(self) -> Counter[str]:
        """What the clients count, as the exporters do."""
        found: Counter[str] = Counter()
        for counted in list(self._last.values()):
            found.update(counted)
        return found

    def _run(self) -> None:
        with _connection() as http:
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
            self._last[address, began] = Counter(dict(_counted(scrape)))


def _counted(scrape: Scrape) -> Iterator[tuple[str, int]]:
    for server, count in scrape.by("server", "mcp_tool_calls_total", outcome="ok").items():
        yield f"calls {server}", int(count)
    # Sessions that began at the other one have no name here.
    sessions = scrape.by("server", "mcp_sessions_started_total", client="raw")
    for server, count in sessions.items():
        yield f"sessions {server}", int(count)
    rejected = "mcp_exporter_rejected_requests_total"
    lost = int(scrape.total(rejected, reason="unknown_session"))
    if lost:
        yield "sessions not found", lost


@contextmanager
def _connection() -> Iterator[requests.Session]:
    with requests.Session() as http:
        http.trust_env = False
        yield http

"""The scrape and administration listener, on a thread and an event loop of its own.

Rendering ``/metrics`` takes milliseconds a thousand series; on the loop that relays, every
call in flight would wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import replace
from time import monotonic, time
from typing import Protocol, TypeVar
from urllib.parse import parse_qs

from exporter.config.errors import ConfigError
from exporter.probe.history import History
from exporter.telemetry.exposition import Exposition
from exporter.transport.http.origin import OriginPolicy, host_name
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.request import Request
from exporter.transport.http.server import HttpServer
from exporter.web import pages
from exporter.web.auth import PageAccess, is_own_page
from exporter.web.config import WebConfig
from exporter.web.liveness import Liveness
from exporter.web.pages import ServerSummary
from exporter.web.probe_pages import HTML, HTML_HEADERS, TEXT, ProbePages, ProbeSource
from exporter.web.scrape import ScrapeReply, accepts_gzip, gzipped

T = TypeVar("T")

LIMITS = ListenerLimits(body_bytes=64 * 1024, idle_timeout=120.0, connections=100)
"""Of the scrape listener: it has a handful of clients, and each may be given a long page."""

TURN_TIME = 0.25
"""Seconds that a scrape waits for the loop that relays. What holds that up must be seen in one."""

log = logging.getLogger(__name__)


class Exporter(ProbeSource, Protocol):
    """What the pages show of the exporter, and what they can have it do."""

    def rows(self) -> Iterable[ServerSummary]:
        """The servers."""

    def mcp_url(self, host: str) -> str:
        """Where clients reach the MCP listener, who reach this machine by ``host``."""

    def shown_config(self) -> str:
        """The configuration in force, without secrets."""

    def reload(self) -> Future[str]:
        """Read the configuration again; ends in ``ConfigError`` where that is impossible."""

    def turn(self) -> Future[None]:
        """Ends when the loop that relays has ended what it is at now."""


class Web:
    """The application behind the scrape listener."""

    def __init__(
        self,
        exposition: Exposition,
        exporter: Exporter,
        history: History,
        liveness: Liveness,
    ) -> None:
        self._exposition = exposition
        self._exporter = exporter
        self._history = history
        self._liveness = liveness
        self._last_scrape: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        probe_pages = ProbePages(exporter, history)
        self._pages: dict[bytes, Callable[[Request], None]] = {
            b"/": self._landing,
            b"/metrics": self._metrics,
            b"/-/healthy": self._healthy,
            b"/-/ready": self._ready,
            b"/config": self._config,
            b"/probe": probe_pages.probe,
            b"/logs": probe_pages.logs,
        }

    def handle(self, request: Request) -> None:
        """Serve one page. Whatever is wrong with a page, its client is answered."""
        self._answer(request, self._serve)

    def _answer(self, request: Request, serve: Callable[[Request], None]) -> None:
        try:
            serve(request)
        except Exception:
            log.exception(
                "a page could not be made", extra={"path": request.path.decode("latin-1")}
            )
            if request.response.started:
                request.response.abort()
            else:
                request.respond(500, b"This page could not be made; see the log\n", TEXT)

    def _serve(self, request: Request) -> None:
        page = self._pages.get(request.path)
        if request.path == b"/-/reload":
            self._reload(request)
        elif page is None:
            request.respond(404, b"There is nothing at this path; see /\n", TEXT)
        elif request.method not in (b"GET", b"HEAD"):
            body = b"Only GET is served here\n"
            request.respond(405, body, TEXT, [(b"Allow", b"GET, HEAD")])
        else:
            page(request)

    def _healthy(self, request: Request) -> None:
        _respond_state(request, "healthy", self._liveness.unhealthy())

    def _ready(self, request: Request) -> None:
        _respond_state(request, "ready", self._liveness.unready())

    def _config(self, request: Request) -> None:
        request.respond(200, self._exporter.shown_config().encode(), TEXT)

    def _reload(self, request: Request) -> None:
        if request.method != b"POST":
            body = b"Only POST reloads the configuration\n"
            request.respond(405, body, TEXT, [(b"Allow", b"POST")])
            return
        if not is_own_page(request):
            request.respond(403, b"A page of another site cannot reload this one\n", TEXT)
            return
        self._begin(self._reload_now(request))

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_now(self, request: Request) -> None:
        try:
            changes = await asyncio.wrap_future(self._exporter.reload())
        except ConfigError as error:
            status, text = 500, str(error)
        except Exception:
            log.exception("configuration not reloaded")
            status, text = 500, "The reload itself failed; see the log"
        else:
            status, text = 200, f"The configuration was reloaded: {changes}"
        if not request.response.closed:
            request.respond(status, f"{text}\n".encode(), TEXT)

    def _metrics(self, request: Request) -> None:
        self._begin(self._scrape_after(self._exporter.turn(), request))

    async def _scrape_after(self, turn: Future[None], request: Request) -> None:
        # A reply goes out before it is counted: whoever has one must find it in the next scrape.
        await asyncio.wait([asyncio.wrap_future(turn)], timeout=TURN_TIME)
        if not request.response.closed:
            self._answer(request, self._scrape)

    def _scrape(self, request: Request) -> None:
        accept = (request.header(b"accept") or b"").decode("latin-1")
        names = parse_qs(request.query.decode("latin-1")).get("name[]", ())
        pieces, content_type = self._exposition.render(accept, names)
        headers = [(b"Content-Type", content_type.encode()), (b"Vary", b"Accept, Accept-Encoding")]
        if accepts_gzip(request.header(b"accept-encoding") or b""):
            pieces = gzipped(pieces)
            headers.append((b"Content-Encoding", b"gzip"))
        began = monotonic()
        ScrapeReply(request, pieces, lambda: self._scraped(began)).start(headers)

    def is_scrape_due(self, moment: float) -> bool:
        """Whether there are scrapes, and none has begun and ended since that moment."""
        return self._last_scrape is not None and self._last_scrape < moment

    def _scraped(self, began: float) -> None:
        self._last_scrape = max(began, self._last_scrape or began)

    def _landing(self, request: Request) -> None:
        host = host_name(request.header(b"host") or b"") or "127.0.0.1"
        mcp_url = self._exporter.mcp_url(host)
        page = pages.landing(self._exporter.rows(), self._history.records(), mcp_url, time())
        request.respond(200, page.encode(), HTML, HTML_HEADERS)


_FOREIGN = (
    b"The Host or Origin of this request is not allowed; where it is right, name the host in "
    b"--web.allowed-hosts\n"
)


def respond_error(request: Request, status: int, reason: str) -> None:
    """Respond with the reason of a rejection."""
    request.respond(status, reason.encode() + b"\n", TEXT)


def _respond_state(request: Request, state: str, problem: str | None) -> None:
    status = 200 if problem is None else 503
    text = (
        f"mcp-exporter is {state}" if problem is None else f"mcp-exporter is not {state}: {problem}"
    )
    request.respond(status, f"{text}\n".encode(), TEXT)


class WebThread:
    """Runs a listener beside the loop that relays, and authenticates its clients.

    ``count`` is told the reason of each rejection.
    """

    def __init__(self, count: Callable[[str], None], origins: OriginPolicy) -> None:
        """``origins`` is the policy where neither password nor certificate is demanded."""
        self._count = count
        self._origins = {False: origins, True: replace(origins, is_guarded=True)}
        self._loop = asyncio.new_event_loop()
        self._pages: Web | None = None
        self._access: PageAccess | None = None
        self._listener = HttpServer(self, self._loop, LIMITS, uses_reserve=True)
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def open(
        self,
        pages: Web,
        host: str,
        port: int,
        config: WebConfig | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[str, int]:
        """Serve the pages; returns the address in use. Raises ``OSError``."""
        self._pages = pages
        self._demand(config)
        self._thread.start()
        return self._call(self._listener.open(host, port, tls)).result()

    def renew(self, config: WebConfig | None, tls: ssl.SSLContext | None) -> None:
        """Demand something else from now on. Returns at once."""
        self._loop.call_soon_threadsafe(self._renew, config, tls)

    def close(self) -> None:
        """Stop listening, and end the thread."""
        if self._thread.is_alive():
            self._call(self._listener.close(grace=1.0)).result()
            if self._access is not None:
                self._access.close()
            # Names are looked up on threads of the loop's own.
            self._call(self._loop.shutdown_default_executor()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    # The application of the listener

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Whether the certificate of a new connection bears a name that is allowed."""
        return self._access is None or self._access.is_welcome(transport)

    def screen(self, request: Request) -> None:
        """Bodies are small here, and read of every client."""

    def cut(self, reason: str) -> None:
        """Count a connection that was cut in the middle of a response."""
        self._count(reason)

    def handle(self, request: Request) -> None:
        """Serve one page to whom it may be shown."""
        pages, access = self._pages, self._access
        is_guarded = access is not None and access.guards(request)
        if pages is None:
            request.respond(503, b"There are no pages yet\n", TEXT)
        elif not self._origins[is_guarded].allows(request):
            self._count("web_bad_origin")
            request.respond(403, _FOREIGN, TEXT)
        elif access is None:
            pages.handle(request)
        else:
            access.enter(request, pages.handle)

    def reject(self, request: Request, status: int, reason: str) -> None:
        """Respond to what broke the rules of HTTP or a limit."""
        respond_error(request, status, reason)

    def _renew(self, config: WebConfig | None, tls: ssl.SSLContext | None) -> None:
        self._demand(config)
        self._listener.renew(tls)

    def _demand(self, config: WebConfig | None) -> None:
        before = self._access
        self._access = PageAccess(config, self._count) if config is not None else None
        if before is not None:
            before.retire()

    def _call(self, work: Coroutine[object, object, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

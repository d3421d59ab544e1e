"""The scrape and administration listener, on a thread and an event loop of its own.

Rendering ``/metrics`` takes milliseconds a thousand series; on the loop that relays, every
call in flight would wait for it.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import zlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Protocol, TypeVar
from urllib.parse import parse_qs

from exporter.config.errors import ConfigError
from exporter.probe.history import History
from exporter.telemetry.exposition import Exposition
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.request import Request
from exporter.transport.http.server import HttpServer
from exporter.web import pages
from exporter.web.auth import PageAccess
from exporter.web.config import WebConfig
from exporter.web.pages import ServerSummary
from exporter.web.probe_pages import HTML, HTML_HEADERS, TEXT, ProbePages, ProbeSource

T = TypeVar("T")


class Exporter(ProbeSource, Protocol):
    """What the pages want to know of the exporter, and what they can tell it."""

    is_ready: bool

    def rows(self) -> Iterable[ServerSummary]:
        """The servers."""

    def shown_config(self) -> str:
        """The configuration in force, without secrets."""

    def reload(self) -> Future[str]:
        """Read the configuration again; ends in ``ConfigError`` where that is impossible."""


class Web:
    """The application behind the scrape listener."""

    def __init__(
        self,
        exposition: Exposition,
        exporter: Exporter,
        history: History,
    ) -> None:
        self._exposition = exposition
        self._exporter = exporter
        self._history = history
        self._reloads: set[asyncio.Task[None]] = set()
        self.gate: PageAccess | None = None
        """Who stands before the pages; ``None``: nobody."""
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
        """Serve one page, to whom it may be shown."""
        if self.gate is None:
            self._serve(request)
        else:
            self.gate.enter(request, self._serve)

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

    def refuse(self, request: Request, status: int, reason: str) -> None:
        """Answer what broke the rules of HTTP or a limit."""
        request.respond(status, reason.encode() + b"\n", TEXT)

    def _healthy(self, request: Request) -> None:
        request.respond(200, b"mcp-exporter is healthy\n", TEXT)

    def _ready(self, request: Request) -> None:
        if self._exporter.is_ready:
            request.respond(200, b"mcp-exporter is ready\n", TEXT)
        else:
            request.respond(503, b"mcp-exporter is not ready\n", TEXT)

    def _config(self, request: Request) -> None:
        request.respond(200, self._exporter.shown_config().encode(), TEXT)

    def _reload(self, request: Request) -> None:
        if request.method != b"POST":
            body = b"Only POST reloads the configuration\n"
            request.respond(405, body, TEXT, [(b"Allow", b"POST")])
            return
        if not _is_own_page(request):
            request.respond(403, b"A page of another site cannot reload this one\n", TEXT)
            return
        task = asyncio.get_running_loop().create_task(self._reload_now(request))
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)

    async def _reload_now(self, request: Request) -> None:
        try:
            changes = await asyncio.wrap_future(self._exporter.reload())
        except ConfigError as error:
            request.respond(500, f"{error}\n".encode(), TEXT)
        else:
            request.respond(200, f"The configuration was reloaded: {changes}\n".encode(), TEXT)

    def _metrics(self, request: Request) -> None:
        accept = (request.header(b"accept") or b"").decode("latin-1")
        names = parse_qs(request.query.decode("latin-1")).get("name[]", ())
        pieces, content_type = self._exposition.render(accept, names)
        headers = [(b"Vary", b"Accept, Accept-Encoding")]
        if b"gzip" in (request.header(b"accept-encoding") or b""):
            pieces = _gzipped(pieces)
            headers.append((b"Content-Encoding", b"gzip"))
        request.respond(200, b"".join(pieces), content_type.encode(), headers)

    def _landing(self, request: Request) -> None:
        page = pages.landing(self._exporter.rows(), self._history.records())
        request.respond(200, page.encode(), HTML, HTML_HEADERS)


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(level=3, wbits=31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _is_own_page(request: Request) -> bool:
    """Whether no page of another site sent its visitor's browser here."""
    origin = request.header(b"origin")
    return origin is None or origin.partition(b"://")[2] == request.header(b"host")


class WebThread:
    """Runs a listener beside the loop that relays."""

    def __init__(self, web: Web, count: Callable[[str], None]) -> None:
        self._web = web
        self._count = count
        self._loop = asyncio.new_event_loop()
        self._listener: HttpServer | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def open(
        self,
        host: str,
        port: int,
        config: WebConfig | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[str, int]:
        """Start to listen; answers the address in use. Raises ``OSError``."""
        self._thread.start()
        return self._call(self._open(host, port, config, tls)).result()

    def renew(self, config: WebConfig | None, tls: ssl.SSLContext | None) -> None:
        """Demand something else from now on. Returns at once."""
        self._call(self._renew(config, tls))

    def close(self) -> None:
        """Stop to listen, and end the thread."""
        if not self._thread.is_alive():
            self._loop.close()
            return
        if not self._thread.is_alive():
            return
        if self._listener is not None:
            self._call(self._listener.close(grace=1.0)).result()
        if self._web.gate is not None:
            self._web.gate.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(
        self, host: str, port: int, config: WebConfig | None, tls: ssl.SSLContext | None
    ) -> tuple[str, int]:
        limits = ListenerLimits(body_bytes=64 * 1024, idle_timeout=120.0)
        self._listener = HttpServer(self._web, self._loop, limits)
        self._listener.is_welcome = self._is_welcome
        self._set_gate(config)
        return await self._listener.open(host, port, tls)

    async def _renew(self, config: WebConfig | None, tls: ssl.SSLContext | None) -> None:
        self._set_gate(config)
        if self._listener is not None and not self._listener.draining:
            await self._listener.door.renew(tls)

    def _set_gate(self, config: WebConfig | None) -> None:
        before, self._web.gate = self._web.gate, PageAccess(config, self._count) if config else None
        if before is not None:
            before.retire()

    def _is_welcome(self, transport: asyncio.BaseTransport) -> bool:
        return self._web.gate is None or self._web.gate.is_welcome(transport)

    def _call(self, work: Coroutine[object, object, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

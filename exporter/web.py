"""The scrape and administration listener, on a thread and an event loop of its own.

Rendering ``/metrics`` takes milliseconds a thousand series; on the loop that relays, every
call in flight would wait for it.
"""

from __future__ import annotations

import asyncio
import gzip
import html
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import parse_qs

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from exporter import __version__
from exporter.listener import Listener, ListenerLimits, Request

T = TypeVar("T")

_TEXT = b"text/plain; charset=utf-8"
_HTML = b"text/html; charset=utf-8"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.3rem .8rem;"
    "border-bottom:1px solid #ccc}.ok{color:#1a7f37}.degraded{color:#9a6700}.error{color:#cf222e}"
)


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One server on the landing page."""

    name: str
    transport: str
    state: str
    detail: str
    endpoint: str


class Web:
    """The application behind the scrape listener."""

    def __init__(
        self,
        registry: CollectorRegistry,
        is_ready: Callable[[], bool],
        rows: Callable[[], Iterable[ServerRow]],
    ) -> None:
        self._registry = registry
        self._is_ready = is_ready
        self._rows = rows
        self._pages: dict[bytes, Callable[[Request], None]] = {
            b"/": self._landing,
            b"/metrics": self._metrics,
            b"/-/healthy": self._healthy,
            b"/-/ready": self._ready,
        }

    def handle(self, request: Request) -> None:
        """Serve one page."""
        page = self._pages.get(request.path)
        if page is None:
            request.respond(404, b"There is nothing at this path; see /\n", _TEXT)
        elif request.method not in (b"GET", b"HEAD"):
            body = b"Only GET is served here\n"
            request.respond(405, body, _TEXT, [(b"Allow", b"GET, HEAD")])
        else:
            page(request)

    def refuse(self, request: Request, status: int, reason: str) -> None:
        """Answer what broke the rules of HTTP or a limit."""
        request.respond(status, reason.encode() + b"\n", _TEXT)

    def _healthy(self, request: Request) -> None:
        request.respond(200, b"mcp-exporter is healthy\n", _TEXT)

    def _ready(self, request: Request) -> None:
        if self._is_ready():
            request.respond(200, b"mcp-exporter is ready\n", _TEXT)
        else:
            request.respond(503, b"mcp-exporter is not ready\n", _TEXT)

    def _metrics(self, request: Request) -> None:
        accept = (request.header(b"accept") or b"").decode("latin-1")
        encode, content_type = choose_encoder(accept)
        registry = self._registry
        names = parse_qs(request.query.decode("latin-1")).get("name[]")
        body: bytes = encode(registry.restricted_registry(names) if names else registry)
        headers = [(b"Vary", b"Accept, Accept-Encoding")]
        if b"gzip" in (request.header(b"accept-encoding") or b""):
            body = gzip.compress(body, compresslevel=3)
            headers.append((b"Content-Encoding", b"gzip"))
        request.respond(200, body, content_type.encode(), headers)

    def _landing(self, request: Request) -> None:
        rows = "".join(_row(row) for row in self._rows())
        page = (
            "<!doctype html><html lang=en><meta charset=utf-8><title>mcp-exporter</title>"
            f"<style>{_STYLE}</style><h1>mcp-exporter</h1>"
            f"<p>Relays Model Context Protocol traffic and measures it. Version {__version__}.</p>"
            '<ul><li><a href="metrics">Metrics</a></li><li><a href="-/healthy">Health</a></li>'
            '<li><a href="-/ready">Readiness</a></li></ul>'
            "<h2>Servers</h2><table><tr><th>Server<th>State<th>Transport<th>Endpoint</tr>"
            f"{rows}</table></html>\n"
        )
        headers = [(b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'")]
        request.respond(200, page.encode(), _HTML, headers)


class WebThread:
    """Runs a listener beside the loop that relays."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._loop = asyncio.new_event_loop()
        self._listener: Listener | None = None
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def open(self, host: str, port: int) -> tuple[str, int]:
        """Start to listen; answers the address in use. Raises ``OSError``."""
        self._thread.start()
        return self._call(self._open(host, port)).result()

    def close(self) -> None:
        """Stop to listen, and end the thread."""
        if self._listener is not None:
            self._call(self._listener.close(grace=1.0)).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _open(self, host: str, port: int) -> tuple[str, int]:
        limits = ListenerLimits(body_bytes=64 * 1024, idle_timeout=120.0)
        self._listener = Listener(self._web, self._loop, limits)
        return await self._listener.open(host, port)

    def _call(self, work: Coroutine[object, object, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


def _row(row: ServerRow) -> str:
    cells = [html.escape(text) for text in (row.name, row.state, row.transport, row.endpoint)]
    title = html.escape(row.detail, quote=True)
    return (
        f'<tr><td>{cells[0]}<td class="{cells[1]}" title="{title}">{cells[1]}'
        f"<td>{cells[2]}<td><code>{cells[3]}</code></tr>"
    )

"""``/probe`` runs a probe on request, ``/logs`` shows the transcript of one that is over.

The pages are served on the web listener's thread, the probe runs on the loop that relays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Protocol
from urllib.parse import parse_qs

from exporter.config.model import Server
from exporter.probe.explain import Explanation
from exporter.probe.history import History
from exporter.telemetry.exposition import encoder
from exporter.transport.http.request import Request
from exporter.web import pages
from exporter.web.auth import is_own_page

TEXT = b"text/plain; charset=utf-8"
HTML = b"text/html; charset=utf-8"
HTML_HEADERS = [(b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'")]

TIMEOUT_HEADER = b"x-prometheus-scrape-timeout-seconds"
TIMEOUT_OFFSET = 0.5
"""Seconds of the scrape's timeout that are left for the response."""

AT_ONCE = 4
"""Requested probes that run at the same time: each may start a process."""


class ProbeSource(Protocol):
    """Knows the servers, and runs the probe."""

    @property
    def servers(self) -> Iterable[str]:
        """The names of the configured servers."""

    def find(self, name: str) -> Server | None:
        """The server of this name."""

    def explain(self, server: Server, limit: float | None) -> Future[Explanation]:
        """Begin to probe, within ``limit`` seconds."""


class ProbePages:
    """Serves the two paths."""

    def __init__(self, prober: ProbeSource, history: History) -> None:
        self._prober = prober
        self._history = history
        self._running = 0

    def logs(self, request: Request) -> None:
        """Show the probes that are over, or the transcript of one."""
        number = _first(request, "id")
        if not number:
            page = pages.history(self._history.records())
            request.respond(200, page.encode(), HTML, HTML_HEADERS)
            return
        record = self._history.find(int(number)) if _is_number(number) else None
        if record is None:
            text = b"There is no such probe (any more); see / for those that are kept\n"
            request.respond(404, text, TEXT)
        else:
            request.respond(200, pages.log(record).encode(), HTML, HTML_HEADERS)

    def probe(self, request: Request) -> None:
        """Probe now, and respond when the probe has ended, whatever its result."""
        rejected = self._rejection(request)
        server = self._prober.find(_first(request, "target"))
        if rejected is not None or server is None:
            status, text = rejected or (404, self._unknown(request))
            request.respond(status, f"{text}\n".encode(), TEXT)
            return
        loop = asyncio.get_running_loop()
        self._running += 1
        future = self._prober.explain(server, _limit(request))

        def ended(future: Future[Explanation]) -> None:
            with contextlib.suppress(RuntimeError):  # the listener has closed meanwhile
                loop.call_soon_threadsafe(self._respond, request, future)

        future.add_done_callback(ended)

    def _rejection(self, request: Request) -> tuple[int, str] | None:
        if not is_own_page(request):
            return 403, "A probe cannot be started from another web page"
        if not _first(request, "target"):
            return 400, f"Which server? Add ?target=NAME; configured are: {self._known()}"
        if _limit(request) == 0.0:
            name = TIMEOUT_HEADER.decode()
            return 400, f"The header {name} is not a number of seconds above 0"
        if self._running >= AT_ONCE:
            return 503, f"{AT_ONCE} requested probes are running; try again"
        return None

    def _respond(self, request: Request, future: Future[Explanation]) -> None:
        self._running -= 1
        if request.response.closed:
            return
        if future.cancelled() or future.exception() is not None:
            request.respond(503, b"The probe could not be run; see the log\n", TEXT)
            return
        explanation = future.result()
        if _first(request, "debug").lower() in ("true", "1"):
            request.respond(200, explanation.text.encode(), TEXT)
            return
        accept = (request.header(b"accept") or b"").decode("latin-1")
        encode, content_type = encoder(accept)
        request.respond(200, encode(explanation.metrics), content_type.encode())

    def _unknown(self, request: Request) -> str:
        name = _first(request, "target")
        return f"There is no server {name!r}; configured are: {self._known()}"

    def _known(self) -> str:
        return ", ".join(self._prober.servers)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19  # of thousands int() reads none


def _first(request: Request, name: str) -> str:
    values = parse_qs(request.query.decode("latin-1")).get(name, [""])
    return values[0].strip()


def _limit(request: Request) -> float | None:
    """Seconds that the probe may take: ``None`` where none are given, 0 where they are invalid."""
    given = request.header(TIMEOUT_HEADER)
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        return 0.0
    if not 0.0 < seconds < 1e9:
        return 0.0
    return max(seconds - TIMEOUT_OFFSET, seconds / 2)

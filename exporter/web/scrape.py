"""The reply to a scrape, rendered as fast as its client reads: an unread one costs little."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator

from exporter.transport.http.head import Headers
from exporter.transport.http.request import Request

log = logging.getLogger(__name__)


class ScrapeReply:
    """Sends pieces one after the other. While the client does not read, no further one is made.

    ``on_sent`` is told of a whole reply.
    """

    def __init__(
        self, request: Request, pieces: Iterator[bytes], on_sent: Callable[[], None]
    ) -> None:
        self._response = request.response
        self._pieces = pieces
        self._on_sent = on_sent
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None
        self._is_paused = False

    def start(self, headers: Headers) -> None:
        """Begin the reply; the rest follows by itself."""
        self._response.watcher = self
        self._response.start(200, headers)
        self._send()

    def _send(self) -> None:
        self._next = None
        response = self._response
        if response.closed:
            return
        try:
            piece = next(self._pieces, None)
        except Exception:
            log.exception("a scrape could not be rendered")
            response.abort()  # a scraper must not take a half for the whole
            return
        if piece is None:
            response.end()
            self._on_sent()
            return
        response.write(piece)
        response.flush()
        if not self._is_paused and self._next is None and not response.closed:
            # Other clients have their turn between two pieces.
            self._next = self._loop.call_soon(self._send)

    def client_gone(self) -> None:
        """Render no more."""
        self.client_paused(True)

    def client_paused(self, paused: bool) -> None:
        """Render at the client's pace."""
        self._is_paused = paused
        if paused and self._next is not None:
            self._next.cancel()
            self._next = None
        elif not paused and self._next is None:
            self._next = self._loop.call_soon(self._send)


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces as one gzip stream."""
    packer = zlib.compressobj(level=3, wbits=31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether a client that sent this takes gzip (RFC 9110, section 12.5.3)."""
    weights = dict(map(_coding, accept_encoding.lower().split(b",")))
    return weights.get(b"gzip", weights.get(b"*", 0.0)) > 0


def _coding(item: bytes) -> tuple[bytes, float]:
    name, _, parameter = item.partition(b";")
    key, _, weight = parameter.partition(b"=")
    if key.strip() != b"q":
        return name.strip(), 1.0
    try:
        return name.strip(), float(weight)
    except ValueError:
        return name.strip(), 0.0

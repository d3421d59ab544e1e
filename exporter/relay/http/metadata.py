"""Fetches a server's protected-resource metadata for a client, and puts the own URL in."""

from __future__ import annotations

from typing import Protocol

from exporter.protocol import errors
from exporter.protocol.failures import UpstreamError
from exporter.relay.oauth import ProtectedResource
from exporter.transport.deadlines import Deadlines
from exporter.transport.http.head import Headers, ReplyHead
from exporter.transport.http.pool import PendingRequest, Pool
from exporter.transport.http.request import Request

MOST_SECONDS = 30.0
"""How long a client waits at most, whatever the server's ``timeout``."""

_LIMIT = 1024 * 1024


class MetadataContext(Protocol):
    """What it needs of the server that it belongs to."""

    name: str
    pool: Pool
    resource: ProtectedResource
    metadata_deadlines: Deadlines[MetadataRelay]

    def described(self, relay: MetadataRelay) -> None:
        """A request for metadata is over."""


class MetadataRelay:
    """Asks at each place where the metadata may be, until one has it."""

    def __init__(self, upstream: MetadataContext, request: Request, own_url: str) -> None:
        self._upstream = upstream
        self._request = request
        self._own_url = own_url
        self._targets = upstream.resource.targets()
        self._pending: PendingRequest | None = None
        self._status = 0
        self._headers: Headers = []
        self._body = bytearray()

    def send(self, now: float) -> None:
        """Ask the server."""
        self._request.response.watcher = self
        self._upstream.metadata_deadlines.add(self, now)
        self._ask()

    # What the pool calls

    def head(self, head: ReplyHead) -> None:
        """Keep the reply's head."""
        self._status = head.status
        self._headers = [field for field in head.fields if field[0].lower() != b"content-length"]
        self._body.clear()

    def body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._body += data
        if len(self._body) > _LIMIT:
            self._fail(502, errors.CONNECTION_LOST, "sent metadata of more than 1 MiB")

    def flush(self) -> None:
        """Wait for the rest."""

    def end(self) -> None:
        """The reply is complete: pass it on, or ask at the next place."""
        if self._status == 404 and self._targets:
            self._ask()
            return
        body = bytes(self._body)
        if self._status == 200:
            body = self._upstream.resource.rewrite_metadata(body, self._own_url)
        response = self._request.response
        response.start(self._status, [*self._headers, (b"Content-Length", b"%d" % len(body))])
        response.write(body)
        response.end()
        self._finish()

    def lost(self, error: UpstreamError) -> None:
        """There will be no reply."""
        self._fail(502, errors.CONNECTION_LOST, str(error))

    # What ends it early

    def expire(self) -> None:
        """The reply did not come in time."""
        self._fail(504, errors.TIMEOUT, "did not send its metadata in time")

    def give_up(self, reason: str) -> None:
        """Stop waiting: the exporter stops, or the server is removed."""
        self._fail(502, errors.CONNECTION_LOST, reason)

    def client_gone(self) -> None:
        """The client closed its connection."""
        self._abort()
        self._finish()

    def client_paused(self, paused: bool) -> None:
        """Nothing is sent before it is complete."""

    # Inside

    def _ask(self) -> None:
        pool, request = self._upstream.pool, self._request
        lines = [
            b"GET %b HTTP/1.1" % self._targets.pop(0),
            b"Host: " + pool.authority,
            b"Accept: " + (request.header(b"accept") or b"application/json"),
        ]
        for name in (b"MCP-Protocol-Version", b"Origin"):
            value = request.header(name.lower())
            if value is not None:
                lines.append(name + b": " + value)
        self._pending = pool.send(b"\r\n".join([*lines, b"", b""]), self)

    def _fail(self, status: int, code: int, text: str) -> None:
        self._abort()
        reply = errors.error(code, f"server {self._upstream.name!r} {text}")
        self._request.respond(status, reply, errors.JSON)
        self._finish()

    def _abort(self) -> None:
        if self._pending is not None:
            self._pending.abort()

    def _finish(self) -> None:
        self._request.response.watcher = None
        self._upstream.metadata_deadlines.discard(self)
        self._upstream.described(self)

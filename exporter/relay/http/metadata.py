"""Fetches a server's protected-resource metadata for a client, and puts the own URL in."""

from __future__ import annotations

from exporter.protocol import errors
from exporter.protocol.failures import UpstreamError
from exporter.relay.oauth import ProtectedResource
from exporter.transport.http.head import Headers, ReplyHead
from exporter.transport.http.pool import PendingRequest, Pool
from exporter.transport.http.request import Request

_LIMIT = 1024 * 1024


class MetadataRelay:
    """Asks at each place where the metadata may be, until one has it."""

    def __init__(
        self, pool: Pool, resource: ProtectedResource, request: Request, own_url: str
    ) -> None:
        self._pool = pool
        self._resource = resource
        self._request = request
        self._own_url = own_url
        self._targets = resource.targets()
        self._flight: PendingRequest | None = None
        self._status = 0
        self._headers: Headers = []
        self._body = b""
        request.response.watcher = self
        self._ask()

    def head(self, head: ReplyHead) -> None:
        """The reply's head."""
        self._status = head.status
        self._headers = [field for field in head.fields if field[0].lower() != b"content-length"]
        self._body = b""

    def body(self, data: bytes) -> None:
        """A part of the body."""
        self._body += data
        if len(self._body) > _LIMIT and self._flight is not None:
            self._flight.abort()
            self.lost(UpstreamError("sent metadata of more than 1 MiB"))

    def flush(self) -> None:
        """Nothing more has arrived for now."""

    def end(self) -> None:
        """The reply is complete: pass it on, or ask at the next place."""
        if self._status == 404 and self._targets:
            self._ask()
            return
        body = self._body
        if self._status == 200:
            body = self._resource.rewrite_metadata(body, self._own_url)
        headers = [*self._headers, (b"Content-Length", b"%d" % len(body))]
        response = self._request.response
        response.start(self._status, headers)
        response.write(body)
        response.end()

    def lost(self, error: UpstreamError) -> None:
        """There will be no reply."""
        reply = errors.error(errors.CONNECTION_LOST, f"the server {error}")
        self._request.respond(502, reply, errors.JSON)

    def _ask(self) -> None:
        target = self._targets.pop(0)
        lines = [
            b"GET %b HTTP/1.1" % target,
            b"Host: " + self._pool.authority,
            b"Accept: " + (self._request.header(b"accept") or b"application/json"),
        ]
        for name in (b"MCP-Protocol-Version", b"Origin"):
            value = self._request.header(name.lower())
            if value is not None:
                lines.append(name + b": " + value)
        self._flight = self._pool.send(b"\r\n".join([*lines, b"", b""]), self)

    def client_gone(self) -> None:
        """The client closed its connection: ask no further."""
        if self._flight is not None:
            self._flight.abort()

    def client_paused(self, paused: bool) -> None:
        """Metadata is small, and sent in one piece."""

"""One HTTP request, as a client sent it."""

from __future__ import annotations

from msgspec import Struct

from exporter.transport.http.head import Headers, HeadRoute, RequestHead
from exporter.transport.http.response import Response


class Request(Struct, eq=False):
    """What a client asks for, and the response that it gets."""

    response: Response
    head: RequestHead | None = None
    """Where a head of the same bytes was seen before: what followed from it."""
    method: bytes = b""
    target: bytes = b""
    headers: Headers = []
    first_values: dict[bytes, bytes] | None = None
    """What ``names`` returns, once it was asked for."""
    traceparent: str | None = None
    """The trace context of its header, where that is valid. With a known head the header itself
    holds a mark in its place, for every request has another one."""
    body: bytes = b""
    received: float = 0.0
    route: HeadRoute | None = None
    """Where its head led to."""

    @property
    def path(self) -> bytes:
        """The target without its query."""
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        """What follows the ``?``, without it."""
        return self.target.partition(b"?")[2]

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""
        known = self.first_values
        return (self.names if known is None else known).get(name)

    @property
    def names(self) -> dict[bytes, bytes]:
        """The first value of each header, by its name in lower case."""
        if self.first_values is None:
            self.first_values = {key.lower(): value for key, value in reversed(self.headers)}
        return self.first_values

    def replace_header(self, name: bytes, value: bytes) -> None:
        """Have this header once, with this value."""
        self.headers = [field for field in self.headers if field[0].lower() != name.lower()]
        self.headers.append((name, value))
        self.first_values = None

    def take(self, head: RequestHead) -> None:
        """Have a head that is remembered from now on."""
        self.head = head
        self.headers = head.headers
        self.first_values = head.names

    def have_traceparent(self, value: str) -> None:
        """Have a trace context of the same length go on in the header; what follows it stays."""
        if self.head is None:
            length = len(value)
            self.headers = [
                (name, value.encode() + old[length:])
                if name.lower() == b"traceparent"
                else (name, old)
                for name, old in self.headers
            ]
            self.first_values = None
        self.traceparent = value

    def respond(
        self, status: int, body: bytes, content_type: bytes, headers: Headers | None = None
    ) -> None:
        """Send a whole response."""
        self.response.send(status, body, content_type, headers)

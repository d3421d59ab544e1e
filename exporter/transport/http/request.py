"""One HTTP request, as a client sent it."""

from __future__ import annotations

from exporter.transport.http.head import Headers, RequestHead
from exporter.transport.http.response import Response


class Request:
    """What a client asks for, and the response that it gets."""

    __slots__ = (
        "_names",
        "body",
        "head",
        "headers",
        "method",
        "received",
        "response",
        "target",
        "traceparent",
    )

    def __init__(self, response: Response) -> None:
        self.response = response
        self.head: RequestHead | None = None
        """Where a head of the same bytes was seen before: what followed from it."""
        self._names: dict[bytes, bytes] | None = None
        self.method = b""
        self.target = b""
        self.headers: Headers = []
        self.body: bytes = b""
        self.received = 0.0
        self.traceparent: str | None = None
        """The trace context of its header, where that is valid. With a known head the header
        itself holds a mark in its place, for every request has another one."""

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
        return self.names.get(name)

    @property
    def names(self) -> dict[bytes, bytes]:
        """The first value of each header, by its name in lower case."""
        if self._names is None:
            self._names = {key.lower(): value for key, value in reversed(self.headers)}
        return self._names

    def replace_header(self, name: bytes, value: bytes) -> None:
        """Have this header once, with this value."""
        self.headers = [field for field in self.headers if field[0].lower() != name.lower()]
        self.headers.append((name, value))
        self._names = None

    def take(self, head: RequestHead, traceparent: str | None = None) -> None:
        """Have a head that was seen before, with a trace context of its own."""
        self.head = head
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self._names = head.names
        self.traceparent = traceparent

    def respond(
        self, status: int, body: bytes, content_type: bytes, headers: Headers | None = None
    ) -> None:
        """Send a whole response."""
        self.response.send(status, body, content_type, headers)

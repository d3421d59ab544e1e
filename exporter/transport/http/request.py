"""One HTTP request with its reply: what came in, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from exporter.transport.http.head import (
    BODYLESS,
    Headers,
    HeadRoute,
    RequestHead,
    field_lines,
    status_line,
)

_LENGTH = b"content-length"
_SMALL = 4096
"""Bytes of a chunk that is rather copied once more than put together from three pieces."""


class Responder(Protocol):
    """The connection that a request came by, and its reply goes by."""

    def closing_after(self, request: Request) -> bool:
        """Whether the connection ends with this reply."""

    def put(self, data: bytes) -> None:
        """Add to what the next flush sends."""

    def flush(self) -> None:
        """Send what was put."""

    def finished(self, request: Request) -> None:
        """The reply is complete."""

    def abort(self) -> None:
        """Cut the connection."""


class Lease(Protocol):
    """A place that a request holds while it is served."""

    def leave(self) -> None:
        """Give it back."""


class Request:
    """One request with its reply: what came in, and the way back."""

    __slots__ = (
        "_names",
        "_wire",
        "body",
        "chunked",
        "closed",
        "extra_headers",
        "head",
        "headers",
        "keep_alive",
        "lease",
        "method",
        "minor",
        "on_drain",
        "on_gone",
        "received",
        "refusal",
        "route",
        "started",
        "target",
    )  # fmt: skip

    def __init__(self, wire: Responder) -> None:
        self._wire = wire
        self.head: RequestHead | None = None
        self.route: HeadRoute | None = None
        self._names: dict[bytes, bytes] | None = None
        self.method = b""
        self.target = b""
        self.headers: Headers = []
        self.body = b""
        self.minor = 1
        self.keep_alive = True
        self.received = 0.0
        self.started = False
        self.chunked = False
        self.closed = False
        self.refusal: tuple[int, str] | None = None
        self.extra_headers: Sequence[tuple[bytes, bytes]] = ()
        """What every reply bears here, unless it says that itself."""
        self.lease: Lease | None = None
        """What is given back when the reply is complete, or the client gone."""
        self.on_gone: Callable[[], None] | None = None
        self.on_drain: Callable[[bool], None] | None = None

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

    def take(self, head: RequestHead) -> None:
        """Have a head that was seen before."""
        self.head = head
        self.method = head.method
        self.target = head.target
        self.headers = head.headers
        self._names = head.names

    def start(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes = b""
    ) -> None:
        """Begin the reply. Without a ``Content-Length`` among the headers it is chunked."""
        fields = self._with_extra(list(headers))
        sized = status in BODYLESS or any(name.lower() == _LENGTH for name, _ in fields)
        self.start_with(status_line(status, reason) + field_lines(fields), sized)

    def start_with(self, lines: bytes, sized: bool) -> None:
        """Begin the reply with these lines. Where its length is not in them it is chunked."""
        self.started = True
        self.chunked = not sized and self.minor > 0
        if self.chunked:
            lines += b"Transfer-Encoding: chunked\r\n"
        elif not sized:
            self.keep_alive = False
        if self._wire.closing_after(self):
            lines += b"Connection: close\r\n"
        elif self.minor == 0:
            lines += b"Connection: keep-alive\r\n"
        self._wire.put(lines + b"\r\n")

    def write(self, data: bytes) -> None:
        """Pass on a part of the body; ``flush`` sends it."""
        if self.closed or not data or self.method == b"HEAD":
            return
        if self.chunked and len(data) < _SMALL:
            self._wire.put(b"%x\r\n%b\r\n" % (len(data), data))
        elif self.chunked:
            self._wire.put(b"%x\r\n" % len(data))
            self._wire.put(data)
            self._wire.put(b"\r\n")
        else:
            self._wire.put(data)

    def flush(self) -> None:
        """Send what was written."""
        self._wire.flush()

    def end(self) -> None:
        """The reply is complete."""
        if self.closed:
            return
        self.closed = True
        if self.lease is not None:
            self.lease.leave()
        if self.chunked and self.method != b"HEAD":
            self._wire.put(b"0\r\n\r\n")
        self._wire.finished(self)

    def abort(self) -> None:
        """The reply cannot be completed: cut the connection, so that the client sees it."""
        if not self.closed:
            self.closed = True
            if self.lease is not None:
                self.lease.leave()
            self._wire.abort()

    def respond(
        self, status: int, body: bytes, content_type: bytes, headers: Headers | None = None
    ) -> None:
        """Send a whole reply."""
        kind = b"Content-Type: %b\r\n" % content_type if content_type else b""
        length = b"Content-Length: %d\r\n" % len(body)
        fields = self._with_extra(headers or [])
        further = field_lines(fields) if fields else b""
        self.start_with(status_line(status) + kind + length + further, sized=True)
        self.write(body)
        self.end()

    def _with_extra(self, fields: Headers) -> Headers:
        if not self.extra_headers:
            return fields
        names = {name.lower() for name, _ in fields}
        return [*fields, *(extra for extra in self.extra_headers if extra[0].lower() not in names)]

    def gone(self) -> None:
        """The client is gone: tell whoever serves this request."""
        if not self.closed:
            self.closed = True
            if self.lease is not None:
                self.lease.leave()
            if self.on_gone is not None:
                self.on_gone()

"""The response to one HTTP request, written to the connection that the request came by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from exporter.transport.http.head import BODYLESS, Headers, field_lines, reply_start, status_line

_LENGTH = b"content-length"
_SMALL = 4096
"""Bytes of a chunk that is rather copied once more than put together from three pieces."""


class ResponseSink(Protocol):
    """The connection that a response goes by."""

    def closing_after(self, response: Response) -> bool:
        """Whether the connection ends with this response."""

    def put(self, data: bytes, /) -> None:
        """Add to what the next flush sends."""

    def flush(self) -> None:
        """Send what was put."""

    def finished(self, response: Response) -> None:
        """The response is complete."""

    def abort(self) -> None:
        """Cut the connection."""


class ResponseWatcher(Protocol):
    """What writes a response in pieces, and is told how its client fares."""

    def client_gone(self) -> None:
        """The client closed the connection before the response was complete."""

    def client_paused(self, paused: bool) -> None:
        """The client reads more slowly than the response comes, or has caught up."""


class Slot(Protocol):
    """What a request holds while it is served: part of a limit."""

    def release(self) -> None:
        """Let another request have it."""


class Response:
    """Written whole by ``send``, or in pieces: ``start``, ``write`` and ``flush``, ``end``."""

    __slots__ = (
        "_sink",
        "chunked",
        "closed",
        "extra_headers",
        "is_bodyless",
        "keep_alive",
        "minor",
        "slot",
        "started",
        "watcher",
    )

    def __init__(self, sink: ResponseSink) -> None:
        self._sink = sink
        self.minor = 1
        """Of the client's HTTP version."""
        self.keep_alive = True
        self.is_bodyless = False
        """Whether the request was a HEAD."""
        self.started = False
        self.chunked = False
        self.closed = False
        self.extra_headers: Sequence[tuple[bytes, bytes]] = ()
        """Headers that every response of a listener bears, unless it sets them itself."""
        self.slot: Slot | None = None
        """What is given back when the response is complete, or the client gone."""
        self.watcher: ResponseWatcher | None = None

    def send(
        self, status: int, body: bytes, content_type: bytes, headers: Headers | None = None
    ) -> None:
        """Send a whole response."""
        further = field_lines(headers) if headers else b""
        if self.extra_headers:
            further += field_lines(self._extra(headers or ()))
        lines = b"%b%d\r\n%b" % (reply_start(status, content_type), len(body), further)
        self.start_with(lines, sized=True)
        self.write(body)
        self.end()

    def start(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes = b""
    ) -> None:
        """Begin the response. Without a ``Content-Length`` among the headers it is chunked."""
        fields = list(headers)
        fields += self._extra(fields)
        sized = status in BODYLESS or any(name.lower() == _LENGTH for name, _ in fields)
        self.start_with(status_line(status, reason) + field_lines(fields), sized)

    def start_with(self, lines: bytes, sized: bool) -> None:
        """Begin the response with these lines. Where its length is not in them it is chunked."""
        self.started = True
        self.chunked = not sized and self.minor > 0
        if self.chunked:
            lines += b"Transfer-Encoding: chunked\r\n"
        elif not sized:
            self.keep_alive = False
        if self._sink.closing_after(self):
            lines += b"Connection: close\r\n"
        elif self.minor == 0:
            lines += b"Connection: keep-alive\r\n"
        self._sink.put(lines + b"\r\n")

    def write(self, data: bytes) -> None:
        """Pass on a part of the body; ``flush`` sends it."""
        if self.closed or not data or self.is_bodyless:
            return
        if self.chunked and len(data) < _SMALL:
            self._sink.put(b"%x\r\n%b\r\n" % (len(data), data))
        elif self.chunked:
            self._sink.put(b"%x\r\n" % len(data))
            self._sink.put(data)
            self._sink.put(b"\r\n")
        else:
            self._sink.put(data)

    def flush(self) -> None:
        """Send what was written."""
        self._sink.flush()

    def end(self) -> None:
        """The response is complete."""
        if self.closed:
            return
        self._close()
        if self.chunked and not self.is_bodyless:
            self._sink.put(b"0\r\n\r\n")
        self._sink.finished(self)

    def abort(self) -> None:
        """The response cannot be completed: cut the connection, so that the client sees it."""
        if not self.closed:
            self._close()
            self._sink.abort()

    def gone(self) -> None:
        """The client is gone: tell what serves the request."""
        if not self.closed:
            self._close()
            if self.watcher is not None:
                self.watcher.client_gone()

    def _close(self) -> None:
        self.closed = True
        if self.slot is not None:
            self.slot.release()

    def _extra(self, own: Iterable[tuple[bytes, bytes]]) -> Headers:
        names = {name.lower() for name, _ in own}
        return [field for field in self.extra_headers if field[0].lower() not in names]

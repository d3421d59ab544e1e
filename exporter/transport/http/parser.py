"""What a client's bytes mean as HTTP/1.1: whole requests in their order, or why there are none."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import httptools

from exporter.transport.http.request import Request
from exporter.transport.http.response import Response, ResponseSink

_OFFER = frozenset({b"connection", b"upgrade", b"http2-settings", b"expect"})
_SMALL = 64 * 1024
"""Bytes of a body that are read of anybody; a larger one is looked at before it comes."""


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Bounds of one listener: sizes in bytes, times in seconds."""

    head_bytes: int = 64 * 1024
    body_bytes: int = 4 * 1024 * 1024
    read_timeout: float = 30.0
    idle_timeout: float = 75.0
    write_timeout: float = 60.0
    connections: int = 1000


class ParserClient(ResponseSink, Protocol):
    """The connection that the bytes come by."""

    def begins(self) -> None:
        """The first bytes of a request have arrived."""

    def screen(self, request: Request) -> tuple[int, str] | None:
        """Why a request is refused whose large body has not come yet, or ``None``."""

    def ask_for_body(self) -> None:
        """The client waits for a word before it sends the body."""


class RequestError(Exception):
    """Why a request is not served, with the status of its response. Raised inside the parser's
    callbacks, it stops the reading."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestParser:
    """Reads the requests of one connection. After one that was refused it reads no more."""

    def __init__(self, client: ParserClient, limits: ListenerLimits) -> None:
        self._client = client
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._body: list[bytes] = []
        self._head_size = 0
        self._body_size = 0
        self._unheard = 0
        self.arriving: Request | None = None
        """What has begun and is not whole yet."""
        self.whole: deque[tuple[Request, RequestError | None]] = deque()
        """What is to be served next, and why it is refused; none comes after a refused one."""
        self.is_done = False

    def feed(self, data: bytes) -> None:
        """Read on; what is whole then, or refused, is in ``whole``."""
        self._unheard += len(data)
        try:
            self._parser.feed_data(data)
            if self._unheard > self._limits.head_bytes and self.arriving is not None:
                # The parser itself keeps one endless header or trailer, and says nothing of it.
                self.refuse(431, "head_too_large")
        except httptools.HttpParserUpgrade as upgrade:
            self._decline_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not (self.whole and not self.whole[-1][0].response.keep_alive):
                self._refuse_unreadable(error)
            self.is_done = True

    def refuse(self, status: int, reason: str) -> None:
        """Read no more: what is arriving breaks the rules of HTTP or a limit."""
        self._refuse(self.arriving or self._new_request(), RequestError(status, reason))

    def _new_request(self) -> Request:
        return Request(Response(self._client))

    def _refuse(self, request: Request, error: RequestError) -> None:
        self.arriving = None
        request.response.keep_alive = False
        self.whole.append((request, error))
        self.is_done = True

    def _refuse_unreadable(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if isinstance(cause, RequestError):
            self.refuse(cause.status, cause.reason)
        else:
            self.refuse(400, "bad_request")

    def _decline_upgrade(self, rest: bytes) -> None:
        # No other protocol is spoken here, so the request counts as one without the offer
        # (RFC 9110, section 7.8). The parser stops before such a request's body: it reads the
        # head once more, as if nothing had been offered.
        offered, _ = self.whole.pop()
        if offered.method == b"CONNECT":
            self._refuse(offered, RequestError(400, "bad_request"))
            return
        self._parser = httptools.HttpRequestParser(self)
        head = [b"%b %b HTTP/1.1" % (offered.method, offered.target)]
        head += [b"%b: %b" % field for field in offered.headers if field[0].lower() not in _OFFER]
        self.feed(b"\r\n".join([*head, b"\r\n"]) + rest)

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A new request starts."""
        self.arriving = self._new_request()
        self._client.begins()
        self._body.clear()
        self._head_size = self._body_size = self._unheard = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target arrived."""
        self._grow_head(len(url))
        if self.arriving is not None:
            self.arriving.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header arrived."""
        self._grow_head(len(name) + len(value))
        if self.arriving is not None:
            # The parser keeps trailing blanks, which are not part of the value (RFC 9110, 5.5).
            self.arriving.headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is complete: check it before the body comes."""
        request = self.arriving
        if request is None:
            return
        response = request.response
        request.method = self._parser.get_method()
        response.is_bodyless = request.method == b"HEAD"
        response.minor = int(self._parser.get_http_version() == "1.1")
        response.keep_alive = self._parser.should_keep_alive()
        hosts = sum(name.lower() == b"host" for name, _ in request.headers)
        if hosts > 1 or (response.minor and not hosts):  # RFC 9112, section 3.2
            raise RequestError(400, "bad_request")
        length = request.header(b"content-length")
        if length is not None and int(length) > self._limits.body_bytes:
            raise RequestError(413, "body_too_large")
        if request.header(b"transfer-encoding") or (length and int(length) > _SMALL):
            refused = self._client.screen(request)
            if refused is not None:
                raise RequestError(*refused)
        expected = request.header(b"expect") or b""
        if expected.lower() == b"100-continue" and response.minor:
            self._client.ask_for_body()

    def on_body(self, body: bytes) -> None:
        """A part of the body arrived."""
        self._unheard = 0
        self._body_size += len(body)
        if self._body_size > self._limits.body_bytes:
            raise RequestError(413, "body_too_large")
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        request, self.arriving = self.arriving, None
        if request is None:
            return
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        request.received = monotonic()
        self.whole.append((request, None))

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._limits.head_bytes:
            raise RequestError(431, "head_too_large")

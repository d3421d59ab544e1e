"""What a client's bytes mean as HTTP/1.1: whole requests in their order, or why there are none.

What a request may cost is bounded in bytes and in pieces: headers, and chunks of a body, whose
number would otherwise cost far more than their size.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import httptools

from exporter.transport.http.head import Headers, traceparent_of
from exporter.transport.http.origin import host_name
from exporter.transport.http.request import Request
from exporter.transport.http.response import Response, ResponseSink

log = logging.getLogger(__name__)

_OFFERED = frozenset({b"upgrade", b"http2-settings"})
_NOT_REPEATED = _OFFERED | {b"connection"}
_SINGLE = (b"host", b"origin")
"""Headers that decide whether a request is accepted: a second one could say something else."""
_SCREENED = 64 * 1024
"""Bytes of a body that are read of anybody; a larger one is looked at before it comes."""
_MOST_HEADERS = 100
_MANY_CHUNKS = 4096
_LEAST_CHUNK = 64
"""Bytes of a chunk on average, once a body has come in many."""
_BAD_REQUEST = "bad_request"


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
        """Why a request is rejected whose large body has not come yet, or ``None``."""

    def ask_for_body(self) -> None:
        """The client waits for 100 Continue before it sends the body."""


class RequestError(Exception):
    """Why a request is not served, with the status of its response. Raised inside the parser's
    callbacks, it stops the reading."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class RequestParser:
    """Reads the requests of one connection. After one that was rejected it reads no more."""

    def __init__(self, client: ParserClient, limits: ListenerLimits) -> None:
        self._client = client
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._body = bytearray()
        self._chunks = 0
        self._head_size = 0
        self._unparsed = 0
        self._is_head_whole = False
        self.arriving: Request | None = None
        """What has begun and is not whole yet."""
        self.whole: deque[tuple[Request, RequestError | None]] = deque()
        """What is to be served next, and why it is rejected; none comes after a rejected one."""
        self.is_done = False

    def feed(self, data: bytes | memoryview) -> None:
        """Read on; what is whole then, or rejected, is in ``whole``."""
        pieces = [data]
        while pieces and not self.is_done:
            pieces[:1] = self._feed(pieces[0])

    def reject(self, status: int, reason: str) -> None:
        """Read no more: what is arriving breaks the rules of HTTP or a limit."""
        self._reject(self.arriving or self._new_request(), RequestError(status, reason))

    def close(self) -> None:
        """Forget what has come: nobody waits for it any more."""
        self.arriving = None
        self._body = bytearray()
        self.whole.clear()
        self.is_done = True

    def _feed(self, data: bytes | memoryview) -> Sequence[bytes | memoryview]:
        """What is to be read next: after an upgrade was declined, some of the data once more."""
        self._unparsed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._decline_upgrade(memoryview(data)[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not (self.whole and not self.whole[-1][0].response.keep_alive):
                self._reject_unreadable(error)
            self.is_done = True
            return ()
        if self._unparsed > self._limits.head_bytes and self.arriving is not None:
            # The parser itself keeps one endless header or trailer, and says nothing of it.
            self.reject(431, "head_too_large")
        return ()

    def _new_request(self) -> Request:
        return Request(Response(self._client))

    def _reject(self, request: Request, error: RequestError) -> None:
        self.arriving = None
        self._body = bytearray()
        request.response.keep_alive = False
        self.whole.append((request, error))
        self.is_done = True

    def _reject_unreadable(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__
        if isinstance(cause, RequestError):
            self.reject(cause.status, cause.reason)
            return
        if cause is not None:
            log.error("a request could not be read", exc_info=cause)
        self.reject(400, _BAD_REQUEST)

    def _decline_upgrade(self, rest: memoryview) -> Sequence[bytes | memoryview]:
        # No other protocol is spoken here, so the request counts as one without the offer
        # (RFC 9110, section 7.8). The parser stops before such a request's body: it reads the
        # head once more, as if nothing had been offered.
        offered, _ = self.whole.pop()
        if offered.method == b"CONNECT":
            self._reject(offered, RequestError(400, _BAD_REQUEST))
            return ()
        self._parser = httptools.HttpRequestParser(self)
        return _without_offer(offered), rest

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A new request starts."""
        self.arriving = self._new_request()
        self._client.begins()
        self._body = bytearray()
        self._chunks = self._head_size = self._unparsed = 0
        self._is_head_whole = False

    def on_url(self, url: bytes) -> None:
        """A part of the target arrived."""
        self._grow_head(len(url))
        if self.arriving is not None:
            self.arriving.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header arrived, or a trailer: these are dropped, for the head was checked already."""
        self._grow_head(len(name) + len(value))
        if self.arriving is None or self._is_head_whole:
            return
        headers = self.arriving.headers
        if len(headers) >= _MOST_HEADERS:
            raise RequestError(431, "head_too_large")
        # The parser keeps trailing blanks, which are not part of the value (RFC 9110, 5.5).
        headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is complete: check it before the body comes."""
        request = self.arriving
        if request is None:
            return
        self._is_head_whole = True
        response = request.response
        request.method = self._parser.get_method()
        response.is_bodyless = request.method == b"HEAD"
        response.minor = _minor(self._parser.get_http_version())
        response.keep_alive = self._parser.should_keep_alive()
        _check_framing(request)
        _check_host(request)
        if request.header(b"traceparent") is not None:
            request.traceparent = traceparent_of(request.headers)
        length = int(request.header(b"content-length") or 0)
        if length > self._limits.body_bytes:
            raise RequestError(413, "body_too_large")
        if length > _SCREENED or request.header(b"transfer-encoding"):
            rejected = self._client.screen(request)
            if rejected is not None:
                raise RequestError(*rejected)
        expected = request.header(b"expect") or b""
        if expected.lower() == b"100-continue" and response.minor:
            self._client.ask_for_body()

    def on_body(self, body: bytes) -> None:
        """A part of the body arrived."""
        self._unparsed = 0
        self._body += body
        if len(self._body) > self._limits.body_bytes:
            raise RequestError(413, "body_too_large")
        self._chunks += 1
        if self._chunks > _MANY_CHUNKS and len(self._body) < self._chunks * _LEAST_CHUNK:
            raise RequestError(400, _BAD_REQUEST)

    def on_message_complete(self) -> None:
        """The request is whole."""
        request, self.arriving = self.arriving, None
        if request is None:
            return
        request.body = bytes(self._body)
        self._body = bytearray()
        request.received = monotonic()
        self.whole.append((request, None))

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._limits.head_bytes:
            raise RequestError(431, "head_too_large")


def _minor(version: str) -> int:
    if version not in ("1.0", "1.1"):
        raise RequestError(505, _BAD_REQUEST)
    return int(version == "1.1")


def _check_framing(request: Request) -> None:
    codings = [value for name, value in request.headers if name.lower() == b"transfer-encoding"]
    if not codings:
        return
    if not request.response.minor:  # RFC 9112, section 6.1
        raise RequestError(400, _BAD_REQUEST)
    if [coding.lower() for coding in codings] != [b"chunked"]:
        raise RequestError(501, _BAD_REQUEST)


def _check_host(request: Request) -> None:
    """RFC 9112, section 3.2, and the form of a target that names the host itself."""
    names = [name.lower() for name, _ in request.headers]
    if any(names.count(name) > 1 for name in _SINGLE):
        raise RequestError(400, _BAD_REQUEST)
    host = request.header(b"host")
    if host is None and request.response.minor:
        raise RequestError(400, _BAD_REQUEST)
    if request.target[:1] not in b"/*" and request.method != b"CONNECT":
        host = _take_origin_form(request)
    if host is not None and host_name(host) is None:
        raise RequestError(400, _BAD_REQUEST)


def _take_origin_form(request: Request) -> bytes:
    """Let a target with scheme and host count as one of that host (RFC 9112, section 3.2.2)."""
    scheme, _, rest = request.target.partition(b"://")
    if scheme.lower() not in (b"http", b"https"):
        raise RequestError(400, _BAD_REQUEST)
    end = min((rest.find(mark) for mark in b"/?" if mark in rest), default=len(rest))
    host, target = rest[:end], rest[end:]
    request.target = target if target.startswith(b"/") else b"/" + target
    request.replace_header(b"Host", host)
    return host


def _without_offer(request: Request) -> bytes:
    """The head of a request without the offer of another protocol."""
    minor = request.response.minor
    lines = [b"%b %b HTTP/1.%d" % (request.method, request.target, minor)]
    kept: Headers = [field for field in request.headers if field[0].lower() not in _NOT_REPEATED]
    named = [
        token.strip()
        for name, value in request.headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    ]
    named = [token for token in named if token.lower() not in _OFFERED]
    if named:
        kept.append((b"Connection", b", ".join(named)))
    return b"\r\n".join([*lines, *(b"%b: %b" % field for field in kept), b"", b""])

"""One client's connection: HTTP/1.1 without a framework.

It owes its client what any server does: limits, timeouts, back-pressure, pipelining, chunked
bodies both ways, ``Expect: 100-continue``, rejections that arrive, and a graceful drain
(RFC 9112). A request is handed over whole; a response may be streamed.

A client that ends its side of the connection while it waits counts as gone, as with nginx: at
protocol version 2026-07-28 that is how a request is cancelled.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Protocol, cast

from exporter.transport.http.head import HeadCache, RequestHead, head_of, without_traceparent
from exporter.transport.http.parser import ListenerLimits, RequestParser
from exporter.transport.http.request import Request
from exporter.transport.http.response import Response
from exporter.transport.turn import Turn

_BACKLOG = 64 * 1024
"""Bytes that a client may send ahead of the responses that it waits for."""
_SLICE = 16 * 1024
"""Bytes that are parsed at once."""
_NEVER = float("inf")
_FULL_READ = 128 * 1024
"""Bytes of a read after which more may be waiting: uvloop then reads on, up to eight megabytes."""
_LINGER = 2.0
"""Seconds that a client is given to read why it was rejected."""
SURPLUS = 100
"""Connections over the limit that are told so; further ones are cut at once."""


class Application(Protocol):
    """What serves the requests of a listener."""

    def admits(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a new connection may stay, by what its client presented."""

    def screen(self, request: Request) -> tuple[int, str] | None:
        """Why a request is rejected whose large body has not come yet, or ``None``."""

    def handle(self, request: Request) -> None:
        """Serve a request, now or later, through its response."""

    def reject(self, request: Request, status: int, reason: str) -> None:
        """Respond to a request that broke the rules of HTTP or a limit."""

    def cut(self, reason: str) -> None:
        """A connection was cut in the middle of a response, for this reason."""


class ServerState(Protocol):
    """What the connections of one listener share."""

    application: Application
    loop: asyncio.AbstractEventLoop
    limits: ListenerLimits
    heads: HeadCache[RequestHead]
    connections: set[Connection]
    draining: bool
    turn: Turn

    def connection_closed(self) -> None:
        """A connection is gone."""


class Connection(asyncio.Protocol):
    """Has its client's requests read, and serves them one after the other.

    Nothing is parsed while a request is served or its response is not read: what arrives then is
    kept up to a bound, beyond which the connection is cut. Reading goes on, for an end that is
    not read is not noticed.
    """

    def __init__(self, listener: ServerState) -> None:
        self._listener = listener
        self._limits = listener.limits
        self._loop = listener.loop
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(self, listener.limits)
        self._serving: Response | None = None
        self._head: RequestHead | None = None
        """The known head that came last: most often the next one is the same."""
        self._backlog = bytearray()
        self._out: list[bytes] = []
        self.put = self._out.append
        self._paused = False
        self._is_rejecting = False
        self._owes_continue = False
        self.deadline = listener.loop.time() + self._limits.read_timeout

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        if not self._listener.application.admits(transport):
            cast("asyncio.Transport", transport).abort()
            return
        listener = self._listener
        self._transport = cast("asyncio.Transport", transport)
        listener.connections.add(self)
        if len(listener.connections) > listener.limits.connections:
            self._reject(503, "too_many_connections")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The connection is closed, by whichever side."""
        self._listener.connections.discard(self)
        self._transport = None
        self._parser.close()
        self._backlog.clear()
        if self._serving is not None:
            self._listener.turn.take(self._tell_gone)
        self._listener.connection_closed()

    def eof_received(self) -> bool:
        """The client has no more to say, and counts as gone."""
        return False

    def data_received(self, data: bytes) -> None:
        """Bytes arrived: parse them, or keep a bounded part for later."""
        if len(data) >= _FULL_READ:
            self._yield_turn()
        parser = self._parser
        if parser.is_done:
            return
        # As in _is_busy, without a call: every request passes here.
        if self._serving is not None or self._paused or parser.whole or self._backlog:
            self._keep(data)
        elif parser.arriving is not None or not self._serve_known(data):
            self._parse(data)

    def pause_writing(self) -> None:
        """The client reads more slowly than the response comes."""
        self._paused = True
        self.deadline = self._loop.time() + self._limits.write_timeout
        self._tell_pace()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused = False
        if self._serving is None:
            self._rest()
        else:
            self.deadline = _NEVER
            self._tell_pace()

    # What the parser calls

    def begins(self) -> None:
        """The first bytes of a request have arrived: the rest must follow in time."""
        self._owes_continue = False
        self.deadline = self._loop.time() + self._limits.read_timeout

    def screen(self, request: Request) -> tuple[int, str] | None:
        """Why a request is rejected whose large body has not come yet, or ``None``."""
        return self._listener.application.screen(request)

    def ask_for_body(self) -> None:
        """The client waits for 100 Continue before it sends the body."""
        self._owes_continue = True

    # What responses call

    def closing_after(self, response: Response) -> bool:
        """Whether the connection ends with this response."""
        if self._listener.draining:
            response.keep_alive = False
        return not response.keep_alive

    def flush(self) -> None:
        """Send what was put, in one piece."""
        if self._out and self._transport is not None:
            self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()

    def finished(self, response: Response) -> None:
        """A response is complete: go on with the next request, or close."""
        self.flush()
        if self._serving is response:
            self._serving = None
        if self._transport is None:
            return
        if not response.keep_alive:
            self._hang_up()
        elif not self._paused:
            self._rest()

    def abort(self) -> None:
        """Cut the connection."""
        self._out.clear()
        if self._transport is not None:
            self._transport.abort()

    def close_if_idle(self) -> None:
        """Close now unless a request is being read or served."""
        is_idle = self._serving is None and self._parser.arriving is None
        if self._transport is not None and is_idle:
            self._transport.close()

    def expire(self) -> None:
        """The deadline has passed: respond where a request was begun, and close."""
        parser = self._parser
        if self._paused:
            self._listener.application.cut("write_timeout")
            self.abort()
        elif parser.arriving is not None and self._serving is None and not parser.is_done:
            self._reject(408, "read_timeout")
        else:
            self.abort()

    @property
    def is_waiting(self) -> bool:
        """Whether its time runs: it is idle, half read, or its client does not read."""
        return self._serving is None or self._paused

    # Inside

    def _tell_gone(self) -> None:
        """End what is served, unless it has ended by itself in the meantime."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.gone()

    @property
    def _is_busy(self) -> bool:
        return self._serving is not None or self._paused or bool(self._parser.whole)

    def _parse(self, data: bytes) -> None:
        """Parse in slices, up to the first request that is not served at once: what is parsed
        costs many times its bytes."""
        parser, start = self._parser, 0
        is_fresh = parser.arriving is None
        view = data if len(data) <= _SLICE else memoryview(data)
        while start < len(data) and not parser.is_done and not self._is_busy:
            parser.feed(view[start : start + _SLICE] if start or len(data) > _SLICE else data)
            if is_fresh and not start:
                self._learn(data)
            start += _SLICE
            self._serve_next()
        if not parser.is_done and start < len(data):
            self._keep(view[start:])

    def _keep(self, data: bytes | memoryview) -> None:
        """Keep what has come for later, up to a bound."""
        self._backlog += data
        if len(self._backlog) > _BACKLOG:
            self._listener.application.cut("pipeline_too_large")
            self.abort()

    def _serve_known(self, data: bytes) -> bool:
        """Serve a whole request whose head was seen before, past the parser."""
        head, traceparent = self._head, None
        if head is None or not head.begins(data):
            head = self._head = self._known_head(data)
        if head is None or len(data) - head.size != head.length:
            return False
        if head.length > self._limits.body_bytes:
            return False  # learnt when more was allowed
        if head.is_traced and (traceparent := head.traceparent_of(data)) is None:
            return False
        response = self._serving = Response(self)
        request = Request(
            response,
            head,
            head.method,
            head.target,
            head.headers,
            head.names,
            traceparent,
            data[head.size :],
            monotonic(),
        )
        self.deadline = _NEVER
        self._listener.application.handle(request)
        return True

    def _known_head(self, data: bytes) -> RequestHead | None:
        text = data[: data.find(b"\r\n\r\n") + 4]
        head = self._listener.heads.get(text)
        if head is None and (cut := without_traceparent(text)) is not None:
            return self._listener.heads.get(cut[0])
        return head

    def _learn(self, data: bytes) -> None:
        parser = self._parser
        request, error = parser.whole[0] if parser.whole else (parser.arriving, None)
        if request is None or error is not None or not _is_usual(request):
            return
        text = head_of(data, b"POST " + request.target + b" HTTP/1.1\r\n", request.names)
        if text is not None and b"traceparent" in request.names:
            cut = without_traceparent(text) if request.traceparent is not None else None
            text = None if cut is None else cut[0]
        if text is not None:
            names = request.names
            head = RequestHead(text, request.method, request.target, request.headers, names)
            request.take(head)
            self._listener.heads.keep(text, head)

    def _reject(self, status: int, reason: str) -> None:
        self._parser.reject(status, reason)
        self._serve_next()

    def _serve_next(self) -> None:
        if self._serving is not None or self._paused or self._transport is None:
            return
        if not self._parser.whole:
            self._continue()
            return
        request, error = self._parser.whole.popleft()
        self._serving = request.response
        self.deadline = _NEVER
        if error is None:
            self._listener.application.handle(request)
        else:
            self._is_rejecting = True
            self._listener.application.reject(request, error.status, error.reason)

    def _continue(self) -> None:
        # Not before the requests ahead of it have their responses.
        if self._owes_continue and self._parser.arriving is not None and self._transport:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._owes_continue = False

    def _rest(self) -> None:
        """Be idle, or go on with what arrived in the meantime."""
        is_arriving = self._parser.arriving is not None
        limits = self._limits
        rest = limits.read_timeout if is_arriving else limits.idle_timeout
        self.deadline = self._loop.time() + rest
        if self._parser.whole or self._backlog or self._owes_continue:
            # Not from within: a client that pipelines must not grow the stack.
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._serving is not None or self._paused or self._transport is None:
            return
        if self._parser.whole or not self._backlog:
            self._serve_next()
        else:
            data = bytes(self._backlog)
            self._backlog.clear()
            self._parse(data)

    def _yield_turn(self) -> None:
        """Let others have their turn: a full read is followed by the next one at once."""
        if self._transport is not None:
            self._transport.pause_reading()
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _hang_up(self) -> None:
        if self._transport is None:
            return
        if not self._is_rejecting:
            self.deadline = self._loop.time() + self._limits.write_timeout
            self._transport.close()
            return
        # Closing with unread bytes would reset the connection, and the rejection with it.
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self.deadline = self._loop.time() + _LINGER

    def _tell_pace(self) -> None:
        if self._serving is not None and self._serving.watcher is not None:
            self._serving.watcher.client_paused(self._paused)


def _is_usual(request: Request) -> bool:
    # The method first: it is known when the head is whole, and what is asked of a head is kept.
    if request.method != b"POST" or not request.response.keep_alive:
        return False
    return request.header(b"content-length") is not None

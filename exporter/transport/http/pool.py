"""Kept connections to one upstream: a small HTTP/1.1 client on asyncio and httptools.

A request is sent once. A kept connection may have been closed by the server just then, and
whether the server had read the request cannot be known, so it is never sent again; instead a
connection is given up before the common servers close theirs (five seconds).
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from time import monotonic
from typing import Protocol, cast
from urllib.parse import SplitResult, urlsplit

import httptools

from exporter.protocol.failures import Fault, UpstreamError
from exporter.transport.http.connector import Connector
from exporter.transport.http.head import BODYLESS, HeadCache, Headers, ReplyHead, head_of
from exporter.transport.http.keepalive import keep_alive
from exporter.transport.http.opening import told_of_its_end
from exporter.transport.turn import Turn

log = logging.getLogger(__name__)

KEEP_IDLE = 4.0
"""Seconds that an unused connection is kept: uvicorn and Node.js close theirs after five."""

CONNECT_TIMEOUT = 10.0

MAX_HEAD = 256 * 1024
"""Bytes of a reply's head or trailer; the parser itself would keep any number."""

_OWN_FAILURE = "could not be read: the exporter itself failed, see its log"
_MOST_HEADERS = 200
_READABLE_CODINGS = frozenset({b"chunked", b"identity"})

_KNOWN_HEADS = 64
_FULL_READ = 128 * 1024  # bytes: there is more where so much came from


class Consumer(Protocol):
    """What takes a reply, in pieces, in this order: head, body…, end or lost."""

    def head(self, head: ReplyHead) -> None:
        """The reply's head."""

    def body(self, data: bytes) -> None:
        """A part of the body, without transfer coding."""

    def end(self) -> None:
        """The reply is complete."""

    def flush(self) -> None:
        """Nothing more has arrived for now."""

    def lost(self, error: UpstreamError) -> None:
        """There will be no (more) reply."""


class PendingRequest:
    """A request without its whole reply."""

    __slots__ = ("arrived", "connection", "done", "sent", "task")

    def __init__(self) -> None:
        self.sent = 0.0
        self.arrived = 0.0
        self.connection: UpstreamConnection | None = None
        """The connection that the request goes over."""
        self.task: asyncio.Task[None] | None = None
        """What opens a connection for the request."""
        self.done = False

    def abort(self) -> None:
        """Give the request up: its consumer is not called again."""
        if self.done:
            return
        self.done = True
        if self.task is not None:
            self.task.cancel()
            self.task = None  # it goes on to hold the request, as does what it was cancelled with
        if self.connection is not None:
            self.connection.abort()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the reply: the client's pace is the server's."""
        if not self.done and self.connection is not None:
            self.connection.pause(paused)


class UpstreamConnection(asyncio.Protocol):
    """One connection to the upstream; carries one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._consumer: Consumer | None = None
        self._pending: PendingRequest | None = None
        self._reason = b""
        self._headers: Headers = []
        self._head: ReplyHead | None = None
        self._known: ReplyHead | None = None
        """The known head that came last: most often the next one is the same."""
        self._is_first = False
        self._unparsed = 0
        self._until_close = False
        self._interim = False
        self._keep = True
        self._paused = False
        self._is_yielding = False
        self.idle_since = 0.0

    def send(self, payload: bytes, consumer: Consumer, pending: PendingRequest) -> None:
        """Send one request."""
        assert self._transport is not None  # noqa: S101
        self._consumer = consumer
        self._pending = pending
        self._head = None
        self._is_first = True
        self._unparsed = 0
        pending.connection = self
        self._transport.write(payload)
        pending.sent = monotonic()

    def abort(self) -> None:
        """Close without waiting for the reply."""
        self._consumer = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        if self._transport is not None:
            self._transport.close()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        if not self.is_usable or self._transport is None or paused is self._paused:
            return
        self._paused = paused
        if self._is_yielding:
            return
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _yield(self) -> None:
        """Let other connections run: libuv reads a socket up to 32 times in one iteration."""
        if self.is_usable and self._transport is not None and not self._paused:
            self._is_yielding = True
            self._transport.pause_reading()
            self._pool.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._is_yielding = False
        if self.is_usable and self._transport is not None and not self._paused:
            self._transport.resume_reading()

    @property
    def is_usable(self) -> bool:
        """Whether another request may be sent over it."""
        return self._transport is not None and not self._transport.is_closing()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.live.add(self)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            keep_alive(connection)

    def data_received(self, data: bytes) -> None:
        """A part of a reply arrived."""
        if self._consumer is None:
            self.abort()  # no request is pending: a connection with unasked bytes is not reused
            return
        if self._pending is not None:
            self._pending.arrived = monotonic()
        is_first, self._is_first = self._is_first, False
        if is_first and self._take_known(data):
            return
        self._unparsed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail_reading(error)
            return
        if self._unparsed > MAX_HEAD and self._consumer is not None:
            self._fail(f"sent a head of more than {MAX_HEAD} bytes", Fault.PROTOCOL)
            return
        if is_first:
            self._learn(data)
        if self._consumer is not None:
            self._consumer.flush()
        if len(data) >= _FULL_READ and not self._is_yielding:
            self._yield()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._pool.discard(self)
        self._transport = None
        if self._consumer is not None:
            self._pool.turn.take(partial(self._end, exc))

    def _end(self, exc: Exception | None) -> None:
        if self._consumer is None:
            return  # the request was given up in the meantime
        if self._until_close and exc is None:
            self._finish()
        elif exc is not None and not isinstance(exc, OSError):
            self._fail(_OWN_FAILURE)  # the loop has logged it
        else:
            self._fail(f"closed the connection before the reply was complete ({exc or 'EOF'})")

    # httptools callbacks

    def on_message_begin(self) -> None:
        """A reply starts."""
        self._reason = b""
        self._headers = []
        if self._consumer is None:
            self.abort()  # a second reply to one request: the next request would get it

    def on_status(self, reason: bytes) -> None:
        """A part of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if len(self._headers) >= _MOST_HEADERS:
            raise ReplyError(f"more than {_MOST_HEADERS} headers")
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        status = self._parser.get_status_code()
        if status < 100:
            raise ReplyError(f"the status {status}")
        self._interim = status < 200
        if self._interim or self._consumer is None:
            return
        self._unparsed = 0
        _check_codings(self._headers)
        head = self._head = ReplyHead(status, self._reason, self._headers)
        self._keep = self._parser.should_keep_alive()
        self._until_close = not head.is_framed
        self._consumer.head(head)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unparsed = 0
        if self._interim:
            raise ReplyError("an interim reply with a body")
        if self._consumer is not None:
            self._consumer.body(body)

    def on_message_complete(self) -> None:
        """The reply is complete, unless it was an interim one."""
        if not self._interim and self._consumer is not None:
            self._finish()

    def _fail_reading(self, error: Exception) -> None:
        cause = error.__context__
        if cause is None or isinstance(cause, ReplyError):
            self._fail(f"sent what is not HTTP: {cause or error}", Fault.PROTOCOL)
            return
        log.error("a reply could not be passed on", exc_info=cause)
        self._fail(_OWN_FAILURE)

    def _take_known(self, data: bytes) -> bool:
        """Pass on a whole reply whose head was seen before, past the parser."""
        head, consumer = self._known, self._consumer
        if head is None or not data.startswith(head.text):
            head = self._known = self._pool.heads.get(data[: data.find(b"\r\n\r\n") + 4])
        if head is None or len(data) - len(head.text) != head.length or consumer is None:
            return False
        self._interim = self._until_close = False
        self._keep = True
        consumer.head(head)
        consumer.body(data[len(head.text) :])
        if self._consumer is consumer:  # else it gave the request up
            self._finish()
        return True

    def _learn(self, data: bytes) -> None:
        head = self._head
        if head is None or head.length < 0 or not self._keep or head.status in BODYLESS:
            return
        names = [name.lower() for name, _ in head.headers]
        text = head_of(data, b"HTTP/1.1 %d" % head.status, names)
        if text is not None:
            head.text = text
            self._pool.heads.keep(text, head)

    def _finish(self) -> None:
        consumer, self._consumer = self._consumer, None
        if self._pending is not None:
            self._pending.done = True
        if self._paused:
            self.pause(False)
        if self._keep and not self._until_close:
            self._pool.release(self)
        else:
            self.close()
        if consumer is not None:
            consumer.end()

    def _fail(self, text: str, fault: Fault = Fault.CONNECTION) -> None:
        consumer, self._consumer = self._consumer, None
        if self._pending is not None:
            self._pending.done = True
        if self._transport is not None:
            self._transport.abort()
        if consumer is not None:
            consumer.lost(UpstreamError(text, fault))


class ReplyError(Exception):
    """What a server sent is no reply. Raised inside the parser's callbacks."""


def _check_codings(headers: Headers) -> None:
    """No transfer coding but chunked can be undone, and none can be passed on."""
    for name, value in headers:
        if name.lower() == b"transfer-encoding":
            codings = {coding.strip().lower() for coding in value.split(b",")}
            if not codings <= _READABLE_CODINGS:
                raise ReplyError(f"the transfer coding {value.decode('latin-1')[:40]!r}")


class Pool:
    """Connections to the host of one URL, opened as needed and kept while they are used."""

    def __init__(
        self, url: str, loop: asyncio.AbstractEventLoop, connector: Connector | None = None
    ) -> None:
        parts = urlsplit(url)
        self.target = _target(parts)
        self.authority = parts.netloc.rpartition("@")[2].encode(
            "idna" if not parts.netloc.isascii() else "ascii"
        )
        self._connector = connector or Connector(url)
        self.loop = loop
        self._idle: list[UpstreamConnection] = []
        self._opening: set[asyncio.Task[None]] = set()
        self.live: set[UpstreamConnection] = set()
        self.turn = Turn(loop)
        """For what ends with many connections at once."""
        self.heads: HeadCache[ReplyHead] = HeadCache(_KNOWN_HEADS)

    def send(self, payload: bytes, consumer: Consumer) -> PendingRequest:
        """Send a request over a kept connection, or over a new one."""
        pending = PendingRequest()
        if self._connector.prefix:
            payload = _for_proxy(payload, self._connector)
        connection = self._take()
        if connection is not None:
            connection.send(payload, consumer, pending)
            return pending
        task = self.loop.create_task(self._open(payload, consumer, pending))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        pending.task = task
        return pending

    def release(self, connection: UpstreamConnection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since = self.loop.time()
        self._idle.append(connection)

    def discard(self, connection: UpstreamConnection) -> None:
        """Forget a connection that is closed."""
        self.live.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close_stale(self) -> None:
        """Close the connections that are too old to be used again."""
        oldest = self.loop.time() - KEEP_IDLE
        while self._idle and self._idle[0].idle_since < oldest:
            self._idle.pop(0).close()

    def drop_idle(self) -> None:
        """Close what is kept: the next request goes over a new connection."""
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Close every connection; pending requests are lost."""
        for task in self._opening:
            task.cancel()
        for connection in list(self.live):
            connection.close()

    def _take(self) -> UpstreamConnection | None:
        oldest = self.loop.time() - KEEP_IDLE
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= oldest and connection.is_usable:
                return connection
            connection.close()
        return None

    async def _open(self, payload: bytes, consumer: Consumer, pending: PendingRequest) -> None:
        connection = UpstreamConnection(self)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                with told_of_its_end(connection):
                    await self._connector.connect(lambda: connection)
        except (OSError, TimeoutError) as error:
            lost = UpstreamError(f"cannot be reached: {_reason(error)}")
            self.turn.take(partial(_refuse, consumer, pending, lost))
            return
        pending.task = None
        connection.send(payload, consumer, pending)


def _refuse(consumer: Consumer, pending: PendingRequest, error: UpstreamError) -> None:
    if not pending.done:
        pending.done = True
        consumer.lost(error)


def _for_proxy(payload: bytes, connector: Connector) -> bytes:
    """The request with a whole URL for its target (RFC 9112, section 3.2.2)."""
    method, _, rest = payload.partition(b" ")
    line, _, rest = rest.partition(b"\r\n")
    head = b"%b %b%b\r\n%b" % (method, connector.prefix, line, connector.headers)
    return head + rest


def _target(parts: SplitResult) -> bytes:
    path = (parts.path or "/").encode()
    return path + b"?" + parts.query.encode() if parts.query else path


def _reason(error: OSError | TimeoutError) -> str:
    return str(error) or f"no connection within {CONNECT_TIMEOUT:g} s"

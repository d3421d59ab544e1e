"""Relays to a server that speaks HTTP with SSE (protocol version 2024-11-05).

The client opens a stream, whose first event names the address for its messages; the replies
come back on the stream. That address is the one thing rewritten: it leads to the exporter.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from urllib.parse import quote, urljoin, urlsplit

from exporter.config.model import Limits, Server
from exporter.protocol import errors
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.relay.http.endpoint import EndpointRewriter
from exporter.relay.http.relay import Relay
from exporter.relay.http.reply_reader import MOST_INFLATED
from exporter.relay.http.sessions import HttpSession
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl, origin_of
from exporter.telemetry.client_streams import ClientStreams
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.transport.http.head import ReplyHead
from exporter.transport.http.inflate import CODINGS, InflateError, Inflater
from exporter.transport.http.request import Request

_AS_IT_IS = "/?%:@!$&'()*+,;=~[]"
"""Characters of an address that are left as the server wrote them."""


@dataclass(slots=True)
class Mailbox:
    """Where the messages of one stream go at the server, and what waits there."""

    target: bytes
    exchange: Exchange
    session: HttpSession | None = None


class SseUpstream(HttpUpstream):
    """One configured server of the older HTTP transport."""

    places = frozenset({"mcp", "sse", "message"})
    replies_elsewhere = True

    def __init__(
        self,
        server: Server,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        own_url: OwnUrl,
        streams: ClientStreams | None = None,
    ) -> None:
        super().__init__(server, observer, loop, limits, own_url)
        self.streams = streams or ClientStreams()
        self._url = server.url or ""
        self._mailboxes: dict[str, Mailbox] = {}

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Relay a stream, or a message that belongs to one."""
        if request.method == b"GET":
            StreamRelay(self, request).send(self._encode(request))
        elif request.method == b"POST" and _token(request) in self._mailboxes:
            super().handle(request, messages)
        else:
            self._reject(request, messages)

    def open_mailbox(self, token: str, address: bytes, exchange: Exchange) -> bytes | None:
        """Return where the client sends its messages instead; ``None`` for a foreign address."""
        try:
            place = urljoin(self._url, address.decode())
        except ValueError:
            return None
        if origin_of(place) != origin_of(self._url):
            return None
        parts = urlsplit(place)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        mailbox = self._mailboxes.setdefault(token, Mailbox(b"", exchange))
        mailbox.target = quote(target, safe=_AS_IT_IS).encode()
        return f"/message/{token}".encode()

    def soon(self, work: Callable[[], None]) -> None:
        """Do something in the loop's next turn."""
        self._loop.call_soon(work)

    def close_mailbox(self, token: str, outcome: Outcome, fault: str | None) -> None:
        """The stream is over, and nothing more will come on it."""
        mailbox = self._mailboxes.pop(token, None)
        if mailbox is not None:
            self.observer.abandon(mailbox.exchange, outcome, monotonic(), fault)
            self.sessions.end(token.encode(), monotonic())

    def session_of(self, request: Request, messages: Sequence[Message]) -> HttpSession | None:
        """The session behind the address that a message was sent to."""
        mailbox = self._mailboxes.get(_token(request))
        if mailbox is None:
            return None
        if mailbox.session is None:
            token = _token(request).encode()
            first = messages[0] if messages else None
            mailbox.session = self.sessions.open(token, mailbox.exchange, first, monotonic())
        return mailbox.session

    def base_of(self, request: Request) -> bytes:
        """The server's address at the exporter, as this client knows it."""
        return self._own_url.of(request).rpartition("/")[0].encode()

    def _accept_encoding(self, request: Request) -> bytes | None:
        # What is to be rewritten should not be compressed.
        return b"identity" if request.method == b"GET" else super()._accept_encoding(request)

    def _target(self, request: Request) -> bytes:
        mailbox = self._mailboxes.get(_token(request))
        return super()._target(request) if mailbox is None else mailbox.target

    def _reject(self, request: Request, messages: Sequence[Message]) -> None:
        method = messages[0].method if messages else None
        self.recorder.rejected(method, "unknown_session")
        text = "there is no such stream (any more); open one with GET"
        reply = errors.error(errors.INVALID_REQUEST, text)
        request.respond(404, reply, errors.JSON)


class StreamRelay(Relay):
    """The stream of one client: where it says that messages go is rewritten."""

    _inflater: Inflater | None = None
    _rewriter: EndpointRewriter | None = None
    _is_ending = False
    _is_over = False
    _broken = ""
    _fault: str | None = None

    def __init__(self, upstream: SseUpstream, request: Request) -> None:
        self._token = secrets.token_hex(16)
        self._sse_upstream = upstream
        self._ending = Outcome.UPSTREAM_ERROR
        super().__init__(upstream, request, ())

    def head(self, head: ReplyHead) -> None:
        """Pass the head on; the length is no longer what the server says."""
        unwanted = {b"content-length"}
        if head.kind == b"text/event-stream" and head.status == 200:
            self._rewriter = EndpointRewriter(self._own_address)
            self._sse_upstream.streams.opened()
            if head.encoding in CODINGS:  # unasked, for it cannot be rewritten so
                self._inflater = Inflater(head.encoding)
                unwanted.add(b"content-encoding")
        kept = [field for field in head.headers if field[0].lower() not in unwanted]
        super().head(ReplyHead(head.status, head.reason, kept))

    def end(self) -> None:
        """The stream is complete; of an event that is not, the rest passes as it is."""
        self._is_ending = True
        super().end()

    def _pass_on(self) -> bytes:
        data = b"".join(self._unread)
        self._unread.clear()
        if data:
            self._sse_upstream.streams.heard(monotonic())
        if self._inflater is not None:
            data = self._inflated(data, self._inflater)
        if self._rewriter is not None:
            data = self._rewriter.feed(data)
            if self._is_ending:
                data += self._rewriter.rest()
        self._response.write(data)
        return data

    def _inflated(self, data: bytes, inflater: Inflater) -> bytes:
        if self._broken:
            return b""
        whole = bytearray()
        try:
            for piece in inflater.feed(data):
                whole += piece
                if len(whole) > MOST_INFLATED:
                    raise _too_large()
            return bytes(whole)
        except InflateError as error:
            self._broken = f"sent a stream that {error}"
            self._sse_upstream.soon(self._break)  # not in the midst of what is being read
            return b""

    def _break(self) -> None:
        if self._is_over:
            return
        if self._upstream_request is not None:
            self._upstream_request.abort()
        self.lost(UpstreamError(self._broken, Fault.PROTOCOL))

    def _own_address(self, address: bytes) -> bytes | None:
        place = self._sse_upstream.open_mailbox(self._token, address, self._exchange)
        return None if place is None else self._sse_upstream.base_of(self._request) + place

    def lost(self, error: UpstreamError) -> None:
        """The server is lost, and with it what it owes on the stream."""
        self._fault = error.fault.value
        super().lost(error)

    def client_gone(self) -> None:
        """The client closed its stream."""
        self._ending = Outcome.CLIENT_GONE
        super().client_gone()

    def _finish(self) -> None:
        if self._rewriter is not None and not self._is_over:
            self._sse_upstream.streams.closed()
        self._is_over = True
        self._rewriter = None  # it knows this object: no circle is left behind
        self._sse_upstream.close_mailbox(self._token, self._ending, self._fault)
        super()._finish()


def _too_large() -> InflateError:
    text = f"becomes more than {MOST_INFLATED // 1048576} MiB at once"
    return InflateError(text, is_too_large=True)


def _token(request: Request) -> str:
    return request.path.rpartition(b"/")[2].decode("latin-1")

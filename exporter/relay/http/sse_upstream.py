"""Relays to a server that speaks HTTP with SSE (protocol version 2024-11-05).

The client opens a stream, whose first event names the address for its messages; the replies
come back on the stream. That address is the one thing rewritten: it leads to the exporter.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from urllib.parse import urljoin, urlsplit

from exporter.config.model import Limits, Server
from exporter.protocol import errors, sse
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.relay.http.relay import Relay
from exporter.relay.http.sessions import HttpSession
from exporter.relay.http.upstream import HttpUpstream
from exporter.relay.oauth import OwnUrl
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.transport.http.head import ReplyHead
from exporter.transport.http.request import Request

_MAX_FIRST_EVENT = 64 * 1024


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
    ) -> None:
        super().__init__(server, observer, loop, limits, own_url)
        self._url = server.url or ""
        self._mailboxes: dict[str, Mailbox] = {}

    def handle(self, request: Request, messages: Sequence[Message]) -> None:
        """Relay a stream, or a message that belongs to one."""
        if request.method == b"GET":
            stream = StreamRelay(self, request)
            self._relays.add(stream)
            stream.send(self._encode(request))
        elif request.method == b"POST" and _token(request) in self._mailboxes:
            super().handle(request, messages)
        else:
            self._refuse(request, messages)

    def open_mailbox(self, token: str, address: bytes, exchange: Exchange) -> bytes | None:
        """Where the client sends its messages instead; ``None`` for a foreign address."""
        parts = urlsplit(urljoin(self._url, address.decode("utf-8", "replace")))
        own = urlsplit(self._url)
        if (parts.scheme, parts.netloc) != (own.scheme, own.netloc):
            return None
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._mailboxes[token] = Mailbox(target.encode(), exchange)
        return f"/message/{token}".encode()

    def close_mailbox(self, token: str, outcome: Outcome) -> None:
        """The stream is over, and nothing more will come on it."""
        mailbox = self._mailboxes.pop(token, None)
        if mailbox is not None:
            self.observer.abandon(mailbox.exchange, outcome, monotonic())
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

    def _target(self, request: Request) -> bytes:
        mailbox = self._mailboxes.get(_token(request))
        return super()._target(request) if mailbox is None else mailbox.target

    def _refuse(self, request: Request, messages: Sequence[Message]) -> None:
        method = messages[0].method if messages else None
        self.recorder.rejected(method, "unknown_session")
        text = "there is no such stream (any more); open one with GET"
        reply = errors.error(errors.INVALID_REQUEST, text)
        request.respond(404, reply, errors.JSON)


class StreamRelay(Relay):
    """The stream of one client: its first event is rewritten, the rest goes as it comes."""

    def __init__(self, upstream: SseUpstream, request: Request) -> None:
        self._token = secrets.token_hex(16)
        self._sse_upstream = upstream
        self._first: bytes | None = b""
        self._ending = Outcome.UPSTREAM_ERROR
        super().__init__(upstream, request, ())

    def head(self, head: ReplyHead) -> None:
        """Pass the head on; the length is no longer what the server says."""
        kept = [field for field in head.headers if field[0].lower() != b"content-length"]
        super().head(ReplyHead(head.status, head.reason, kept))

    def body(self, data: bytes) -> None:
        """Hold the first event back until it is complete."""
        if self._first is None:
            super().body(data)
            return
        self._first += data
        for end in (b"\r\n\r\n", b"\n\n", b"\r\r"):
            event, found, rest = self._first.partition(end)
            if found:
                self._first = None
                super().body(self._rewritten(event + end) + rest)
                return
        if len(self._first) > _MAX_FIRST_EVENT:
            held, self._first = self._first, None
            super().body(held)

    def _rewritten(self, event: bytes) -> bytes:
        events = sse.EventReader(_MAX_FIRST_EVENT).feed(event)
        if not events or events[0].name != b"endpoint":
            return event
        address = events[0].data
        upstream = self._sse_upstream
        place = upstream.open_mailbox(self._token, address, self._exchange)
        if place is None:
            return event
        return event.replace(address, upstream.base_of(self._request) + place)

    def client_gone(self) -> None:
        """The client closed its stream."""
        self._ending = Outcome.CLIENT_GONE
        super().client_gone()

    def _finish(self) -> None:
        self._sse_upstream.close_mailbox(self._token, self._ending)
        super()._finish()


def _token(request: Request) -> str:
    return request.path.rpartition(b"/")[2].decode("latin-1")

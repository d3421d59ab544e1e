"""One HTTP request of a probe and its reply, read to the message that was asked for."""

from __future__ import annotations

import asyncio
import contextlib
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from time import time

from exporter import __version__
from exporter.config.model import Server
from exporter.probe.replies import LONGEST, has_no_id, messages, replied_to
from exporter.probe.target import ReachedError
from exporter.probe.transcript import Transcript, describe_headers
from exporter.protocol import sse
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import UNAUTHORIZED
from exporter.transport.http.head import Headers, ReplyHead
from exporter.transport.http.inflate import CODINGS, InflateError, Inflater
from exporter.transport.http.pool import PendingRequest, Pool
from exporter.transport.http.upstream_headers import configured

MAX_EVENTS = 1000
"""Events that are read of a reply until the message is found."""

MAX_RETRY_AFTER = 300.0
"""Seconds; a server that asks to be left alone for longer is probed after these."""

_EVENTS = b"text/event-stream"
_USER_AGENT = f"mcp-exporter/{__version__} (probe)".encode()


class ProbeClient:
    """Sends the prober's requests to one server, and notes them in the transcript."""

    def __init__(self, server: Server, pool: Pool) -> None:
        self.pool = pool
        self._own: Headers = configured(server)
        self._hidden = frozenset(name.lower() for name, _ in self._own)
        self._pending: PendingRequest | None = None

    @property
    def was_sent(self) -> bool:
        """Whether the last request left: otherwise not even a connection could be had."""
        return self._pending is not None and self._pending.sent > 0.0

    async def call(
        self,
        transcript: Transcript,
        method: bytes,
        headers: Headers,
        body: bytes,
        number: int | None,
    ) -> Reply:
        """Send a request. Return the reply as soon as the message ``number`` is in it.

        Raises ``UpstreamError``, or ``ReachedError`` for 401, 403 and 429.
        """
        reply = Reply(number)
        await self.send(transcript, b"%b %b" % (method, self.pool.target), headers, body, reply)
        return reply

    async def send(
        self, transcript: Transcript, request: bytes, headers: Headers, body: bytes, reply: Reply
    ) -> None:
        """Send a request and wait for what ``reply`` waits for. Raises as ``call`` does."""
        fields = self._fields(headers, body)
        shown = describe_headers(fields, self._hidden)
        transcript.note("sent", f"{request.decode('latin-1')}\n{shown}\n{body.decode()}".rstrip())
        lines = [request + b" HTTP/1.1", *(b"%b: %b" % field for field in fields), b"", body]
        # Some servers close after a reply and do not say so: nothing is asked over what was kept.
        self.pool.drop_idle()
        reply.pending = self._pending = self.pool.send(b"\r\n".join(lines), reply)
        try:
            await reply.arrived
        finally:
            if not self.was_sent:
                transcript.note("note", "that was not sent: there is no connection")
            if reply.status:
                self.note(transcript, reply)
            if not (reply.is_standing and reply.is_there):
                reply.abort()
        _judge(reply)

    def note(self, transcript: Transcript, reply: Reply) -> None:
        """Note what was received."""
        shown = describe_headers(reply.headers, self._hidden)
        status = f"HTTP {reply.status} {reply.reason.decode('latin-1')}".rstrip()
        body = reply.data or bytes(reply.unread[: 64 * 1024])
        text = body.decode(errors="replace") if body else "(no body)"
        transcript.note("received", f"{status}\n{shown}\n{text}")

    def _fields(self, headers: Headers, body: bytes) -> Headers:
        fields: dict[bytes, tuple[bytes, bytes]] = {}
        defaults: Headers = [
            (b"Host", self.pool.authority),
            (b"User-Agent", _USER_AGENT),
            (b"Accept", b"application/json, text/event-stream"),
            (b"Accept-Encoding", b"identity"),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"%d" % len(body)),
        ]
        for field in [*(defaults if body else defaults[:4]), *headers, *self._own]:
            fields[field[0].lower()] = field
        return list(fields.values())


class Reply:
    """Collects a reply until the message with the wanted id is in it, or it ends."""

    is_standing = False
    max_events = MAX_EVENTS

    def __init__(self, number: int | None) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.message: Message | None = None
        self.data = b""
        self.unread = bytearray()
        self.is_lost = False
        self.problem = ""
        """Why the message cannot be found in it."""
        self.pending: PendingRequest | None = None
        self.arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number = number
        self._events: sse.EventReader | None = None
        self._inflater: Inflater | None = None
        self._inflated = 0

    @property
    def is_there(self) -> bool:
        """Whether what was waited for has come."""
        return self.arrived.done() and not self.arrived.cancelled() and not self.is_lost

    @property
    def session(self) -> bytes | None:
        """The session that the server opened with this reply."""
        return self.header(b"mcp-session-id")

    def header(self, name: bytes) -> bytes | None:
        """The value of a header; ``name`` in lower case."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None

    def failure(self) -> UpstreamError:
        """What is wrong with a reply that holds no JSON-RPC message."""
        return UpstreamError(f"HTTP {self.status}{self._describe()}", Fault.PROTOCOL)

    # Consumer

    def head(self, head: ReplyHead) -> None:
        """Take the head."""
        self.status, self.reason, self.headers = head.status, head.reason, head.headers
        if (self.header(b"content-type") or b"").lower().startswith(_EVENTS):
            self._events = sse.EventReader(LONGEST)
        coding = (self.header(b"content-encoding") or b"").strip().lower()
        if coding in CODINGS:
            self._inflater = Inflater(coding)
        elif coding not in (b"", b"identity"):
            self.problem = (
                f"its body is encoded as {coding[:40].decode('latin-1')}, which was not asked"
            )

    def body(self, data: bytes) -> None:
        """Take a part of the body, which may be compressed though that was not asked for."""
        if self.problem:
            return
        if self._inflater is None:
            self._take_plain(data)
            return
        try:
            for piece in self._inflater.feed(data):
                self._inflated += len(piece)
                if self._inflated > LONGEST:
                    break
                self._take_plain(piece)
        except InflateError as error:
            self.give_up(f"its body {error}")
        if self._inflated > LONGEST:
            self.give_up(f"its body has more than {LONGEST} bytes")

    def _take_plain(self, data: bytes) -> None:
        if self._events is not None:
            self._take_events(self._events, data)
        if len(self.unread) < (LONGEST if self._events is None else 2000):
            self.unread += data

    def _take_events(self, events: sse.EventReader, data: bytes) -> None:
        for event in events.feed(data, self.max_events - events.pieces):
            self.take(event.name, event.data)
        if events.pieces >= self.max_events and self.message is None:
            self.give_up(f"it sent {self.max_events} other events")

    def take(self, name: bytes, data: bytes) -> None:  # noqa: ARG002
        """Take one event, or the body as a whole."""
        if self.message is not None or not (b'"id"' in data or b'"error"' in data):
            return  # most of what a stream may be flooded with is passed over at once
        for message, part in messages(data):
            if message.is_reply and self._is_awaited(message):
                self.message, self.data = message, part
                return

    def give_up(self, problem: str) -> None:
        """Read no more of it: the message will not be found."""
        self.problem = problem
        self.resolve()

    def _is_awaited(self, message: Message) -> bool:
        if self._number is not None and replied_to(message) == self._number:
            return True
        return has_no_id(message) or self.status >= 400

    def end(self) -> None:
        """The reply is complete."""
        if self._events is None:
            self.take(b"message", bytes(self.unread))
        self.resolve()

    def flush(self) -> None:
        """Nothing more for now; of a stream the wanted event is enough."""
        if self.message is not None:
            self.resolve()

    def lost(self, error: UpstreamError) -> None:
        """There will be no (more) reply."""
        self.is_lost = True
        if not self.arrived.done():
            self.arrived.set_exception(error)

    def resolve(self) -> None:
        """What was waited for has come."""
        if not self.arrived.done():
            self.arrived.set_result(None)

    def abort(self) -> None:
        """Give the request up: no more of the reply is read."""
        if self.pending is not None:
            self.pending.abort()

    def _describe(self) -> str:
        if self.problem:
            return f": {self.problem}"
        location = self.header(b"location")
        if location is not None:
            return f": redirects to {location.decode('latin-1')}; write that as the url"
        if self.status >= 400:
            return " without a JSON-RPC reply"
        if self._events is not None:
            return ": the stream of events ended without the reply"
        kind = (self.header(b"content-type") or b"").partition(b";")[0].decode("latin-1")
        return f": the body ({kind or 'of no type'}) is not the JSON-RPC reply"


def _judge(reply: Reply) -> None:
    if reply.status in (401, 403):
        raise ReachedError(f"HTTP {reply.status}", UNAUTHORIZED)
    if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
        text = "HTTP 429: too many requests; a longer probe.interval may help"
        raise ReachedError(text, retry_after=_retry_after(reply.header(b"retry-after")))


def _retry_after(value: bytes | None) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or a date; 0 for neither."""
    text = (value or b"").decode("latin-1").strip()
    if text.isdecimal():
        return min(float(text), MAX_RETRY_AFTER)
    with contextlib.suppress(ValueError):
        seconds = parsedate_to_datetime(text).timestamp() - time()
        return min(max(seconds, 0.0), MAX_RETRY_AFTER)
    return 0.0

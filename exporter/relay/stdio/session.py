"""A session with a stdio server (2025-11-25 and older): one child of its own.

What ``initialize`` settled, subscriptions and the log level belong to the connection, so a
child is never shared between sessions of these versions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from time import monotonic

from msgspec import UNSET, UnsetType

from exporter.config.limits import Timeout
from exporter.protocol import errors, jsonrpc
from exporter.protocol.jsonrpc import Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CANCELLED, PROGRESS
from exporter.relay.stdio.envelope import one_line
from exporter.relay.stdio.host import ChildHost, HostEvents, StartChild
from exporter.relay.stdio.http_response import StdioResponse
from exporter.telemetry.observer import Observer
from exporter.telemetry.spans.session_digits import session_digits
from exporter.transport.http.head import WrittenHeaders
from exporter.transport.http.request import Request

MAX_QUEUED = 1024 * 1024
"""Bytes of messages that wait for a stream of the client; then the oldest ones go."""

_MAX_MESSAGES = 256


class StdioSession(ChildHost):
    """One client's session."""

    def __init__(
        self,
        session_id: bytes,
        observer: Observer,
        timeout: Timeout,
        start: StartChild,
        events: HostEvents,
    ) -> None:
        self.session_id = session_id
        self._waiting: dict[Id, StdioResponse] = {}
        self._streams: dict[StdioResponse, None] = {}
        """Responses of which each request waits, and whose client takes events."""
        self._tokens: dict[object, StdioResponse] = {}
        self._listening: StdioResponse | None = None
        self._queue = MessageQueue(MAX_QUEUED, _MAX_MESSAGES)
        self._headers = WrittenHeaders([(b"Mcp-Session-Id", session_id)])
        self._slow = 0
        super().__init__(observer, timeout, start, events)
        self._exchange.session = session_digits(session_id)

    @property
    def is_idle(self) -> bool:
        """Whether the client waits for nothing, and has no stream."""
        return not self._waiting and self._listening is None

    @property
    def queued(self) -> int:
        """Bytes that wait here for the child or for its client."""
        return super().queued + self._queue.size

    def post(self, request: Request, messages: Sequence[Message]) -> None:
        """Pass a POST on to the child."""
        now = self.last_used = request.received
        asked = [message for message in messages if message.is_request]
        ids = [message.reply_id for message in asked]
        if not self._waiting.keys().isdisjoint(ids) or len(ids) > len(set(ids)):
            self._reject_reused(request, asked)
            return
        begun = self._observer.client_sent(
            self._exchange, messages, len(request.body), now, request.traceparent
        )
        for message in messages:
            if message.method == CANCELLED and message.params is not None:
                self._cancel(message.params.request_id)
        response = None
        if asked:
            response = StdioResponse(request, self, self._timers, ids, begun, self._headers)
            self._await(response, ids, asked)
            if self._observer.tracing.tracer is not None:
                self._observer.trace(request, begun)
        self.child.send(one_line(request.body))
        if response is None:
            request.respond(202, b"", b"")
        else:
            response.position = self.child.sent
            response.inside = monotonic() - now

    def listen(self, request: Request) -> None:
        """Open the stream for what belongs to no request."""
        if self._listening is not None:
            self._observer.recorder.rejected(None, "stream_in_use")
            text = "this session already has a stream"
            request.respond(409, errors.error(errors.INVALID_REQUEST, text), errors.JSON)
            return
        self._listening = StdioResponse(request, self, self._timers, headers=self._headers)
        self._listening.stream()
        while (message := self._queue.take()) is not None:
            self._listening.send(message)

    def end_stream(self) -> None:
        """End the stream for what belongs to no request."""
        if self._listening is not None:
            self._listening.end()
            self._listening = None

    # ResponseOwner

    def response_gone(self, response: StdioResponse) -> None:
        """The client closed a stream: in these versions that cancels nothing."""
        self._give_up(response, Outcome.CLIENT_GONE)
        if not self.is_useful:
            self.end(Outcome.CLIENT_GONE, "the client left before the session began")

    def response_expired(self, response: StdioResponse) -> None:
        """No reply within the server's timeout."""
        super().response_expired(response)
        if not self.is_useful:
            self.end(Outcome.TIMEOUT, "the server did not reply to initialize")

    def response_paused(self, paused: bool) -> None:
        """The child waits with the client, which is its only one."""
        self._slow += 1 if paused else -1
        self.child.pause(self._slow > 0)

    # Inside

    def _responses(self) -> Iterable[StdioResponse]:
        waiting = dict.fromkeys(self._waiting.values())
        return waiting if self._listening is None else [*waiting, self._listening]

    def _clear(self) -> None:
        self._waiting.clear()
        self._streams.clear()
        self._tokens.clear()
        self._listening = None

    def _reject_reused(self, request: Request, asked: Sequence[Message]) -> None:
        # Which of the two a reply belongs to could not be told: ids must not be used twice.
        for message in asked:
            self._observer.recorder.rejected(message.method, "id_in_use")
        text = "this id is in use by a request that still waits for its reply"
        reply = errors.error(errors.INVALID_REQUEST, text, asked[0].reply_id)
        request.respond(400, reply, errors.JSON, self._headers)

    def _await(self, response: StdioResponse, ids: Sequence[Id], asked: Sequence[Message]) -> None:
        if response.can_stream:
            self._streams[response] = None
        for request_id, message in zip(ids, asked, strict=True):
            self._waiting[request_id] = response
            token = message.progress_token
            if token is not UNSET:
                self._tokens[token] = response

    def _cancel(self, request_id: object) -> None:
        """End the stream of a request that its client cancelled: no reply is due any more."""
        response = self._waiting.pop(request_id, None)  # type: ignore[call-overload]
        if response is not None:
            response.withdraw(request_id)
            if not response.ids:
                self._forget(response)

    def _pass_on(self, message: Message, data: bytes, arrived: float) -> None:
        if message.is_reply:
            self._reply(message, data, arrived)
        elif message.method is not None:
            response = self._stream_for(message)
            if response is None:
                self._queue.put(data)
            else:
                response.send(data)

    def _reply(self, message: Message, data: bytes, arrived: float) -> None:
        request_id = self._asked(message)
        if request_id is UNSET:
            return
        response = self._waiting.pop(request_id)
        self.is_useful = self.is_useful or message.error is UNSET
        response.reply(request_id, data)
        response.inside += monotonic() - arrived
        if not response.ids:
            self._observer.recorder.spent(response.inside)
            self._forget(response)
        if not self.is_useful:
            self._loop.call_soon(self.end, Outcome.CLIENT_GONE, "the server refused initialize")

    def _asked(self, reply: Message) -> Id | UnsetType:
        """The id of the request that a reply is to, as its client wrote it.

        It may come back as another JSON type, as the official SDKs allow, or as null in an error:
        that is all that a server can say which could not read the id.
        """
        given = reply.id
        if given in self._waiting:
            return given
        other = jsonrpc.retyped(given)
        if other is not UNSET and other in self._waiting:
            return other
        if given is None and reply.error is not UNSET and len(self._waiting) == 1:
            return next(iter(self._waiting))
        return UNSET

    def _stream_for(self, message: Message) -> StdioResponse | None:
        """Which stream a message belongs to; stdio says so only of progress.

        With one request in flight it belongs to that one; with several, to the stream that the
        client keeps for such messages, or else to the latest request.
        """
        if message.method == PROGRESS and message.params is not None:
            response = self._tokens.get(message.params.progress_token)
            if response is not None and response.is_open:
                response.progressed()
                return response
        if len(self._streams) == 1 or (self._streams and self._listening is None):
            return next(reversed(self._streams))
        return self._listening

    def _give_up(self, response: StdioResponse, outcome: Outcome) -> None:
        if response is self._listening:
            self._listening = None
        self._observer.settle(self._exchange, response.pending, outcome, monotonic())
        for request_id in response.ids:
            self._waiting.pop(request_id, None)
        self._forget(response)

    def _forget(self, response: StdioResponse) -> None:
        self._streams.pop(response, None)
        if self._tokens:
            self._tokens = {
                token: owner for token, owner in self._tokens.items() if owner is not response
            }


class MessageQueue:
    """Messages that wait for a stream: the newest ones, as far as they are not too large."""

    def __init__(self, max_bytes: int, max_messages: int) -> None:
        self._messages: deque[bytes] = deque()
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self.size = 0
        """Bytes."""

    def put(self, message: bytes) -> None:
        """Add one; the oldest ones make room for it. One that is too large itself is dropped."""
        if len(message) > self._max_bytes:
            return
        self._messages.append(message)
        self.size += len(message)
        while self.size > self._max_bytes or len(self._messages) > self._max_messages:
            self.take()

    def take(self) -> bytes | None:
        """Remove and return the oldest; ``None`` where there is none."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self.size -= len(message)
        return message

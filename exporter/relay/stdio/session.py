"""A session with a stdio server (2025-11-25 and older): one child of its own.

What ``initialize`` settled, subscriptions and the log level belong to the connection, so a
child is never shared between sessions of these versions.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic

from msgspec import UNSET

from exporter.protocol import errors, jsonrpc
from exporter.protocol.failures import UpstreamError
from exporter.protocol.jsonrpc import Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CANCELLED, PROGRESS
from exporter.relay.stdio.http_response import ResponseTimers, StdioResponse
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.transport.http.head import Headers
from exporter.transport.http.request import Request
from exporter.transport.process.child import Child

_QUEUE = 256


class StdioSession:
    """One client's session: it owns the child, and gives the answers."""

    def __init__(
        self,
        session_id: bytes,
        observer: Observer,
        timeout: float,
        on_end: Callable[[StdioSession], None],
    ) -> None:
        self.session_id = session_id
        self.child: Child | None = None
        self.started = self.last_used = monotonic()
        self.is_initialized = False
        self.has_failed = False
        self._exchange = Exchange(observer.recorder)
        self._observer = observer
        self._timeout = timeout
        self._on_end = on_end
        self._waiting: dict[Id, StdioResponse] = {}
        self._tokens: dict[object, StdioResponse] = {}
        self._listening: StdioResponse | None = None
        self._queue: deque[bytes] = deque(maxlen=_QUEUE)
        self._headers: Headers = [(b"Mcp-Session-Id", session_id)]
        self._loop = asyncio.get_running_loop()
        self._clocks = ResponseTimers(timeout, self._loop)
        self._slow = 0
        self._ended = False

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for anything of it."""
        return not self._waiting and self._listening is None

    def post(self, request: Request, messages: Sequence[Message]) -> None:
        """Pass a POST on to the child."""
        now = self.last_used = request.received
        asked = [message for message in messages if message.is_request]
        ids = [_id(message) for message in asked]
        if not self._waiting.keys().isdisjoint(ids) or len(ids) > len(set(ids)):
            self._refuse_reused(request, asked)
            return
        begun = self._observer.client_sent(self._exchange, messages, len(request.body), now)
        for message in messages:
            if message.method == CANCELLED and message.params is not None:
                self._cancel(message.params.request_id)
        answer = None
        if asked:
            answer = StdioResponse(request, self, self._clocks, ids, begun or (), self._headers)
            self._await(answer, asked)
        if self.child is not None:
            self.child.send(one_line(request.body))
        if answer is not None:
            answer.inside = monotonic() - now
        if not asked:
            request.respond(202, b"", b"")

    def listen(self, request: Request) -> None:
        """Open the stream for what belongs to no request."""
        if self._listening is not None:
            self._observer.recorder.rejected(None, "stream_in_use")
            text = "this session already has a stream"
            request.respond(409, errors.error(errors.INVALID_REQUEST, text), errors.JSON)
            return
        self._listening = StdioResponse(request, self, self._clocks, headers=self._headers)
        self._listening.stream()
        while self._queue:
            self._listening.send(self._queue.popleft())

    def end_stream(self) -> None:
        """End the stream for what belongs to no request."""
        if self._listening is not None:
            self._listening.end()
            self._listening = None

    def end(self, outcome: Outcome, text: str) -> None:
        """The session is over: answer what waits, stop the child."""
        if self._ended:
            return
        self._ended = True
        self._observer.abandon(self._exchange, outcome, monotonic())
        for answer in set(self._waiting.values()):
            answer.fail(502, errors.CONNECTION_LOST, text)
        self._waiting.clear()
        self.end_stream()
        self._clocks.close()
        if self.child is not None:
            self.child.stop()
        self._on_end(self)

    # What the child says

    def child_said(self, line: bytes) -> None:
        """Pass one message of the child on to the stream that it belongs to."""
        arrived = monotonic()
        message = jsonrpc.read(line)
        if message is not None:
            self._pass_on(message, line, arrived)
        elif jsonrpc.is_batch(line):
            for part in jsonrpc.split(line):
                self._pass_on(jsonrpc.read(part), part, arrived)
        self._observer.server_said(self._exchange, line, arrived, message)

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone, and the session with it."""
        self.has_failed = not self.is_initialized
        self._observer.upstream_lost(str(error))
        self.end(Outcome.UPSTREAM_ERROR, f"the server {error}")

    # What happens to answers

    def answer_gone(self, answer: StdioResponse) -> None:
        """The client closed a stream: in these versions that cancels nothing."""
        if answer is self._listening:
            self._listening = None
        self._observer.settle(self._exchange, answer.pending, Outcome.CLIENT_GONE, monotonic())
        self._forget(answer)
        if not self.is_initialized:
            self.end(Outcome.CLIENT_GONE, "the client left before the session began")

    def answer_paused(self, paused: bool) -> None:
        """The child waits with the client: nothing is piled up here."""
        self._slow += 1 if paused else -1
        if self.child is not None:
            self.child.pause(self._slow > 0)

    def answer_expired(self, answer: StdioResponse) -> None:
        """No reply within the server's timeout."""
        self._observer.settle(self._exchange, answer.pending, Outcome.TIMEOUT, monotonic())
        answer.fail(504, errors.TIMEOUT, f"no reply within {self._timeout:g} s")
        self._forget(answer)
        if not self.is_initialized:
            self.end(Outcome.TIMEOUT, "the server did not reply to initialize")

    # Inside

    def _refuse_reused(self, request: Request, asked: Sequence[Message]) -> None:
        # Which of the two a reply belongs to could not be told: ids must not be used twice.
        for message in asked:
            self._observer.recorder.rejected(message.method, "id_in_use")
        text = "this id is in use by a request that still waits for its reply"
        reply = errors.error(errors.INVALID_REQUEST, text, _id(asked[0]))
        request.respond(400, reply, errors.JSON, self._headers)

    def _cancel(self, request_id: object) -> None:
        """End the stream of a request that its client cancelled: no reply is due any more."""
        answer = self._waiting.pop(request_id, None)  # type: ignore[call-overload]
        if answer is not None:
            answer.withdraw(request_id)

    def _pass_on(self, message: Message | None, data: bytes, arrived: float) -> None:
        if message is None:
            return
        if message.is_reply:
            self._reply(message, data, arrived)
        elif message.method is not None:
            self._send(message, data)

    def _reply(self, message: Message, data: bytes, arrived: float) -> None:
        request_id = _id(message)
        answer = self._waiting.pop(request_id, None)
        if answer is None:
            return
        self.is_initialized = self.is_initialized or message.error is UNSET
        answer.reply(request_id, data)
        answer.inside += monotonic() - arrived
        if not answer.ids:
            self._observer.recorder.spent(answer.inside)
            if self._tokens:
                self._forget_tokens(answer)
        if not self.is_initialized:
            self._loop.call_soon(self.end, Outcome.CLIENT_GONE, "the server refused initialize")

    def _send(self, message: Message, data: bytes) -> None:
        answer = self._stream_for(message)
        if answer is None:
            self._queue.append(data)
        else:
            answer.send(data)

    def _stream_for(self, message: Message) -> StdioResponse | None:
        """Which stream a message belongs to; stdio says so only of progress.

        With one request in flight it belongs to that one; with several, to the stream that the
        client keeps for such messages, or else to the latest request.
        """
        if message.method == PROGRESS and message.params is not None:
            answer = self._tokens.get(message.params.progress_token)
            if answer is not None and answer.is_open:
                return answer
        answers = [each for each in dict.fromkeys(self._waiting.values()) if each.can_stream]
        if len(answers) == 1 or (answers and self._listening is None):
            return answers[-1]
        return self._listening

    def _await(self, answer: StdioResponse, asked: Sequence[Message]) -> None:
        for message in asked:
            self._waiting[_id(message)] = answer
            token = message.progress_token
            if token is not UNSET:
                self._tokens[token] = answer

    def _forget(self, answer: StdioResponse) -> None:
        for request_id in [key for key, value in self._waiting.items() if value is answer]:
            del self._waiting[request_id]
        self._forget_tokens(answer)

    def _forget_tokens(self, answer: StdioResponse) -> None:
        for token in [key for key, value in self._tokens.items() if value is answer]:
            del self._tokens[token]


def one_line(body: bytes) -> bytes:
    """The message without line ends: in JSON they stand between tokens only."""
    if b"\n" in body or b"\r" in body:
        return body.replace(b"\r", b" ").replace(b"\n", b" ")
    return body


def _id(message: Message) -> Id:
    return None if message.id is UNSET else message.id

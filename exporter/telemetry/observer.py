"""Reads a copy of what passes between client and server, and keeps the exchanges up to date.

Whatever goes wrong in here is counted and forgotten: the bytes do not come through here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import UNSET, UnsetType

from exporter.protocol import jsonrpc
from exporter.protocol.jsonrpc import ENCODED, UNREAD, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CANCELLED, LIST_CHANGED, LIST_TOOLS, PROGRESS
from exporter.telemetry.exchange import Exchange, Pending, blame, key_of
from exporter.telemetry.guard import guarded

if TYPE_CHECKING:  # a wrapped server's process has no metrics, and does without their import
    from exporter.telemetry.recorder import ServerRecorder
    from exporter.telemetry.spans.joiner import Joiner, TracedRequest


class TrafficEvents(Protocol):
    """What the traffic of one server says beside its requests."""

    def tools_listed(self, reply: bytes, cursor: str | None) -> None:
        """A client was shown a page of the server's tools; ``cursor`` asked for it."""

    def list_changed(self) -> None:
        """The server said that its tools changed."""

    def alive(self) -> None:
        """The server has just said something."""

    def lost(self, reason: str) -> None:
        """A real request found the server unreachable, or lost it."""


class Observer:
    """Observes the traffic of one server, whatever carries it."""

    def __init__(
        self, recorder: ServerRecorder, events: TrafficEvents, joiner: Joiner | None = None
    ) -> None:
        self.recorder = recorder
        self.events = events
        self.tracing = recorder.tracing
        """Who asks it for a tracer first does without a call where there is none."""
        self._joiner = joiner

    def failed(self, where: str) -> None:
        """Count that observation failed; the traffic went on."""
        self.recorder.failed(where)

    def client_sent(
        self,
        exchange: Exchange,
        messages: Iterable[Message],
        size: int,
        now: float,
        traceparent: str | None = None,
    ) -> list[Pending]:
        """Note what the client sent; return the requests that now wait for a reply.

        ``traceparent`` is the trace context of the HTTP request, where it has a valid one.
        """
        begun: list[Pending] = []
        try:
            self.recorder.carried(size, to_server=True)
            for message in messages:
                if message.method is not None and message.id is not UNSET:
                    begun.append(exchange.begin(message, now, True, traceparent))
                else:
                    self._client_told(exchange, message, size, now)
        except Exception:  # noqa: BLE001
            self.failed("client_sent")
        return begun

    def propagate(self, wanted: bool | None) -> None:
        """Whether the server is told of spans from now on; ``None``: what ``tracing`` says."""
        if self._joiner is not None:
            self._joiner.propagates = wanted

    def trace(self, request: TracedRequest, begun: Sequence[Pending]) -> None:
        """Tell the server of the spans of what was begun, where that is wanted."""
        joiner = self._joiner
        if joiner is None:
            return
        try:  # each traced request passes here, and most are neither told nor have a header
            tracer = joiner.tracer
            if tracer is not None or request.traceparent is not None:
                joiner.exchange(request, begun, tracer)
        except Exception:  # noqa: BLE001
            self.failed("trace")

    @guarded
    def told(self, request: TracedRequest, message: Message, begun: Pending) -> str | None:
        """The ``traceparent`` of a message that is written anew; ``None`` to leave it.

        Its id is written anew, too: a span says the client's.
        """
        begun.noted().request_id = message.id
        return None if self._joiner is None else self._joiner.tell(request, message, begun)

    def server_sent(
        self, exchange: Exchange, data: bytes, own: Sequence[Pending], now: float
    ) -> bool:
        """Note one message, or one batch, of the server; return whether all of it was read.

        ``own`` are the requests of the same POST: they are looked at before the exchange's.
        """
        try:
            message = jsonrpc.read(data)
            if message is None and jsonrpc.is_batch(data):
                return self._note_batch(exchange, data, own, now)
            self._note(exchange, message, data, own, now)
        except Exception:  # noqa: BLE001
            self.failed("server_sent")
        return True

    def _note_batch(
        self, exchange: Exchange, data: bytes, own: Sequence[Pending], now: float
    ) -> bool:
        is_short = len(data) <= jsonrpc.LONGEST_BATCH
        parts = jsonrpc.split(data) or [data] if is_short else []
        for part in parts[: jsonrpc.BATCH]:
            self._note(exchange, jsonrpc.read(part), part, own, now)
        if is_short and len(parts) <= jsonrpc.BATCH:
            return True
        self.recorder.unparsed("too_large")
        return False

    def server_said(
        self, exchange: Exchange, line: bytes, now: float, message: Message | None = None
    ) -> None:
        """Note one line of a stdio server; ``message`` is what it says, where that is known."""
        try:
            self.recorder.carried(len(line), to_server=False)
            if message is None:
                self.server_sent(exchange, line, (), now)
            else:
                self._note(exchange, message, line, (), now)
        except Exception:  # noqa: BLE001
            self.failed("server_said")

    @guarded
    def settle(
        self,
        exchange: Exchange,
        pendings: Iterable[Pending],
        outcome: Outcome,
        now: float,
        fault: str | None = None,
    ) -> None:
        """End those of the requests that still wait; ``fault`` says why they got no reply."""
        for pending in pendings:
            if fault is not None:
                blame(pending, fault)
            exchange.settle(pending, outcome, now)

    @guarded
    def time_out(self, exchange: Exchange, pendings: Iterable[Pending], deadline: float) -> None:
        """End those of the requests that still wait: ``deadline`` seconds are over."""
        for pending in pendings:
            exchange.time_out(pending, deadline)

    @guarded
    def abandon(
        self, exchange: Exchange, outcome: Outcome, now: float, fault: str | None = None
    ) -> None:
        """End everything that still waits in a conversation that is over."""
        if fault is not None:
            exchange.blame(fault)
        exchange.abandon(outcome, now)

    @guarded
    def upstream_lost(self, reason: str) -> None:
        """A real request found the server unreachable, or lost it."""
        self.events.lost(reason)

    @guarded
    def upstream_alive(self) -> None:
        """The server replied, though not with a message."""
        self.events.alive()

    @guarded
    def read(self, take: Callable[..., None], *args: object) -> None:
        """Feed a copy of what passed by to its reader."""
        take(*args)

    @guarded
    def error_reply(
        self, exchange: Exchange, data: bytes, pendings: Sequence[Pending], now: float, status: int
    ) -> bool:
        """Note a reply with an HTTP error: its body may be a JSON-RPC error for all of them.

        Return whether it is.
        """
        messages = jsonrpc.read_all(data) or ()
        replies = [each for each in messages if each.is_reply and _is_meant(each, pendings)]
        if not replies:
            self.settle(exchange, pendings, Outcome.UPSTREAM_ERROR, now, str(status))
            return False
        self.events.alive()
        for pending in pendings:
            own = [each for each in replies if key_of(each.id) == pending.key]
            exchange.finish(pending, (own or replies)[0], len(data), now)
        return True

    def _note(
        self,
        exchange: Exchange,
        message: Message | None,
        data: bytes,
        own: Sequence[Pending],
        now: float,
    ) -> None:
        if message is None:
            self.recorder.unparsed("not_json")
        elif message.is_reply:
            self.events.alive()
            self._server_replied(exchange, message, data, own, now)
        elif message.is_request:
            self.events.alive()
            exchange.begin(message, now, to_server=False)
        elif message.is_notification:
            self.events.alive()
            self._server_notified(exchange, message, now)
        else:
            self.recorder.unparsed("not_jsonrpc")

    def _client_told(self, exchange: Exchange, message: Message, size: int, now: float) -> None:
        """Note what the client said that is no request."""
        if message.is_notification:
            self._client_notified(exchange, message, now)
        elif message.is_reply:
            self._client_replied(exchange, message, size, now)
        elif message is UNREAD:
            self.recorder.unparsed("too_large")

    def _client_notified(self, exchange: Exchange, message: Message, now: float) -> None:
        self.recorder.notified(message.method, to_server=True)
        if message.method == CANCELLED and message.params is not None:
            exchange.cancel(message.params.request_id, now)

    def _server_notified(self, exchange: Exchange, message: Message, now: float) -> None:
        self.recorder.notified(message.method, to_server=False)
        if message.method == LIST_CHANGED:
            self.events.list_changed()
        elif message.method == PROGRESS and message.params is not None:
            exchange.progressed(message.params.progress_token, now)
        elif message.method == CANCELLED and message.params is not None:
            exchange.cancel(message.params.request_id, now, to_server=False)

    def _client_replied(self, exchange: Exchange, message: Message, size: int, now: float) -> None:
        pending = exchange.find(message.id, to_server=False)
        if pending is not None:
            exchange.finish(pending, message, size, now)
        elif not exchange.is_late(message.id, to_server=False):
            self.recorder.unparsed("unmatched_reply")

    def _server_replied(
        self,
        exchange: Exchange,
        message: Message,
        data: bytes,
        own: Sequence[Pending],
        now: float,
    ) -> None:
        pending = _find(own, message.id) or exchange.find(message.id)
        if pending is None:
            pending = _find_loosely(exchange, message, own)
        if pending is None:
            if not exchange.is_late(message.id):
                self.recorder.unparsed("unmatched_reply")
            return
        if pending.method == LIST_TOOLS:
            self.events.tools_listed(bytes(data), pending.cursor)
        exchange.finish(pending, message, len(data), now)


def _find(own: Sequence[Pending], request_id: jsonrpc.Id | UnsetType) -> Pending | None:
    if not own:
        return None
    key = request_id if type(request_id) is int else key_of(request_id)
    for pending in own:
        if pending.done or type(pending.key) is not type(key):
            continue
        if pending.key == key:
            return pending
    return None


def _find_loosely(exchange: Exchange, message: Message, own: Sequence[Pending]) -> Pending | None:
    """The request of a reply whose id came back as another type, or as null in an error.

    The official SDKs take the first as its reply, and the second is all that a server can say
    that could not read the request's id. What replies to a request that could not be read here is
    its reply in any case.
    """
    sole = _only(own)
    if sole is not None and sole.method == ENCODED.method:
        return sole
    other = jsonrpc.retyped(message.id)
    if other is not UNSET:
        return _find(own, other) or exchange.find(other)
    if message.reply_id is not None or message.error is UNSET:
        return None
    return sole or exchange.only()


def _only(own: Sequence[Pending]) -> Pending | None:
    waiting = [pending for pending in own if not pending.done]
    return waiting[0] if len(waiting) == 1 else None


def _is_meant(reply: Message, pendings: Sequence[Pending]) -> bool:
    """Whether it is JSON-RPC: other frameworks, too, call something of theirs ``error``."""
    if reply.jsonrpc is not UNSET:
        return True
    key = key_of(reply.id)
    return any(pending.key == key for pending in pendings)

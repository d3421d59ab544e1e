"""Reads a copy of what passes between client and server, and keeps the exchanges' books.

Whatever goes wrong in here is counted and forgotten: the bytes have their own way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from exporter.protocol import jsonrpc
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CANCELLED, LIST_CHANGED, LIST_TOOLS
from exporter.telemetry.exchange import Exchange, Pending

if TYPE_CHECKING:  # a wrapped server's process has no metrics, and does without their import
    from exporter.telemetry.recorder import ServerRecorder


Method = TypeVar("Method", bound=Callable[..., Any])


def guarded(method: Method) -> Method:
    """Make an observer's method harmless: a failure is counted, and answered with ``None``."""

    @functools.wraps(method)
    def safe(self: Observer, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception:  # noqa: BLE001  observation must never hurt the traffic
            self.recorder.failed(method.__name__)
            return None

    return cast("Method", safe)


class Observer:
    """What is watched of one server, whatever carries the messages."""

    def __init__(self, recorder: ServerRecorder) -> None:
        self.recorder = recorder
        self.tools_heard: Callable[[bytes, str | None], None] = self._admit_tools
        self.list_changed: Callable[[], None] = _nothing
        self.alive: Callable[[], None] = _nothing
        self.lost: Callable[[str], None] = _nothing_of

    @guarded
    def client_sent(
        self, exchange: Exchange, messages: Iterable[Message], size: int, now: float
    ) -> list[Pending] | None:
        """Note what the client sent; answers the requests that now wait for a reply."""
        self.recorder.carried(size, to_server=True)
        begun = []
        for message in messages:
            if message.is_request:
                begun.append(exchange.begin(message, now))
            elif message.is_notification:
                self._client_notified(exchange, message, now)
            elif message.is_reply:
                self._client_replied(exchange, message, size, now)
        return begun

    @guarded
    def server_sent(
        self, exchange: Exchange, data: bytes, own: Sequence[Pending], now: float
    ) -> None:
        """Note one message, or one batch, of the server.

        ``own`` are the requests of the same POST: they are looked at before the exchange's.
        """
        if jsonrpc.is_batch(data):
            for part in jsonrpc.split(data) or [data]:
                self._hear(exchange, jsonrpc.read(part), part, own, now)
        else:
            self._hear(exchange, jsonrpc.read(data), data, own, now)

    @guarded
    def server_said(
        self, exchange: Exchange, line: bytes, now: float, message: Message | None = None
    ) -> None:
        """Note one line of a stdio server; ``message`` is what it says, where that is known."""
        self.recorder.carried(len(line), to_server=False)
        if message is None:
            self.server_sent(exchange, line, (), now)
        else:
            self._hear(exchange, message, line, (), now)

    @guarded
    def settle(
        self, exchange: Exchange, pendings: Iterable[Pending], outcome: Outcome, now: float
    ) -> None:
        """End those of the requests that still wait."""
        for pending in pendings:
            exchange.settle(pending, outcome, now)

    @guarded
    def abandon(self, exchange: Exchange, outcome: Outcome, now: float) -> None:
        """End everything that still waits in a conversation that is over."""
        exchange.abandon(outcome, now)

    @guarded
    def upstream_lost(self, reason: str) -> None:
        """A real request found the server unreachable, or lost it."""
        self.lost(reason)

    @guarded
    def upstream_alive(self) -> None:
        """The server answered, though not with a message."""
        self.alive()

    @guarded
    def read(self, take: Callable[..., None], *args: object) -> None:
        """Feed a copy of what passed by to whoever reads it."""
        take(*args)

    @guarded
    def refuse(
        self, exchange: Exchange, data: bytes, pendings: Sequence[Pending], now: float
    ) -> bool:
        """Note a reply with an HTTP error: its body may be a JSON-RPC error for all of them.

        Answers whether it is.
        """
        reply = jsonrpc.read(data)
        if reply is None or not reply.is_reply:
            self.settle(exchange, pendings, Outcome.UPSTREAM_ERROR, now)
            return False
        self.alive()
        for pending in pendings:
            exchange.finish(pending, reply, len(data), now)
        return True

    def _hear(
        self,
        exchange: Exchange,
        message: Message | None,
        data: bytes,
        own: Sequence[Pending],
        now: float,
    ) -> None:
        if message is None:
            self.recorder.unparsed("not_json")
            return
        self.alive()
        if message.is_reply:
            self._server_replied(exchange, message, data, own, now)
        elif message.is_request:
            exchange.begin(message, now, to_server=False)
        elif message.is_notification:
            self._server_notified(exchange, message, now)
        else:
            self.recorder.unparsed("not_jsonrpc")

    def _client_notified(self, exchange: Exchange, message: Message, now: float) -> None:
        self.recorder.notified(message.method, to_server=True)
        if message.method == CANCELLED and message.params is not None:
            exchange.cancel(cast("jsonrpc.Id", message.params.request_id), now)

    def _server_notified(self, exchange: Exchange, message: Message, now: float) -> None:
        self.recorder.notified(message.method, to_server=False)
        if message.method == LIST_CHANGED:
            self.list_changed()
        elif message.method == CANCELLED and message.params is not None:
            exchange.cancel(cast("jsonrpc.Id", message.params.request_id), now, to_server=False)

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
            if not exchange.is_late(message.id):
                self.recorder.unparsed("unmatched_reply")
            return
        if pending.method == LIST_TOOLS:
            self.tools_heard(data, pending.cursor)
        exchange.finish(pending, message, len(data), now)

    def _admit_tools(self, data: bytes, cursor: str | None) -> None:  # noqa: ARG002
        page = jsonrpc.read_tools(data)
        if page is not None:
            self.recorder.listed(page[0])


def _find(own: Sequence[Pending], request_id: object) -> Pending | None:
    for pending in own:
        if pending.done or type(pending.id) is not type(request_id):
            continue
        if pending.id == request_id:
            return pending
    return None


def _nothing() -> None:
    """Nobody listens."""


def _nothing_of(reason: str) -> None:
    """Nobody listens."""

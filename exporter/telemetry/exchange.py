"""Pending requests of one conversation, and how each becomes exactly one finished Call.

Pure: messages and times come in, Calls go out to a recorder. A conversation is a session, a
stdio connection, or a single POST where the protocol has no sessions. Its two directions have
independent ids.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from msgspec import UNSET, Struct, UnsetType

from exporter.protocol.jsonrpc import Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CALL_TOOL, UNTIMED
from exporter.telemetry.call import Call


class Recorder(Protocol):
    """Where an exchange reports to."""

    names_clients: bool
    """Whether a Call is to bear its client's name."""

    def began(self, to_server: bool) -> None:
        """A request is now in flight."""

    def finished(self, call: Call) -> None:
        """A request in flight has ended."""

    def notified(self, method: str | None, to_server: bool) -> None:
        """A notification passed by."""


class Pending(Struct, eq=False, gc=False):
    """A request that waits for its reply."""

    id: Id | UnsetType | None
    method: str
    tool: str | None
    cursor: str | None
    traceparent: str | None
    started: float
    to_server: bool
    done: bool = False
    previous: Pending | None = None
    """An earlier one with the same id, which it does not replace."""


def _pending(message: Message, now: float, to_server: bool) -> Pending:
    method, params = message.method or "", message.params
    if params is None:
        return Pending(message.id, method, None, None, None, now, to_server)
    tool = params.name if method == CALL_TOOL else None
    traceparent = params.meta.traceparent if params.meta is not None else None
    return Pending(message.id, method, tool, params.cursor, traceparent, now, to_server)


def outcome_of(reply: Message) -> Outcome:
    """What a reply says about its request."""
    if reply.error is not UNSET or reply.result is UNSET:
        return Outcome.PROTOCOL_ERROR
    if reply.result.is_error:
        return Outcome.TOOL_ERROR
    if reply.result.result_type not in (None, "complete") or reply.result.is_task:
        return Outcome.INPUT_REQUIRED
    return Outcome.OK


_REMEMBERED = 64


class Exchange:
    """The requests in flight of one conversation."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._pending: dict[tuple[bool, object], Pending] = {}
        self._unanswered: deque[tuple[bool, object]] | None = None
        self._client: str | None = None

    def __len__(self) -> int:
        return len(self._pending)

    def begin(self, message: Message, now: float, to_server: bool = True) -> Pending:
        """Note a request. A second one with the same id does not replace the first."""
        if self._recorder.names_clients:
            self._client = message.client or self._client
        pending = _pending(message, now, to_server)
        known = self._pending.setdefault((to_server, pending.id), pending)
        if known is not pending:
            pending.previous = known
            self._pending[to_server, pending.id] = pending
        if pending.method not in UNTIMED:
            self._recorder.began(to_server)
        return pending

    def find(self, request_id: object, to_server: bool = True) -> Pending | None:
        """The newest request in flight with this id."""
        return self._pending.get((to_server, request_id))

    def finish(self, pending: Pending, reply: Message, size: int, now: float) -> None:
        """End a request with its reply of ``size`` bytes."""
        code = reply.error.code if reply.error is not UNSET else None
        self._end(pending, outcome_of(reply), now, code, size)

    def settle(
        self, pending: Pending, outcome: Outcome, now: float, code: float | None = None
    ) -> None:
        """End a request that gets no reply, or whose reply does not decide."""
        if not pending.done:
            if self._unanswered is None:
                self._unanswered = deque(maxlen=_REMEMBERED)
            self._unanswered.append((pending.to_server, pending.id))
        self._end(pending, outcome, now, code, None)

    def is_late(self, request_id: object, to_server: bool = True) -> bool:
        """Whether a request with this id ended without its reply, which now comes too late."""
        return self._unanswered is not None and (to_server, request_id) in self._unanswered

    def cancel(self, request_id: Id, now: float, to_server: bool = True) -> Pending | None:
        """End the request that its sender no longer waits for; answers it."""
        pending = self.find(request_id, to_server)
        if pending is not None:
            self.settle(pending, Outcome.CANCELLED, now)
        return pending

    def abandon(self, outcome: Outcome, now: float) -> None:
        """End everything in flight, in both directions, as ``outcome``."""
        while self._pending:
            self.settle(next(iter(self._pending.values())), outcome, now)

    def expire(self, oldest: float, now: float) -> None:
        """End what a client asked before ``oldest`` and that nobody carries any more.

        What a server asks may wait for a person, and has no deadline here.
        """
        overdue = [
            pending
            for pending in self._pending.values()
            if pending.to_server and pending.started < oldest
        ]
        for pending in overdue:
            self.settle(pending, Outcome.TIMEOUT, now)

    def _end(
        self, pending: Pending, outcome: Outcome, now: float, code: float | None, size: int | None
    ) -> None:
        if pending.done:
            return
        pending.done = True
        key = (pending.to_server, pending.id)
        newest = self._pending.pop(key, None)
        if newest is not pending or pending.previous is not None:
            self._unlink(key, newest, pending)
        call = Call(
            pending.method,
            outcome,
            now - pending.started,
            pending.to_server,
            pending.tool,
            code,
            size,
            pending.traceparent,
            self._client,
        )
        self._recorder.finished(call)

    def _unlink(self, key: tuple[bool, object], newest: Pending | None, pending: Pending) -> None:
        """Take one out of those with the same id, of which the newest was just taken away."""
        if newest is pending:
            newest = pending.previous
        later = newest
        while later is not None and later.previous is not pending:
            later = later.previous
        if later is not None:
            later.previous = pending.previous
        if newest is not None:
            self._pending[key] = newest

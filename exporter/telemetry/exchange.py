"""Pending requests of one conversation, and how each becomes exactly one finished Call.

Pure: messages and times come in, Calls go out to a recorder. A conversation is a session, a
stdio connection, or a single POST where the protocol has no sessions. Its two directions have
independent ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from typing import Protocol

from msgspec import UNSET, Struct, UnsetType

from exporter.protocol import trace_context
from exporter.protocol.jsonrpc import Id, Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import CALL_TOOL, INITIALIZE, UNTIMED
from exporter.telemetry.call import Call, SpanTracer, Tracing
from exporter.telemetry.spans.details import (
    GET_PROMPT,
    TraceDetails,
    TraceNotes,
    fit,
    notes_of,
    shown_id,
)

MOST_REQUESTS = 2000
MOST_QUESTIONS = 1000
"""Requests of a client, and of a server, that wait in one conversation; of more, the oldest ends
as ``timeout``. A peer chooses their number, and each is kept until it is replied to."""

LONGEST_TEXT = 256
"""Characters of a name that are kept, and of an id that is kept as it is."""


class Recorder(Protocol):
    """Where an exchange reports to."""

    names_clients: bool
    """Whether a Call is to bear its client's name."""
    tracing: Tracing
    """Whether a Call is to bear what a span says."""

    def began(self, to_server: bool) -> None:
        """A request is now in flight."""

    def finished(self, call: Call) -> None:
        """A request in flight has ended."""

    def notified(self, method: str | None, to_server: bool) -> None:
        """A notification passed by."""

    def failed(self, where: str) -> None:
        """Observation failed; the traffic went on."""


class ProgressWatcher(Protocol):
    """What waits longer for a request that makes progress."""

    def progressed(self, now: float) -> None:
        """The server reported progress."""


class Pending(Struct, eq=False, gc=False):
    """A request that waits for its reply.

    Those with the same id are linked, the newest first, until they have ended. The collector
    does not look at them, so that each must end.
    """

    key: object
    method: str
    tool: str | None
    cursor: str | None
    traceparent: str | None
    started: float
    to_server: bool
    done: bool = False
    older: Pending | None = None
    newer: Pending | None = None
    notes: TraceNotes | None = None

    def noted(self) -> TraceNotes:
        """Where to note what only a span says."""
        if self.notes is None:
            self.notes = TraceNotes()
        return self.notes


def blame(pending: Pending, fault: str) -> None:
    """Note why a request that waits gets no reply."""
    if not pending.done:
        pending.noted().fault = fault


def key_of(request_id: Id | UnsetType) -> object:
    """What an id is known by: itself, or a digest where it is long."""
    if isinstance(request_id, str) and len(request_id) > LONGEST_TEXT:
        return blake2b(request_id.encode(errors="surrogatepass")).digest()
    return request_id


def _pending(message: Message, now: float, to_server: bool, traceparent: str | None) -> Pending:
    request_id, method, params = message.id, message.method or "", message.params
    # Every request passes here: what is as usual is looked at without a call.
    key = request_id if type(request_id) is int else key_of(request_id)
    if len(method) > LONGEST_TEXT:
        method = _clipped(method)
    if params is None:
        return Pending(key, method, None, None, traceparent, now, to_server)
    tool = params.name if method == CALL_TOOL else None
    if tool is not None and len(tool) > LONGEST_TEXT:
        tool = _clipped(tool)
    cursor = None if params.cursor is None else _clipped(params.cursor)
    meta = params.meta
    if meta is not None and meta.traceparent is not None:
        traceparent = trace_context.valid(meta.traceparent) or traceparent
    return Pending(key, method, tool, cursor, traceparent, now, to_server)


def _linked(waiting: dict[object, Pending]) -> Iterator[Pending]:
    """All that wait, also those behind others with the same id."""
    for newest in waiting.values():
        each: Pending | None = newest
        while each is not None:
            yield each
            each = each.older


def _clipped(text: str) -> str:
    # What is longer is never admitted as a label value; one more character says that it was.
    return text[: LONGEST_TEXT + 1]


def outcome_of(reply: Message) -> Outcome:
    """What a reply says about its request."""
    if reply.error is not UNSET or reply.result is UNSET:
        return Outcome.PROTOCOL_ERROR
    if reply.result.is_error:
        return Outcome.TOOL_ERROR
    result = reply.result
    if result.result_type not in (None, "complete") or (result.task and result.is_task):
        return Outcome.INPUT_REQUIRED
    return Outcome.OK


_REMEMBERED = 64


class Exchange:
    """The requests in flight of one conversation."""

    __slots__ = (
        "_client",
        "_counts",
        "_questions",
        "_recorder",
        "_requests",
        "_unanswered",
        "_version",
        "_watchers",
        "session",
    )

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._requests: dict[object, Pending] = {}
        self._questions: dict[object, Pending] = {}
        self._counts = [0, 0]
        self._unanswered: deque[tuple[bool, object]] | None = None
        self._watchers: dict[object, ProgressWatcher] | None = None
        self._client: str | None = None
        self._version: str | None = None
        self.session: str | None = None
        """What tells its session from others in spans, where it is one."""

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a reply."""
        return not self._requests and not self._questions

    def begin(
        self,
        message: Message,
        now: float,
        to_server: bool = True,
        traceparent: str | None = None,
    ) -> Pending:
        """Note a request. A second one with the same id does not replace the first.

        ``traceparent`` counts where the message has none of its own.
        """
        recorder, params, says_more = self._recorder, message.params, False
        is_traced = recorder.tracing.tracer is not None and to_server
        if (is_traced or recorder.names_clients) and params is not None:
            says_more = params.meta is not None or params.client_info is not None
            if says_more and (client := message.client):
                self._client = _clipped(client)
        waiting = self._requests if to_server else self._questions
        if self._counts[to_server] >= (MOST_REQUESTS if to_server else MOST_QUESTIONS):
            self.settle(next(iter(waiting.values())), Outcome.TIMEOUT, now)
        self._counts[to_server] += 1
        pending = _pending(message, now, to_server, traceparent)
        if is_traced and (says_more or traceparent is not None or pending.method == GET_PROMPT):
            pending.notes = notes_of(message, pending.traceparent, traceparent)
        known = waiting.setdefault(pending.key, pending)
        if known is not pending:
            pending.older, known.newer = known, pending
            waiting[pending.key] = pending
        if pending.method not in UNTIMED:
            recorder.began(to_server)
        return pending

    def find(self, request_id: Id | UnsetType, to_server: bool = True) -> Pending | None:
        """The newest request in flight with this id."""
        waiting = self._requests if to_server else self._questions
        return waiting.get(request_id) or waiting.get(key_of(request_id))

    def only(self) -> Pending | None:
        """The client's request in flight, where there is but one."""
        return next(iter(self._requests.values())) if self._counts[True] == 1 else None

    def finish(self, pending: Pending, reply: Message, size: int, now: float) -> None:
        """End a request with its reply of ``size`` bytes."""
        code = reply.error.code if reply.error is not UNSET else None
        if pending.method == INITIALIZE and reply.result is not UNSET:
            self._version = fit(reply.result.protocol_version)
        self._end(pending, outcome_of(reply), now - pending.started, code, size)

    def settle(
        self, pending: Pending, outcome: Outcome, now: float, code: float | None = None
    ) -> None:
        """End a request that gets no reply, or whose reply does not decide."""
        self._leave(pending, outcome, now - pending.started, code)

    def blame(self, fault: str) -> None:
        """Note why what waits gets no reply."""
        for pending in _linked(self._requests):
            blame(pending, fault)

    def time_out(self, pending: Pending, deadline: float) -> None:
        """End a request that had no reply within ``deadline`` seconds, and took just that.

        What the timer was late by would put it above the boundary of a bucket that the deadline
        is, and quantiles would be drawn up to three times as high as any call can take.
        """
        self._leave(pending, Outcome.TIMEOUT, deadline)

    def watch(self, token: Id | UnsetType, watcher: ProgressWatcher) -> None:
        """Tell a watcher of the progress that bears this token."""
        if self._watchers is None:
            self._watchers = {}
        self._watchers[key_of(token)] = watcher

    def unwatch(self, token: Id | UnsetType, watcher: ProgressWatcher) -> None:
        """Tell it of that progress no more."""
        if self._watchers is not None and self._watchers.get(key_of(token)) is watcher:
            del self._watchers[key_of(token)]

    def progressed(self, token: Id | UnsetType, now: float) -> None:
        """The server reported progress with this token."""
        if self._watchers is not None and (watcher := self._watchers.get(key_of(token))):
            watcher.progressed(now)

    def is_late(self, request_id: Id | UnsetType, to_server: bool = True) -> bool:
        """Whether a request with this id ended without its reply, which now comes too late."""
        if self._unanswered is None:
            return False
        return (to_server, key_of(request_id)) in self._unanswered

    def cancel(
        self, request_id: Id | UnsetType, now: float, to_server: bool = True
    ) -> Pending | None:
        """End the request that its sender no longer waits for; return it."""
        pending = self.find(request_id, to_server)
        if pending is not None:
            self.settle(pending, Outcome.CANCELLED, now)
        return pending

    def abandon(self, outcome: Outcome, now: float) -> None:
        """End everything in flight, in both directions, as ``outcome``."""
        for waiting in (self._requests, self._questions):
            # Not one by one from the front: what was taken out there is passed over each time.
            for pending in list(_linked(waiting)):
                self.settle(pending, outcome, now)

    def expire(self, oldest: float, deadline: float) -> None:
        """End what a client asked before ``oldest``, where no stream is left to bring the reply.

        What a server asks may wait for a person, and has no deadline here.
        """
        for pending in [each for each in _linked(self._requests) if each.started < oldest]:
            self.time_out(pending, deadline)

    def _leave(
        self, pending: Pending, outcome: Outcome, seconds: float, code: float | None = None
    ) -> None:
        if not pending.done:
            if self._unanswered is None:
                self._unanswered = deque(maxlen=_REMEMBERED)
            self._unanswered.append((pending.to_server, pending.key))
        self._end(pending, outcome, seconds, code, None)

    def _end(
        self,
        pending: Pending,
        outcome: Outcome,
        seconds: float,
        code: float | None,
        size: int | None,
    ) -> None:
        if pending.done:
            return
        pending.done = True
        to_server = pending.to_server
        self._counts[to_server] -= 1
        if pending.older is None and pending.newer is None:
            (self._requests if to_server else self._questions).pop(pending.key, None)
        else:
            self._unlink(pending)
        tracer = self._recorder.tracing.tracer if to_server else None
        call = Call(
            pending.method,
            outcome,
            seconds,
            to_server,
            pending.tool,
            code,
            size,
            pending.traceparent,
            self._client,
            None if tracer is None else self._details(tracer, pending, outcome, seconds),
        )
        self._recorder.finished(call)

    def _details(
        self, tracer: SpanTracer, pending: Pending, outcome: Outcome, seconds: float
    ) -> TraceDetails | None:
        """What a span says of a request, where it is to leave one."""
        notes = pending.notes
        try:  # what fails here must not keep the request from being counted
            if not tracer.keeps(pending.method, outcome, seconds, pending.traceparent, notes):
                return None
            notes = notes or TraceNotes()
            version = notes.version or self._version
            request_id = pending.key if notes.request_id is UNSET else notes.request_id
            return TraceDetails(pending.started, shown_id(request_id), version, self.session, notes)
        except Exception:  # noqa: BLE001
            self._recorder.failed("tracing")
            return None

    def _unlink(self, pending: Pending) -> None:
        """Take one out of those with the same id."""
        older, newer = pending.older, pending.newer
        if newer is not None:
            newer.older = older
        elif older is not None:
            (self._requests if pending.to_server else self._questions)[pending.key] = older
        if older is not None:
            older.newer = newer
        pending.older = pending.newer = None

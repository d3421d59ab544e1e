"""Tells servers of the exporter's spans, so that theirs are below: 16 digits of a context.

What cannot be exchanged without a doubt goes on as it came, and is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from exporter.protocol import jsonrpc, trace_context
from exporter.protocol.jsonrpc import Message
from exporter.telemetry.call import SpanTracer, Tracing
from exporter.telemetry.exchange import Pending
from exporter.telemetry.spans.details import IN_MESSAGE, UNTRACED, Join, Peer, state_of
from exporter.telemetry.spans.metrics import SpanMetrics


class TracedRequest(Protocol):
    """An HTTP request that bears what a client asks."""

    body: bytes
    traceparent: str | None
    """The trace context of its header, where it has a valid one."""

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""

    def have_traceparent(self, value: str) -> None:
        """Have a context of the same length in the header."""


class Joiner:
    """Joins the requests to one server, where that is wanted."""

    def __init__(
        self, tracing: Tracing, metrics: SpanMetrics, propagates: bool | None, peer: Peer
    ) -> None:
        self._tracing = tracing
        self._joins = metrics.joins
        self._joined = metrics.joins["joined"]
        self.propagates = propagates
        """Whether this server is told; ``None``: what ``tracing`` says."""
        self._peer = peer

    @property
    def tracer(self) -> SpanTracer | None:
        """Who makes the spans that the server is told of, or ``None`` where it is told of none."""
        tracer, propagates = self._tracing.tracer, self.propagates
        if tracer is None or not (tracer.propagates if propagates is None else propagates):
            return None
        return tracer

    def exchange(
        self, request: TracedRequest, pendings: Sequence[Pending], tracer: SpanTracer | None
    ) -> None:
        """Exchange the parents of these requests in what goes on to the server."""
        if request.traceparent is not None:
            self._note_state(request, pendings)
        if tracer is None:
            return
        asked = [each for each in pendings if each.method not in UNTRACED]
        if len(asked) != 1:
            self._exchange_batch(request, asked, tracer)
        elif _is_in_message(asked[0]):
            self._exchange_message(request, asked[0], tracer)
        else:
            self._exchange_header(request, asked[0], tracer)

    def tell(self, request: TracedRequest, message: Message, pending: Pending) -> str | None:
        """The ``traceparent`` of a message that is written anew, or ``None`` to leave it."""
        if request.traceparent is not None:
            self._note_state(request, (pending,))
        tracer = self.tracer
        if tracer is None or pending.method in UNTRACED:
            return None
        join = tracer.join(pending.traceparent, self._peer)
        if join is None:
            return None
        self._settle(pending, join)
        params = message.params
        if params is not None and params.meta is not None and _is_in_message(pending):
            given = params.meta.traceparent or ""
            return trace_context.with_parent(given, trace_context.parent_id(join.context))
        return join.context

    def _exchange_header(
        self, request: TracedRequest, pending: Pending, tracer: SpanTracer
    ) -> None:
        if pending.traceparent is None:
            self._joins["absent"].inc()
            return
        join = tracer.join(pending.traceparent, self._peer)
        if join is not None and self._peer.address is None:  # a pipe has no headers
            self._joins["absent"].inc()
        elif join is not None:
            request.have_traceparent(join.context)
            self._settle(pending, join)

    def _exchange_message(
        self, request: TracedRequest, pending: Pending, tracer: SpanTracer
    ) -> None:
        context = pending.traceparent
        join = tracer.join(context, self._peer)
        if context is None or join is None:
            return
        body, times = trace_context.exchange(request.body, context, join.context)
        if times == 0:
            self._joins["absent"].inc()
        elif times > 1 or not _says(body, [join]):
            self._joins["ambiguous"].inc()
        else:
            request.body = body
            self._settle(pending, join)

    def _exchange_batch(
        self, request: TracedRequest, asked: Sequence[Pending], tracer: SpanTracer
    ) -> None:
        told = [
            (pending, tracer.join(pending.traceparent, self._peer))
            for pending in asked
            if _is_in_message(pending)
        ]
        joins = [(pending, join) for pending, join in told if join is not None]
        self._joins["absent"].inc(len(asked) - len(told))
        others = {
            pending.traceparent: join.context
            for pending, join in joins
            if pending.traceparent is not None
        }
        if not others:
            return
        body, times = trace_context.exchange_all(request.body, others)
        joined = [each for each in joins if times[each[0].traceparent or ""] == 1]
        for pending, _ in joins:
            found = times[pending.traceparent or ""]
            if found != 1:
                self._joins["ambiguous" if found else "absent"].inc()
        if not _says(body, [join for _, join in joined]):
            self._joins["ambiguous"].inc(len(joined))
            return
        request.body = body
        for pending, join in joined:
            self._settle(pending, join)

    def _settle(self, pending: Pending, join: Join) -> None:
        pending.noted().join = join
        self._joined.value += 1

    def _note_state(self, request: TracedRequest, pendings: Sequence[Pending]) -> None:
        given = request.header(b"tracestate")
        state = state_of(given.decode("latin-1")) if given is not None else None
        for pending in pendings if state is not None else ():
            if not _is_in_message(pending):
                pending.noted().state = state


def _is_in_message(pending: Pending) -> bool:
    return pending.notes is not None and pending.notes.source in IN_MESSAGE


def _says(body: bytes, joined: Sequence[Join]) -> bool:
    """Whether the messages bear these contexts: an argument may have looked like the one that is
    written in another way."""
    if not joined or b"\\" not in body:  # then every text is written as what it says
        return True
    found = set()
    for message in jsonrpc.read_all(body) or ():
        if message.params is not None and message.params.meta is not None:
            found.add(trace_context.valid(message.params.meta.traceparent))
    return all(join.context in found for join in joined)

"""One finished request, as data, and who makes a span of it."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from exporter.protocol.label_values import Outcome
from exporter.telemetry.spans.details import Join, Peer, TraceDetails, TraceNotes


class Call(Struct, frozen=True, gc=False):
    """One request that has ended.

    ``seconds`` is the time from the request's last byte to the reply's, ``result_bytes`` the
    reply's length on the wire, both as the exporter saw them. ``method`` and ``tool`` are what
    the peer sent and must be admitted before they become label values.
    """

    method: str
    outcome: Outcome
    seconds: float
    to_server: bool = True
    tool: str | None = None
    code: float | None = None
    result_bytes: int | None = None
    traceparent: str | None = None
    """The valid trace context that the request bore."""
    client: str | None = None
    """The client's own name, where it is logged or traced."""
    details: TraceDetails | None = None
    """What only a span says; ``None`` where it leaves none."""


class SpanTracer(Protocol):
    """What makes spans of finished requests."""

    propagates: bool
    """Whether servers that say nothing of it are told of the exporter's spans."""

    def join(self, context: str | None, peer: Peer) -> Join | None:
        """What a server is to be told of a request with this context, or ``None`` for nothing."""

    def keeps(
        self,
        method: str,
        outcome: Outcome,
        seconds: float,
        context: str | None,
        notes: TraceNotes | None,
    ) -> bool:
        """Whether a finished request is to leave a span. Asked once for each."""

    def record(
        self, server: str, method: str, tool: str | None, client: str | None, call: Call
    ) -> str | None:
        """Note a request that is kept; return ``trace-span``, or ``None`` without room for it."""


class Tracing:
    """Whether spans are made, and by whom; one is shared by all recorders."""

    __slots__ = ("tracer",)

    def __init__(self) -> None:
        self.tracer: SpanTracer | None = None

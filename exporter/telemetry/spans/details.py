"""What a span says of a request beside what is counted.

As little as can be is noted when a request comes: most leave no span.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from exporter.protocol.jsonrpc import Id, Message
from exporter.protocol.spec import UNTIMED

Source = Literal["meta", "header", "both", "none", "invalid"]
"""Where a request's trace context came from."""

SOURCES: tuple[Source, ...] = ("meta", "header", "both", "none", "invalid")
IN_MESSAGE = frozenset({"meta", "both"})
"""Sources where the message's own context counts."""

LONGEST = 128
"""Characters of a text that a peer chose."""

LONGEST_STATE = 512
"""Characters of a ``tracestate``, as W3C Trace Context has it."""

GET_PROMPT = "prompts/get"
UNTRACED = UNTIMED | {"ping"}
"""Requests that leave no span."""


class Peer(Struct, frozen=True, gc=False):
    """Where a server is; without an ``address`` it is a process at the end of a pipe."""

    address: str | None = None
    port: int | None = None


class Join(Struct, frozen=True, gc=False):
    """What a server was told, so that its span is below the exporter's."""

    context: str
    """The context that the server got: its parent is the span of the exporter as a client."""
    span_id: str
    """The exporter's span as a server, which is that one's parent."""
    departed: float
    peer: Peer
    is_begun: bool = False
    """Whether the trace begins here."""


class TraceNotes(Struct, gc=False):
    """What a request that waits has beside the usual; few have any of it."""

    source: Source = "none"
    link: str | None = None
    """The context of the HTTP header, where the message's own is another one."""
    prompt: str | None = None
    version: str | None = None
    """That of the message itself."""
    state: str | None = None
    """The ``tracestate`` that came with the context."""
    fault: str | None = None
    """Why there was no reply: an HTTP status, or a word."""
    join: Join | None = None
    request_id: Id | UnsetType = UNSET
    """The client's, where the server knows the request by another one."""


class TraceDetails(Struct, frozen=True, gc=False):
    """What only a span says. ``started`` is on the monotonic clock."""

    started: float
    request_id: str | None = None
    version: str | None = None
    session: str | None = None
    """What tells its session from others; not its id."""
    notes: TraceNotes = field(default_factory=TraceNotes)
    is_piped: bool = False
    """Whether the client speaks over a pipe, for its server is wrapped."""


def notes_of(message: Message, context: str | None, header: str | None) -> TraceNotes:
    """What is noted of a request whose ``context`` counts; ``header`` is that of HTTP."""
    params = message.params
    if params is None:
        return TraceNotes(_source(None, context, header))
    prompt = fit(params.name) if message.method == GET_PROMPT else None
    meta = params.meta
    if meta is None:
        return TraceNotes(_source(None, context, header), prompt=prompt)
    source = _source(meta.traceparent, context, header)
    return TraceNotes(
        source,
        header if source == "both" and header != context else None,
        prompt,
        None if meta.protocol_version is None else fit(meta.protocol_version),
        None if meta.tracestate is None or source not in IN_MESSAGE else state_of(meta.tracestate),
    )


def _source(given: str | None, context: str | None, header: str | None) -> Source:
    if given is None:
        return "none" if header is None else "header"
    if context is None or not given.startswith(context):
        return "invalid"
    return "meta" if header is None else "both"


def fit(text: str | None) -> str | None:
    """The text where it is short and printable."""
    return text if text and len(text) <= LONGEST and text.isprintable() else None


def state_of(text: str | None) -> str | None:
    """A ``tracestate`` as a span bears it."""
    is_fit = text and len(text) <= LONGEST_STATE and text.isascii() and text.isprintable()
    return text if is_fit else None


def shown_id(request_id: object) -> str | None:
    """A request's id as a text, where it is short and printable."""
    if isinstance(request_id, str):
        return fit(request_id)
    return str(request_id) if isinstance(request_id, (int, float)) else None

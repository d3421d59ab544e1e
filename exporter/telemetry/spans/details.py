"""What a span says of a request beside what is counted, noted when the request comes.

Nothing of it is noted where no spans are made.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from exporter.protocol.jsonrpc import Id, Message

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
PING = "ping"
"""What leaves no span."""


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


class TraceDetails(Struct, frozen=True, gc=False):
    """What only a span says. ``started`` is on the monotonic clock."""

    started: float
    source: Source = "none"
    request_id: int | str | None = None
    link: str | None = None
    """The context of the HTTP header, where the message's own is another one."""
    prompt: str | None = None
    version: str | None = None
    is_piped: bool = False
    """Whether the client speaks over a pipe, for its server is wrapped."""
    session: str | None = None
    """What tells its session from others; not its id."""
    state: str | None = None
    """The ``tracestate`` that came with the context."""
    fault: str | None = None
    """Why there was no reply: an HTTP status, or a word."""
    join: Join | None = None

    @property
    def shown_id(self) -> str | None:
        """The request's id as a text."""
        return None if self.request_id is None else str(self.request_id)


def details_of(
    message: Message,
    context: str | None,
    header: str | None,
    version: str | None,
    now: float,
    session: str | None = None,
) -> TraceDetails:
    """What is noted of a request whose ``context`` counts; ``header`` is that of HTTP, and
    ``version`` that of the conversation, where the message does not say its own."""
    params, request_id = message.params, message.id
    # Every request passes here: what is as usual is noted without a call.
    known_id = request_id if type(request_id) is int else _fit_id(request_id)
    meta = None if params is None else params.meta
    if meta is None and header is None and message.method != GET_PROMPT:
        return TraceDetails(now, "none", known_id, None, None, version, False, session)
    source = _source(None if meta is None else meta.traceparent, context, header)
    return TraceDetails(
        now,
        source,
        known_id,
        header if source == "both" and header != context else None,
        fit(params.name) if params is not None and message.method == GET_PROMPT else None,
        fit(message.protocol_version) or version,
        session=session,
        state=state_of(meta.tracestate) if meta is not None and source in IN_MESSAGE else None,
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


def _fit_id(request_id: Id | UnsetType) -> str | None:
    if isinstance(request_id, str):
        return fit(request_id)
    return None if request_id is None or request_id is UNSET else str(request_id)

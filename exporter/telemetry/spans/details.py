"""What a span says of a request beside what is counted, noted when the request comes.

Nothing of it is noted where no spans are made.
"""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct

from exporter.protocol.jsonrpc import Id, Message

Source = Literal["meta", "header", "both", "none", "invalid"]
"""Where a request's trace context came from."""

SOURCES: tuple[Source, ...] = ("meta", "header", "both", "none", "invalid")

LONGEST = 128
"""Characters of a text that a peer chose."""

GET_PROMPT = "prompts/get"


class TraceDetails(Struct, frozen=True, gc=False):
    """What only a span says. ``started`` is on the monotonic clock."""

    started: float
    source: Source = "none"
    request_id: str | None = None
    link: str | None = None
    """The context of the HTTP header, where the message's own is another one."""
    prompt: str | None = None
    version: str | None = None
    is_piped: bool = False
    """Whether the client speaks over a pipe, for its server is wrapped."""


def details_of(
    message: Message, context: str | None, header: str | None, version: str | None, now: float
) -> TraceDetails:
    """What is noted of a request whose ``context`` counts; ``header`` is that of HTTP, and
    ``version`` that of the conversation, where the message does not say its own."""
    params = message.params
    given = None if params is None or params.meta is None else params.meta.traceparent
    source = _source(given, context, header)
    return TraceDetails(
        now,
        source,
        _shown_id(message.id if message.id is not UNSET else None),
        header if source == "both" and header != context else None,
        fit(params.name) if params is not None and message.method == GET_PROMPT else None,
        fit(message.protocol_version) or version,
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


def _shown_id(request_id: Id) -> str | None:
    if isinstance(request_id, str):
        return fit(request_id)
    return None if request_id is None else str(request_id)

"""One finished request, as data."""

from __future__ import annotations

from msgspec import Struct

from exporter.protocol.label_values import Outcome


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
    """The client's own name, where it is logged."""

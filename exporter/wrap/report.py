"""What ``wrap`` reports to the exporter: one JSON object a line, each acknowledged.

``wrap`` writes a Report, the exporter replies with ``ACKNOWLEDGED`` once it has counted it, and
only then comes the next: what was not acknowledged is sent again, perhaps to another exporter.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from exporter.protocol import trace_context
from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call

ACKNOWLEDGED = b"\n"

MAX_REPORT = 4 * 1024 * 1024
"""Bytes; a longer line is no report."""


_LONGEST = 30 * 86_400.0
"""Seconds that a call may have taken; what is beyond that is no measurement."""
_LARGEST = 2**53
"""Likewise, bytes of a result."""


class Finished(Struct, array_like=True):
    """A ``Call``, as it is written."""

    method: str
    outcome: Outcome
    seconds: float
    to_server: bool = True
    tool: str | None = None
    code: float | None = None
    result_bytes: int | None = None
    traceparent: str | None = None
    ended: float = 0.0
    """When it ended, in Unix time: the exporter is on the same machine."""
    request_id: str | None = None
    prompt: str | None = None
    version: str | None = None
    state: str | None = None
    is_invalid: bool = False
    """Whether it bore a trace context that is none."""

    def call(self, client: str | None = None) -> Call:
        """The Call again, with what is known of its conversation."""
        size = self.result_bytes
        return Call(
            self.method,
            self.outcome,
            min(max(0.0, self.seconds), _LONGEST),
            self.to_server,
            self.tool,
            self.code,
            None if size is None else min(max(0, size), _LARGEST),
            trace_context.valid(self.traceparent),
            client,
        )


class Session(Struct, array_like=True):
    """Who the client is; ``age`` in seconds when this was written. All of it is untrusted."""

    client: str | None
    version: str | None
    age: float


class Page(Struct, array_like=True):
    """One reply to ``tools/list`` as the server wrote it, and the cursor that asked for it."""

    cursor: str | None
    reply: Raw


class Report(Struct, omit_defaults=True):
    """What happened since the last report.

    With a ``pid`` it opens a connection: ``is_first`` unless another one has been opened before.
    ``waiting`` is how many requests wait for their reply, ``exit`` how the server ended,
    ``dropped`` how many calls will never be reported.
    """

    server: str
    pid: int | None = None
    is_first: bool = False
    session: Session | None = None
    pages: list[Page] = []
    is_list_changed: bool = False
    calls: list[Finished] = []
    notified: list[tuple[str, bool, int]] = []
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    unparsed: dict[str, int] = {}
    failed: dict[str, int] = {}
    waiting: int = 0
    dropped: int = 0
    exit: str | None = None


_decoder = msgspec.json.Decoder(Report)
_encoder = msgspec.json.Encoder()


def encode(report: Report) -> bytes:
    """The line."""
    return _encoder.encode(report) + b"\n"


def decode(line: bytes) -> Report:
    """The report again. Raises ``ValueError`` where it is none."""
    return _decoder.decode(line)

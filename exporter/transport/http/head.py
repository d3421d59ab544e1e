"""Heads of HTTP messages that were seen before, with what followed from them.

A client sends the same head with call after call, and a server with reply after reply, but for
the length of what follows. The same bytes at the same place always mean the same, so what was
once parsed, checked and written is kept; anything else takes the long way through the parser.

A client whose HTTP library makes traces sends another ``traceparent`` with each request. Its
value is cut out of what is remembered, and put into what goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Generic, TypeVar

from exporter.protocol import trace_context

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that belong to one connection only (RFC 9110, section 7.6.1)."""

BODYLESS = frozenset({204, 304})
"""Statuses of replies that never have a body."""

LONGEST = 2048
"""Bytes of a head; a longer one is parsed each time."""

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_USUAL = frozenset({b"keep-alive", b"close"})
_END = b"\r\n\r\n"
# A message with one of these is more than a head and so many bytes.
_UNUSUAL = frozenset({b"expect", b"transfer-encoding", b"upgrade"})

_TRACEPARENT = b"traceparent"
_FIELDS = (b"\r\ntraceparent: ", b"\r\nTraceparent: ")
_CUT = _END
"""In the place of a value that was cut out of a head: no head holds it before its end."""

_MARK = b"\0" * trace_context.LENGTH
"""In the place of the value in a head that is kept: no header that was parsed holds it."""

Head = TypeVar("Head")


class WrittenHeaders(list[tuple[bytes, bytes]]):
    """Headers that are sent again and again, and never changed: written once."""

    def __init__(self, fields: Headers) -> None:
        super().__init__(fields)
        self.lines = field_lines(fields)


class HeadRoute:
    """Where a head led to: which upstream with which of its places, by which plan, and how."""

    __slots__ = (
        "extra_headers",
        "headers",
        "is_encoded",
        "onward",
        "plan",
        "slots",
        "upstream",
    )

    def __init__(
        self,
        plan: object,
        upstream: Any,
        slots: Any,
        headers: Headers,
        extra_headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        is_encoded: bool = False,
    ) -> None:
        self.plan = plan
        self.extra_headers = extra_headers
        """Of responses that are the exporter's own."""
        self.upstream = upstream
        self.slots = slots
        self.headers = headers
        self.is_encoded = is_encoded
        """Whether what follows is compressed."""
        self.onward: bytes | None = None
        """The head as this upstream gets it, once it has been written."""


class RequestHead:
    """What a request's head says, and where it led to."""

    __slots__ = (
        "_rest",
        "_rest_at",
        "_start",
        "headers",
        "is_traced",
        "length",
        "method",
        "names",
        "route",
        "size",
        "target",
    )

    def __init__(
        self,
        text: bytes,
        method: bytes,
        target: bytes,
        headers: Headers,
        names: dict[bytes, bytes],
    ) -> None:
        """``text`` is the head itself, without the value of its trace context."""
        before, _, self._rest = text.partition(_CUT)
        self.is_traced = bool(self._rest)
        self._start = before if self.is_traced else text
        self._rest_at = len(before) + trace_context.LENGTH
        self.size = self._rest_at + len(self._rest) if self.is_traced else len(text)
        """Bytes of the head as it comes."""
        self.method = method
        self.target = target
        self.headers = headers
        self.names = names
        self.length = int(names[b"content-length"])
        if _TRACEPARENT in names:
            self.headers = [
                (name, _MARK) if name.lower() == _TRACEPARENT else (name, value)
                for name, value in headers
            ]
            self.names = {**names, _TRACEPARENT: _MARK}
        self.route: HeadRoute | None = None

    def begins(self, data: bytes) -> bool:
        """Whether it is the head at the front, whatever stands in its trace context's place."""
        is_start = data.startswith(self._start)
        return is_start and (not self._rest or data.startswith(self._rest, self._rest_at))

    def traceparent_of(self, data: bytes) -> str | None:
        """The trace context in a message that begins with this head, where it is valid."""
        return trace_context.valid_at(data, len(self._start))


class ReplyHead:
    """What a reply's head says, and how it goes on to the client."""

    __slots__ = (
        "encoding",
        "fields",
        "headers",
        "is_challenge",
        "is_framed",
        "is_sized",
        "is_stream",
        "kind",
        "length",
        "lines",
        "reason",
        "session_id",
        "status",
        "text",
    )

    def __init__(self, status: int, reason: bytes, headers: Headers) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.text = b""
        """The head itself, where it is remembered."""
        self.kind = b""
        self.is_stream = False
        self.encoding = b""
        self.session_id = b""
        self.is_challenge = False
        self.length = -1
        self.is_framed = self.is_sized = status in BODYLESS
        for name, value in headers:
            self._note(name.lower(), value)
        self.fields = onward(headers)
        self.lines = status_line(status, reason) + field_lines(self.fields)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-type":
            self.kind = value.partition(b";")[0].strip().lower()
            self.is_stream = self.kind == b"text/event-stream"
        elif name == b"content-length":
            self.is_framed = self.is_sized = True
            self.length = int(value) if value.isdigit() else -1
        elif name == b"transfer-encoding":
            self.is_framed = self.is_framed or value.strip().lower().endswith(b"chunked")
        elif name == b"content-encoding":
            self.encoding = value.strip().lower()
        elif name == b"mcp-session-id":
            self.session_id = value
        elif name == b"www-authenticate":
            self.is_challenge = True


class HeadCache(Generic[Head]):
    """The heads of one listener, or of one upstream: at most ``most``, then it begins anew."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[bytes, Head] = {}
        self.get = self._known.get

    def keep(self, text: bytes, head: Head) -> None:
        """Remember what these bytes mean."""
        if len(self._known) >= self._most:
            self._known.clear()
        self._known[text] = head


def head_of(data: bytes, start: bytes, names: Iterable[bytes]) -> bytes | None:
    """The head that ``data`` begins with, where it may be remembered.

    ``start`` is what the parser says that it starts with, ``names`` are its headers' in lower
    case. Line ends must be plain: a parser may take others for the head's end.
    """
    end = data.find(_END, 0, LONGEST) + len(_END)
    text = data[:end]
    if end < len(_END) or not text.startswith(start) or not _UNUSUAL.isdisjoint(names):
        return None
    return text if text.count(b"\n") == text.count(b"\r\n") else None


def traceparent_of(headers: Headers) -> str | None:
    """The valid trace context among headers, where they have exactly one."""
    values = [value for name, value in headers if name.lower() == _TRACEPARENT]
    return trace_context.valid(values[0].decode("latin-1")) if len(values) == 1 else None


def without_traceparent(text: bytes) -> tuple[bytes, str] | None:
    """A head without the value of its trace context, and that value.

    ``None`` where it has none that is valid, or has it in another form than clients write.
    """
    for field in _FIELDS:
        at = text.find(field) + len(field)
        if at >= len(field):
            end = at + trace_context.LENGTH
            value = trace_context.valid_at(text, at)
            if value is None or text[end : end + 2] != b"\r\n":
                return None
            return text[:at] + _CUT + text[end:], value
    return None


def with_traceparent(text: bytes, value: str) -> bytes:
    """A head that was kept, with the trace context of this request in it."""
    return text.replace(_MARK, value.encode(), 1)


@lru_cache(maxsize=64)
def reply_start(status: int, content_type: bytes) -> bytes:
    """The first lines of a reply of our own, up to its length."""
    kind = b"Content-Type: %b\r\n" % content_type if content_type else b""
    return status_line(status) + kind + b"Content-Length: "


def status_line(status: int, reason: bytes = b"") -> bytes:
    """The first line of a reply."""
    return b"HTTP/1.1 %d %b\r\n" % (status, reason or _REASONS.get(status, b"Unknown"))


def field_lines(fields: Headers) -> bytes:
    """Headers as they are written."""
    if isinstance(fields, WrittenHeaders):
        return fields.lines
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def named_hops(headers: Headers) -> frozenset[bytes]:
    """The headers that ``Connection`` names: they belong to one connection as well."""
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name.lower() == b"connection" and value.lower() not in _USUAL:
            named |= {token.strip().lower() for token in value.split(b",")}
    return named


def onward(headers: Headers) -> Headers:
    """The headers of a reply that go on to the client."""
    # Whatever Connection says, a reply without its length would not end.
    hops = (HOP_BY_HOP | named_hops(headers)) - {b"content-length"}
    return [field for field in headers if field[0].lower() not in hops]

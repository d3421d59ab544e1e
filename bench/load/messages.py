"""What a client says, and whether the answer is right."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from bench.servers.answers import LEGACY, MODERN, name_of

FIRST_ID = 100_000_000
"""All ids have as many digits, so that all requests are equally long."""
TOKEN = 7
NOTIFICATION = b'{"jsonrpc":"2.0","method":'
"""How the server begins what is not a reply."""

_FIELDS = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench/1\r\n"
    "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n"
)
_PLACE = b"#########"
"""Where a call's id goes in a header: it has as many digits."""
_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}


class WrongReplyError(Exception):
    """A reply is not what the server said; the message tells how."""


class Result(msgspec.Struct):
    """What is read of a result."""

    is_error: bool = msgspec.field(default=False, name="isError")


class Reply(msgspec.Struct):
    """What is read of a reply."""

    id: int
    result: Result | None = None


_decode = msgspec.json.Decoder(Reply).decode


class Talk(msgspec.Struct, frozen=True):
    """Calls of one kind: the era, the size of a result (0: a word), how many tools take turns."""

    era: str = LEGACY
    size: int = 0
    is_streamed: bool = False
    tools: int = 1
    trace_flags: str = ""
    """Of the trace context in ``_meta``: "00" where the client does not keep the trace, "01" where
    it does. Without, there is none."""
    has_trace_header: bool = False
    """Whether each request has a header ``traceparent`` of its own."""

    @property
    def names(self) -> list[str]:
        if self.is_streamed:
            return ["events"]
        return ["sized"] if self.size else [name_of(number) for number in range(self.tools)]

    def bodies(self) -> list[tuple[str, bytes, bytes]]:
        """Each tool's name, and its call, cut where the id goes."""
        return [(name, *self._body(name)) for name in self.names]

    def _body(self, name: str) -> tuple[bytes, bytes]:
        meta: dict[str, Any] = dict(_META) if self.era == MODERN else {}
        if self.is_streamed:
            meta["progressToken"] = TOKEN
        if self.trace_flags:
            meta["traceparent"] = f"00-{'a' * 32}-{'b' * 16}-{self.trace_flags}"
        params = {"name": name, "arguments": self._arguments()} | ({"_meta": meta} if meta else {})
        text = json.dumps(params, separators=(",", ":")).encode()
        return b'{"jsonrpc":"2.0","id":', b',"method":"tools/call","params":%b}' % text

    def _arguments(self) -> dict[str, object]:
        return {"size": self.size} if self.size else {"text": "hello"}

    def arguments(self) -> bytes:
        """The arguments of each call, in JSON."""
        return json.dumps(self._arguments()).encode()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Calls without end, each with its id, as lines."""
        bodies = itertools.cycle(self.bodies())
        for number in itertools.count(FIRST_ID):
            _, head, tail = next(bodies)
            yield number, b"%b%d%b\n" % (head, number, tail)

    def check(self, message: bytes, number: int) -> None:
        """Raise ``WrongReplyError`` unless this is the result of the call with this id."""
        try:
            reply = _decode(message)
        except msgspec.DecodeError as error:
            raise WrongReplyError(f"no reply: {error}: {message[:200]!r}") from error
        if reply.id != number or reply.result is None or reply.result.is_error:
            raise WrongReplyError(f"expected was the result of {number}: {message[:200]!r}")
        if len(message) < self.size:
            raise WrongReplyError(f"{len(message)} bytes instead of at least {self.size}")


class Http(msgspec.Struct, frozen=True):
    """The same calls over HTTP, as requests of one session."""

    talk: Talk
    host: str
    path: str

    def greeting(self) -> list[bytes]:
        """What begins a session."""
        if self.talk.era == MODERN:
            return []
        client = {"name": "bench", "version": "1"}
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client}
        initialize = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        return [self.request(json.dumps(initialize).encode())]

    def initialized(self, session: bytes) -> bytes:
        """The notification that ends the greeting."""
        body = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
        return self.request(body, self._session_fields(session))

    def farewell(self, session: bytes) -> bytes:
        """What ends a session."""
        fields = self._session_fields(session)
        head = f"DELETE {self.path} HTTP/1.1\r\nHost: {self.host}\r\n".encode()
        return head + fields + b"\r\n"

    def calls(self, session: bytes) -> Iterator[tuple[int, bytes]]:
        """Calls without end, each with its id."""
        turns = itertools.cycle([*self._shapes(session)])
        for number in itertools.count(FIRST_ID):
            head, tail = next(turns)
            if self.talk.has_trace_header:
                head = head.replace(_PLACE, b"%d" % number)
            yield number, b"%b%d%b" % (head, number, tail)

    def _shapes(self, session: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Each tool's call as a request, cut where the id goes."""
        for name, head, tail in self.talk.bodies():
            example = self.request(head + b"%d" % FIRST_ID + tail, self._fields(session, name))
            begin = len(example) - len(tail) - len(str(FIRST_ID))
            yield example[:begin], tail

    def request(self, body: bytes, fields: bytes = b"") -> bytes:
        """A POST of this body."""
        head = _FIELDS.format(path=self.path, host=self.host).encode()
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, fields, len(body), body)

    def _session_fields(self, session: bytes) -> bytes:
        named = b"Mcp-Session-Id: %b\r\n" % session if session else b""
        return b"MCP-Protocol-Version: %b\r\n%b" % (LEGACY.encode(), named)

    def _fields(self, session: bytes, name: str) -> bytes:
        trace = b"traceparent: 00-%b%b-%b-00\r\n" % (b"a" * 23, _PLACE, b"b" * 16)
        return self._era_fields(session, name) + trace * self.talk.has_trace_header

    def _era_fields(self, session: bytes, name: str) -> bytes:
        if self.talk.era == LEGACY:
            return self._session_fields(session)
        lines = f"MCP-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: {name}\r\n"
        return lines.encode()

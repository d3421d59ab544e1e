"""Servers whose replies are odd, a kind each, at one address: ``/KIND/mcp``.

They are what people have met behind gateways and bridges. All of them are of the older era, and
have the one tool of ``talk``.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import uuid4

from tests.misbehaving import messages
from tests.misbehaving.messages import Json
from tests.support.raw_server import CRLF, HANG_UP, Received, chunks, head, whole

MARK = b"\xef\xbb\xbf"
LARGE = 256 * 1024

JSON = "Content-Type: application/json"
EVENTS = "Content-Type: text/event-stream"
CHUNKED = "Transfer-Encoding: chunked"

Pieces = Iterable[bytes]
Frame = Callable[[Json], Pieces]
"""Makes an HTTP reply of a message."""

Answer = Callable[[Received, Json], Pieces | None]
"""Replies to a request in its own way; ``None`` leaves it to the next one."""


@dataclass(frozen=True)
class Kind:
    """One kind of server: how it replies, and the outcome that its calls have."""

    answers: tuple[Answer, ...]
    outcome: str = "ok"
    unparsed: str = ""
    """Why something of it is not read, once for each client."""


def encoded(message: object) -> bytes:
    return json.dumps(message).encode()


def as_json(message: Json) -> Pieces:
    return whole(200, encoded(message), JSON)


# Frames: how a message becomes a reply.


def body(change: Callable[[Json], bytes], *fields: str, status: int = 200) -> Frame:
    """A reply with a length."""
    return lambda message: whole(status, change(message), *(fields or (JSON,)))


def event(data: bytes, end: bytes = b"\n") -> bytes:
    return b"event: message" + end + b"data: " + data + end + end


def stream(change: Callable[[Json], bytes], *fields: str) -> Frame:
    """A stream of events, in chunks of a few bytes."""

    def frame(message: Json) -> Pieces:
        text = change(message)
        yield head(200, EVENTS, CHUNKED, *fields)
        yield from chunks(text[at : at + 50] for at in range(0, len(text), 50))

    return frame


def lines_of(message: Json, end: bytes) -> bytes:
    """An event whose data has a line for each line of indented JSON."""
    lines = json.dumps(message, indent=1).encode().split(b"\n")
    return b"".join(b"data:" + line + end for line in lines) + end


def compressed(coding: str, compress: Callable[[bytes], bytes]) -> Frame:
    return body(lambda m: compress(encoded(m)), JSON, f"Content-Encoding: {coding}")


def members(data: bytes) -> bytes:
    """Two gzip members, one behind the other."""
    return gzip.compress(data[:20]) + gzip.compress(data[20:])


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def compressed_stream(message: Json) -> Pieces:
    """A compressed stream, flushed with each event, that stays open after the reply."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}
    yield head(200, EVENTS, CHUNKED, "Content-Encoding: gzip")
    for each in ({**note, "params": {"level": "info", "data": "soon"}}, message):
        packed = packer.compress(event(encoded(each))) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield b"%X" % len(packed) + CRLF + packed + CRLF
    last = packer.flush()
    yield b"%X" % len(last) + CRLF + last + CRLF + b"0" + CRLF + CRLF


def until_closed(message: Json) -> Pieces:
    """A reply whose end is that of its connection."""
    yield head(200, JSON, "Connection: close", version="1.0") + encoded(message)
    yield HANG_UP


def early(message: Json) -> Pieces:
    """A reply behind an interim one."""
    yield head(103, "Link: </style.css>; rel=preload")
    yield from as_json(message)


def large(message: Json) -> Json:
    if "content" not in message.get("result", {}):
        return message
    return {**message, "result": {"content": [{"type": "text", "text": "x" * LARGE}]}}


def text_id(message: Json) -> Json:
    return {**message, "id": str(message["id"])}


def float_id(message: Json) -> Json:
    return {**message, "id": float(message["id"])}


# Answers: to what a kind replies in its own way.


def every(frame: Frame, unparsed: str = "") -> Kind:
    """Every reply in this frame."""
    answer = lambda received, message: _framed(received, message, frame)  # noqa: E731
    return Kind((answer,), unparsed=unparsed)


def _framed(received: Received, message: Json, frame: Frame) -> Pieces | None:
    if received.method != b"POST" or "id" not in message or "method" not in message:
        return None
    return frame(messages.legacy(message))


def calls(reply: Callable[[Json], Pieces], outcome: str = "ok", unparsed: str = "") -> Kind:
    """Only a call is replied to so."""
    answer = lambda _, message: reply(message) if _is_call(message) else None  # noqa: E731
    return Kind((answer,), outcome, unparsed)


def _is_call(message: Json) -> bool:
    return message.get("method") == "tools/call"


def no_reply(content: object, status: int = 200) -> Kind:
    """A call is replied to with JSON that is no JSON-RPC."""
    unparsed = "not_jsonrpc" if status < 400 else ""
    return calls(lambda _: whole(status, encoded(content), JSON), "upstream_error", unparsed)


def notified(*pieces: bytes, unparsed: str = "") -> Kind:
    """A notification is replied to with this."""

    def answer(received: Received, message: Json) -> Pieces | None:
        return pieces if received.method == b"POST" and "id" not in message else None

    return Kind((answer,), unparsed=unparsed)


def on(method: bytes, *pieces: bytes) -> Kind:
    """An HTTP method is replied to with this."""
    return Kind((lambda received, _: pieces if received.method == method else None,))


def asked(method: str, reply: Callable[[Json], Json]) -> Kind:
    """A JSON-RPC method is replied to with this message."""

    def answer(_: Received, message: Json) -> Pieces | None:
        return as_json(reply(message)) if message.get("method") == method else None

    return Kind((answer,))


def moved(status: int, to: Callable[[Received], str]) -> Kind:
    """All is at the same path with a slash at its end."""

    def answer(received: Received, _: Json) -> Pieces | None:
        if received.target.endswith(b"/"):
            return None
        return whole(status, b"", f"Location: {to(received)}")

    return Kind((answer,))


def _relative(received: Received) -> str:
    return received.target.decode() + "/"


def _absolute(received: Received) -> str:
    return f"http://{received.values(b'host')[0].decode()}{received.target.decode()}/"


def page(message: Json) -> Json:
    """A page of tools whose cursor was there before."""
    return messages.result(message, tools=[messages.TOOL], nextCursor="again")


def older(message: Json) -> Json:
    """Initializes in the first version alone, whatever was asked for."""
    reply = messages.legacy(message)
    reply["result"]["protocolVersion"] = "2024-11-05"
    return reply


def in_session(received: Received, message: Json) -> Pieces | None:
    """Keeps sessions, and wants them to be named."""
    reply: Pieces | None = None
    if message.get("method") == "initialize":
        session = f"mcp-session-id: {uuid4().hex}"
        reply = whole(200, encoded(messages.legacy(message)), JSON, session)
    elif not received.values(b"mcp-session-id"):
        reply = whole(400, encoded(messages.error(message, -32000, "no session")), JSON)
    return reply


def forgetful(_: Received, message: Json) -> Pieces | None:
    """Has forgotten the session when the first call comes."""
    if _is_call(message):
        return whole(404, encoded(messages.error({}, -32001, "Session not found")), JSON)
    return None


def _events(end: bytes) -> Frame:
    return stream(lambda m: event(encoded(m), end))


_BEFORE = b": hello\n\nretry: 500\n\nid: 7\ndata:\n\nevent: greeting\ndata: {}\n\n"

KINDS: dict[str, Kind] = {
    "plain": every(as_json),
    # What counts as a reply
    "error-text": no_reply({"error": "Service Unavailable"}, 503),
    "error-text-200": no_reply({"error": "Service Unavailable"}),
    "error-object": no_reply({"error": {"type": "overloaded", "message": "busy"}}, 529),
    "problem": no_reply({"title": "Bad Gateway", "status": 502}, 502),
    "message": no_reply({"message": "Endpoint request timed out"}, 504),
    "empty-array": no_reply([], 500),
    "number": no_reply(7, 500),
    "html": calls(
        lambda _: whole(502, b"<html>Bad Gateway</html>", "Content-Type: text/html"),
        "upstream_error",
    ),
    "text-ids": every(body(lambda m: encoded(text_id(m)))),
    "text-ids-in-events": every(stream(lambda m: event(encoded(text_id(m))))),
    "float-ids": every(body(lambda m: encoded(float_id(m)))),
    "array": every(body(lambda m: encoded([m]))),
    "mark": every(body(lambda m: MARK + encoded(m))),
    "mark-before-events": every(stream(lambda m: MARK + event(encoded(m)))),
    "null-id": calls(
        lambda m: as_json({**messages.error(m, -32603), "id": None}), "protocol_error"
    ),
    "error-400": calls(
        lambda m: whole(400, encoded(messages.error(m, -32602)), JSON), "protocol_error"
    ),
    # Bodies that are empty, or nearly
    "notified-202-json": notified(*whole(202, b"", JSON)),
    "notified-204": notified(head(204)),
    "notified-200": notified(*whole(200, b"")),
    "notified-chunks": notified(head(202, JSON, CHUNKED), b"0\r\n\r\n"),
    "notified-object": notified(*whole(202, b"{}", JSON), unparsed="not_jsonrpc"),
    "notified-word": notified(*whole(200, b"ok", "Content-Type: text/plain"), unparsed="not_json"),
    "notified-events": notified(head(200, EVENTS, CHUNKED), b"0\r\n\r\n"),
    "get-404": on(b"GET", *whole(404, b"")),
    "get-400": on(b"GET", *whole(400, encoded({"error": "no"}), JSON)),
    "get-200": on(b"GET", *whole(200, b"")),
    "get-ends": on(b"GET", head(200, EVENTS, CHUNKED), b"A\r\n: bye bye\n\r\n0\r\n\r\n"),
    # Compressed bodies
    "gzip": every(compressed("gzip", gzip.compress)),
    "x-gzip": every(compressed("x-gzip", gzip.compress)),
    "gzip-members": every(compressed("gzip", members)),
    "gzip-upper-case": every(compressed("GZIP", gzip.compress)),
    "deflate": every(compressed("deflate", zlib.compress)),
    "raw-deflate": every(compressed("deflate", raw_deflate)),
    "gzip-events": every(compressed_stream),
    "large": every(body(lambda m: encoded(large(m))), "too_large"),
    "large-event": every(body(lambda m: event(encoded(large(m))), EVENTS), "too_large"),
    # Events
    "events": every(_events(b"\n")),
    "events-crlf": every(_events(b"\r\n")),
    "events-cr": every(_events(b"\r")),
    "events-many-lines": every(stream(lambda m: lines_of(m, b"\n"))),
    "events-many-lines-cr": every(stream(lambda m: lines_of(m, b"\r"))),
    "events-unnamed": every(stream(lambda m: b"data:" + encoded(m) + b"\n\n")),
    "events-after-words": every(stream(lambda m: _BEFORE + event(encoded(m)))),
    "events-with-length": every(body(lambda m: event(encoded(m)), EVENTS)),
    # Heads
    "charset": every(body(encoded, "content-type: APPLICATION/JSON; Charset=UTF-8")),
    "indented": every(body(lambda m: b"\r\n " + json.dumps(m, indent=2).encode() + b"\n\n")),
    "until-closed": every(until_closed),
    "status-201": every(body(encoded, JSON, status=201)),
    "early-hints": every(early),
    # Health, sessions, lists
    "no-ping": asked("ping", lambda m: messages.error(m, -32601)),
    "older": asked("initialize", older),
    "circle": asked("tools/list", page),
    "session": Kind((in_session,)),
    "session-lost": Kind((forgetful, in_session), "protocol_error"),
    # Somewhere else
    "moved": moved(307, _relative),
    "moved-absolute": moved(308, _absolute),
}


def script(received: Received) -> Pieces:
    """What the kind that the address names replies."""
    kind = KINDS[received.target.split(b"/")[1].decode()]
    message: Json = json.loads(received.body) if received.body else {}
    answers = (answer(received, message) for answer in (*kind.answers, _usual))
    return next(answer for answer in answers if answer is not None)


def _usual(received: Received, message: Json) -> Pieces:
    if received.method == b"GET":
        return whole(405, b"")
    if received.method == b"DELETE":
        return whole(200, b"")
    if "id" in message and "method" in message:
        return as_json(messages.legacy(message))
    return whole(202, b"")

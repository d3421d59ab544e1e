"""Servers of the 2024-11-05 transport, odd in a way each, at one address: ``/KIND/sse``."""

from __future__ import annotations

import itertools
import json
import queue
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.misbehaving import messages
from tests.misbehaving.messages import Json
from tests.misbehaving.odd_replies import (
    CHUNKED,
    EVENTS,
    MARK,
    Pieces,
    encoded,
    event,
    float_id,
    lines_of,
    text_id,
)
from tests.support.raw_server import CRLF, Received, head, whole

Said = Callable[[Json], bytes]


def _named(where: str, end: bytes = b"\n") -> bytes:
    return b"event: endpoint" + end + b"data: " + where.encode() + end + end


@dataclass(frozen=True)
class Stream:
    """How a stream begins, given the address for messages, and how it says a message."""

    begin: Callable[[str], bytes] = _named
    say: Said = lambda message: event(encoded(message))
    fields: tuple[str, ...] = (EVENTS, CHUNKED)
    accepted: tuple[int, bytes] = (202, b"Accepted")
    is_compressed: bool = False


def before(words: bytes) -> Stream:
    """These words come before the address."""
    return Stream(lambda where: words + _named(where))


STREAMS: dict[str, Stream] = {
    "sse": Stream(),
    "sse-comment": before(b": welcome\n\n"),
    "sse-padding": before(b":" + b" " * 2048 + b"\n\n"),
    "sse-retry": before(b"retry: 3000\n\n"),
    "sse-blank-lines": before(b"\n\n\n\r\n"),
    "sse-mark": before(MARK),
    "sse-other-event": before(b"event: connected\ndata: {}\n\n"),
    "sse-ping-event": before(b"event: ping\ndata: 2026-11-28\n\n"),
    "sse-id-and-retry": Stream(
        lambda where: b"id: 1\nretry: 500\nevent: endpoint\ndata: " + where.encode() + b"\n\n"
    ),
    "sse-data-first": Stream(lambda where: b"data: " + where.encode() + b"\nevent: endpoint\n\n"),
    "sse-crlf": Stream(lambda w: _named(w, b"\r\n"), lambda m: event(encoded(m), b"\r\n")),
    "sse-many-lines": Stream(say=lambda m: lines_of(m, b"\n")),
    "sse-twice": Stream(lambda where: _named(where) * 2),
    "sse-absolute": Stream(lambda where: _named(f"HOST{where}")),
    "sse-relative": Stream(lambda where: _named(where.rpartition("/")[2])),
    "sse-query-alone": Stream(lambda where: _named("?" + where.partition("?")[2])),
    "sse-charset": Stream(fields=("content-type: Text/Event-Stream;charset=utf-8", CHUNKED)),
    "sse-gzip": Stream(fields=(EVENTS, CHUNKED, "Content-Encoding: gzip"), is_compressed=True),
    "sse-text-ids": Stream(say=lambda m: event(encoded(text_id(m)))),
    "sse-float-ids": Stream(say=lambda m: event(encoded(float_id(m)))),
    "sse-unnamed": Stream(say=lambda m: b"data:" + encoded(m) + b"\n\n"),
    "sse-accepts-200": Stream(accepted=(200, b"")),
    "sse-accepts-204": Stream(accepted=(204, b"")),
    "sse-accepts-with-json": Stream(accepted=(202, b"{}")),
}


class Streams:
    """The open streams; a script for the raw server."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._open: dict[str, queue.Queue[Json]] = {}

    def script(self, received: Received) -> Pieces:
        """Open a stream, or take a message for one."""
        path, _, query = received.target.decode().partition("?")
        stream = STREAMS[path.split("/")[1]]
        if received.method == b"GET":
            return self._stream(stream, path, received)
        message = json.loads(received.body)
        if "id" in message and "method" in message:
            self._open[query.partition("=")[2]].put(messages.legacy(message))
        status, body = stream.accepted
        return [head(204)] if status == 204 else whole(status, body)

    def _stream(self, stream: Stream, path: str, received: Received) -> Iterator[bytes]:
        number = str(next(self._numbers))
        waiting = self._open[number] = queue.Queue()
        base = f"http://{received.values(b'host')[0].decode()}"
        where = f"{path}?session={number}"
        packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
        yield head(200, *stream.fields)
        said = stream.begin(where).replace(b"HOST", base.encode())
        while True:
            if stream.is_compressed:
                said = packer.compress(said) + packer.flush(zlib.Z_SYNC_FLUSH)
            yield b"%X" % len(said) + CRLF + said + CRLF
            said = stream.say(waiting.get())

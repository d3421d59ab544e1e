"""An HTTP server that writes exactly the bytes it is told to, and keeps what it was sent.

It knows no MCP: a script takes each request and answers the pieces of the reply, head and all.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

CRLF = b"\r\n"


@dataclass(frozen=True)
class Received:
    """One request, as it arrived."""

    line: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def method(self) -> bytes:
        return self.line.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.line.split(b" ")[1]

    def values(self, name: bytes) -> list[bytes]:
        """Every value of a header."""
        return [value for key, value in self.fields if key.lower() == name.lower()]


Script = Callable[[Received], Iterable[bytes]]
"""Answers the pieces of a reply; each is sent by itself, but for these three."""

HANG_UP = b"<hang up>"
"""Closes the connection."""

RESET = b"<reset>"
"""Closes it with a TCP reset."""

HALF_CLOSE = b"<half close>"
"""Says that no more will come, and goes on to read."""


def head(status: int, *fields: str, reason: str = "Some Reason", version: str = "1.1") -> bytes:
    """A reply's head."""
    return "\r\n".join([f"HTTP/{version} {status} {reason}", *fields, "", ""]).encode("latin-1")


def whole(status: int, body: bytes, *fields: str) -> list[bytes]:
    """A reply with a length."""
    return [head(status, f"Content-Length: {len(body)}", *fields) + body]


def chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces of a body as chunks, each sent by itself, and the last chunk."""
    for piece in pieces:
        if piece:
            yield b"%X;odd=1\r\n" % len(piece) + piece + CRLF
    yield b"0\r\n\r\n"


def cut(data: bytes, seed: int, longest: int) -> Iterator[bytes]:
    """The data in pieces of one byte to ``longest``, the same for the same seed."""
    random = Random(seed)
    start = 0
    while start < len(data):
        end = start + random.randint(1, longest)
        yield data[start:end]
        start = end


@dataclass
class RawServer:
    """The server's side of the test."""

    url: str
    script: Script
    received: list[Received] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)

    @property
    def last(self) -> Received:
        return self.received[-1]


class _Handler(socketserver.BaseRequestHandler):
    request: socket.socket
    server: _Server

    def handle(self) -> None:
        raw = self.server.raw
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.connections.add(self.request)
        with contextlib.suppress(ConnectionError), self.request.makefile("rb") as stream:
            while (received := _read(stream)) is not None:
                raw.received.append(received)
                if not self._reply(raw, received):
                    break
        raw.connections.discard(self.request)

    def _reply(self, raw: RawServer, received: Received) -> bool:
        try:
            for piece in raw.script(received):
                if piece in (HANG_UP, RESET):
                    self._reset_if(piece == RESET)
                    return False
                if piece == HALF_CLOSE:
                    self.request.shutdown(socket.SHUT_WR)
                else:
                    self.request.sendall(piece)
        except ConnectionError:
            raise
        except Exception as failure:  # noqa: BLE001  a thread's failure is the test's
            raw.failures.append(failure)
            return False
        return True

    def _reset_if(self, wanted: bool) -> None:
        if wanted:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            socket.close(self.request.detach())


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 256
    raw: RawServer


def _read(stream: object) -> Received | None:
    readline, read = stream.readline, stream.read  # type: ignore[attr-defined]
    line = readline()
    if not line:
        return None
    fields = []
    while (text := readline()) not in (CRLF, b""):
        name, _, value = text.rstrip(CRLF).partition(b":")
        fields.append((name, value.removeprefix(b" ")))
    length = next((int(value) for name, value in fields if name.lower() == b"content-length"), 0)
    return Received(line.rstrip(CRLF), fields, read(length))


@contextmanager
def serving(script: Script) -> Iterator[RawServer]:
    """The server on a free port; fails at the end if its script failed."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
        raw = server.raw = RawServer(url, script)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield raw
        finally:
            server.shutdown()
            for connection in list(raw.connections):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
    if raw.failures:
        raise raw.failures[0]

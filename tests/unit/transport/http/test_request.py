"""A request's reply: what goes onto the wire."""

from __future__ import annotations

import pytest

from exporter.transport.http.request import Request


class Wire:
    """A connection that remembers what it was told."""

    def __init__(self, closing: bool = False) -> None:
        self.sent = b""
        self.told: list[str] = []
        self._closing = closing

    def closing_after(self, request: Request) -> bool:
        return self._closing or not request.keep_alive

    def put(self, data: bytes) -> None:
        self.sent += data

    def flush(self) -> None:
        self.told.append("flush")

    def finished(self, request: Request) -> None:
        assert request.closed
        self.told.append("finished")

    def abort(self) -> None:
        self.told.append("abort")


def request(wire: Wire, method: bytes = b"POST", minor: int = 1) -> Request:
    found = Request(wire)
    found.method, found.minor, found.target = method, minor, b"/a/mcp?x=1&y"
    found.headers = [(b"X-Name", b"first"), (b"x-name", b"second")]
    return found


def test_the_first_of_two_headers_counts_whatever_its_case() -> None:
    found = request(Wire())
    assert (found.header(b"x-name"), found.header(b"x-other")) == (b"first", None)


def test_the_target_has_a_path_and_a_query() -> None:
    found = request(Wire())
    assert (found.path, found.query) == (b"/a/mcp", b"x=1&y")


def test_a_reply_without_a_length_is_chunked() -> None:
    wire = Wire()
    reply = request(wire)
    reply.start(200, [(b"Content-Type", b"text/plain")])
    reply.write(b"hello")
    reply.write(b"")
    reply.end()
    head, _, body = wire.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert body == b"5\r\nhello\r\n0\r\n\r\n"
    assert wire.told == ["finished"]


@pytest.mark.parametrize("status", [204, 304])
def test_a_reply_that_has_no_body_has_no_coding(status: int) -> None:
    wire = Wire()
    reply = request(wire)
    reply.start(status, [])
    reply.end()
    assert b"chunked" not in wire.sent
    assert wire.sent.endswith(b"\r\n\r\n")


def test_an_old_client_gets_a_reply_that_ends_with_the_connection() -> None:
    wire = Wire()
    reply = request(wire, minor=0)
    reply.start(200, [])
    assert not reply.keep_alive
    assert b"Connection: close" in wire.sent
    assert b"chunked" not in wire.sent


def test_a_reply_to_head_has_no_body() -> None:
    wire = Wire()
    reply = request(wire, b"HEAD")
    reply.respond(200, b"hello", b"text/plain")
    assert wire.sent.endswith(b"Content-Length: 5\r\n\r\n")


def test_the_reason_of_the_server_is_kept() -> None:
    wire = Wire()
    request(wire).start(299, [], b"Quite Fine")
    assert wire.sent.startswith(b"HTTP/1.1 299 Quite Fine\r\n")


def test_a_client_that_is_gone_is_told_of_once_and_gets_nothing() -> None:
    wire = Wire()
    reply = request(wire)
    gone: list[str] = []
    reply.on_gone = lambda: gone.append("gone")
    reply.gone()
    reply.gone()
    reply.write(b"late")
    reply.end()
    reply.abort()
    assert (gone, wire.sent, wire.told) == (["gone"], b"", [])

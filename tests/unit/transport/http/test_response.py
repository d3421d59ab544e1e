"""What a response puts onto the wire, and whom it tells."""

from __future__ import annotations

import pytest

from exporter.transport.http.response import Response


class Wire:
    """A connection that remembers what it was told."""

    def __init__(self, closing: bool = False) -> None:
        self.sent = b""
        self.told: list[str] = []
        self._closing = closing

    def closing_after(self, response: Response) -> bool:
        return self._closing or not response.keep_alive

    def put(self, data: bytes) -> None:
        self.sent += data

    def flush(self) -> None:
        self.told.append("flush")

    def finished(self, response: Response) -> None:
        assert response.closed
        self.told.append("finished")

    def abort(self) -> None:
        self.told.append("abort")


class Watcher:
    """What writes a response."""

    def __init__(self) -> None:
        self.gone = 0

    def client_gone(self) -> None:
        self.gone += 1

    def client_paused(self, paused: bool) -> None:
        raise AssertionError(paused)


def response(wire: Wire, *, is_bodyless: bool = False, minor: int = 1) -> Response:
    found = Response(wire)
    found.is_bodyless, found.minor = is_bodyless, minor
    return found


def test_a_reply_without_a_length_is_chunked() -> None:
    wire = Wire()
    reply = response(wire)
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
    reply = response(wire)
    reply.start(status, [])
    reply.end()
    assert b"chunked" not in wire.sent
    assert wire.sent.endswith(b"\r\n\r\n")


def test_an_old_client_gets_a_reply_that_ends_with_the_connection() -> None:
    wire = Wire()
    reply = response(wire, minor=0)
    reply.start(200, [])
    assert not reply.keep_alive
    assert b"Connection: close" in wire.sent
    assert b"chunked" not in wire.sent


def test_a_reply_to_head_has_no_body() -> None:
    wire = Wire()
    reply = response(wire, is_bodyless=True)
    reply.send(200, b"hello", b"text/plain")
    assert wire.sent.endswith(b"Content-Length: 5\r\n\r\n")


def test_the_reason_of_the_server_is_kept() -> None:
    wire = Wire()
    response(wire).start(299, [], b"Quite Fine")
    assert wire.sent.startswith(b"HTTP/1.1 299 Quite Fine\r\n")


def test_a_client_that_is_gone_is_told_of_once_and_gets_nothing() -> None:
    wire = Wire()
    reply = response(wire)
    watcher = reply.watcher = Watcher()
    reply.gone()
    reply.gone()
    reply.write(b"late")
    reply.end()
    reply.abort()
    assert (watcher.gone, wire.sent, wire.told) == (1, b"", [])


def test_extra_headers_are_in_every_response_that_does_not_set_them_itself() -> None:
    for is_whole in (True, False):
        wire = Wire()
        reply = response(wire)
        reply.extra_headers = ((b"X-Frame-Options", b"deny"), (b"Vary", b"Origin"))
        own = [(b"vary", b"Accept")]
        reply.send(200, b"", b"", own) if is_whole else reply.start(200, own)
        assert b"X-Frame-Options: deny\r\n" in wire.sent
        assert wire.sent.lower().count(b"vary:") == 1


@pytest.mark.parametrize("way", ["end", "abort", "gone"])
def test_a_slot_is_released_once_however_a_response_ends(way: str) -> None:
    class CountingSlot:
        released = 0

        def release(self) -> None:
            self.released += 1

    reply = response(Wire())
    slot = reply.slot = CountingSlot()
    for _ in range(2):
        getattr(reply, way)()
    assert slot.released == 1

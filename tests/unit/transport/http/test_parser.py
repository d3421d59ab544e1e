"""Requests out of bytes, without a connection; what a connection does with them is its own test."""

from __future__ import annotations

from typing import cast

import pytest

from exporter.transport.http.parser import ListenerLimits, ParserClient, RequestParser
from exporter.transport.http.request import Request

LIMITS = ListenerLimits(head_bytes=200, body_bytes=100)
GET = b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Client:
    """What a parser tells its connection."""

    def __init__(self) -> None:
        self.begun = 0
        self.asked_for_body = 0
        self.rejects: tuple[int, str] | None = None

    def begins(self) -> None:
        self.begun += 1

    def screen(self, request: Request) -> tuple[int, str] | None:  # noqa: ARG002
        return self.rejects

    def ask_for_body(self) -> None:
        self.asked_for_body += 1


class Parsing:
    def __init__(self) -> None:
        self.client = Client()
        self.parser = RequestParser(cast("ParserClient", self.client), LIMITS)

    def feed(self, *pieces: bytes) -> list[tuple[bytes, bytes, str | None]]:
        """What is whole: method, body, and the reason of a rejection."""
        for piece in pieces:
            self.parser.feed(piece)
        found = []
        while self.parser.whole:
            request, error = self.parser.whole.popleft()
            reason = None if error is None else error.reason
            found.append((request.method, request.body, reason))
        return found


def post(body: bytes, *fields: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    lines = [b"POST /a HTTP/1.1", b"Host: localhost", length, *fields]
    return b"\r\n".join([*lines, b"", body])


def test_bytes_one_by_one_are_the_same_request() -> None:
    data = post(b"body")
    assert Parsing().feed(data) == [(b"POST", b"body", None)]
    assert Parsing().feed(*(bytes([byte]) for byte in data)) == [(b"POST", b"body", None)]


def test_requests_that_come_together_are_kept_in_their_order() -> None:
    parsing = Parsing()
    assert parsing.feed(post(b"1") + GET + post(b"2")) == [
        (b"POST", b"1", None),
        (b"GET", b"", None),
        (b"POST", b"2", None),
    ]
    assert parsing.client.begun == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (post(b"x" * 101), "body_too_large"),
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n", "head_too_large"),
        (b"GET / HTTP/1.1\r\n\r\n", "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "bad_request"),
        (b"nonsense\r\n\r\n", "bad_request"),
    ],
)
def test_after_a_rejected_request_nothing_is_read(data: bytes, reason: str) -> None:
    parsing = Parsing()
    ((_, _, found),) = parsing.feed(data, GET)
    assert found == reason
    assert parsing.parser.is_done


def test_a_chunked_body_is_rejected_before_it_comes() -> None:
    parsing = Parsing()
    parsing.client.rejects = (401, "unauthorized")
    head = b"POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    ((_, body, reason),) = parsing.feed(head, b"1\r\nx\r\n0\r\n\r\n")
    assert (body, reason) == (b"", "unauthorized")


def test_a_client_that_asks_first_is_asked_for_its_body_once() -> None:
    parsing = Parsing()
    head, body = post(b"body", b"Expect: 100-continue").split(b"\r\n\r\n")
    assert parsing.feed(head + b"\r\n\r\n") == []
    assert parsing.client.asked_for_body == 1
    assert parsing.feed(body) == [(b"POST", b"body", None)]


def test_a_declined_upgrade_leaves_an_ordinary_request() -> None:
    data = post(b"body", b"Connection: Upgrade", b"Upgrade: websocket")
    assert Parsing().feed(data) == [(b"POST", b"body", None)]


def test_what_had_come_is_forgotten_with_the_connection() -> None:
    parsing = Parsing()
    parsing.parser.feed(GET + post(b"body")[:-2])
    parsing.parser.close()
    assert parsing.feed(b"dy" + GET) == []

"""What browsers are told before a page calls, and with what it reads."""

from __future__ import annotations

import pytest

from exporter.relay import cors
from tests.support.fakes import bare_request

ORIGIN = "http://localhost:6274"


@pytest.mark.parametrize(
    ("method", "asked", "expected"),
    [
        (b"OPTIONS", {"Access_Control_Request_Method": "POST"}, True),
        (b"OPTIONS", {}, False),
        (b"POST", {"Access_Control_Request_Method": "POST"}, False),
    ],
)
def test_a_preflight_is_an_options_request_that_names_a_method(
    method: bytes, asked: dict[str, str], expected: bool
) -> None:
    assert cors.is_preflight(bare_request(method=method, **asked)) is expected


def test_a_page_may_read_the_session_and_why_it_was_rejected() -> None:
    headers = dict(cors.response_headers(bare_request(Origin=ORIGIN)))
    assert headers[b"Access-Control-Allow-Origin"] == ORIGIN.encode()
    readable = headers[b"Access-Control-Expose-Headers"].split(b", ")
    assert readable == [b"Mcp-Session-Id", b"WWW-Authenticate", b"Retry-After"]
    assert headers[b"Vary"] == b"Origin", "a cache must not give it to another page"


def test_a_program_is_told_nothing_of_pages() -> None:
    assert cors.response_headers(bare_request()) == []

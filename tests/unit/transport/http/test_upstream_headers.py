"""Headers of one connection stay on it; every other one goes on."""

from __future__ import annotations

import pytest

from exporter.config.model import Server, Values
from exporter.transport.http.head import HOP_BY_HOP, named_hops, onward
from exporter.transport.http.upstream_headers import configured, readable


@pytest.mark.parametrize(
    ("accepted", "passed_on"),
    [
        (b"gzip, deflate, br, zstd", b"gzip, deflate"),
        (b"br", b"identity"),
        (b"", b"identity"),
        (b"*", b"identity"),
        (b"GZIP;q=0.5 , identity;q=0", b"GZIP;q=0.5, identity;q=0"),
        (b"gzip;q=1.0,br;q=0.9", b"gzip;q=1.0"),
        (b"x-gzip", b"identity"),
    ],
)
def test_only_codings_that_can_be_read_in_passing_are_asked_for(
    accepted: bytes, passed_on: bytes
) -> None:
    assert readable(accepted) == passed_on


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([], set()),
        ([b"keep-alive"], set()),
        ([b"Close"], set()),
        ([b"X-One, close,X-Two"], {b"x-one", b"close", b"x-two"}),
        ([b"X-One", b"X-Two"], {b"x-one", b"x-two"}),
    ],
)
def test_connection_names_headers_of_its_own(values: list[bytes], named: set[bytes]) -> None:
    assert named_hops([(b"connection", value) for value in values]) == named


def test_a_reply_goes_on_without_what_belongs_to_its_connection() -> None:
    kept = [
        *((b"Content-Type", b"text/plain"), (b"Mcp-Session-Id", b"s"), (b"X-Accel", b"no")),
        *((b"Set-Cookie", b"a"), (b"Set-Cookie", b"b"), (b"WWW-Authenticate", b"Bearer")),
    ]
    dropped = [(name.title(), b"x") for name in HOP_BY_HOP - {b"connection"}]
    named = [(b"Connection", b"X-Own, close"), (b"x-own", b"1"), (b"X-OWN", b"2")]
    assert onward([*dropped, *kept, *named]) == kept


def test_the_user_of_the_url_goes_up_as_basic_authorization() -> None:
    server = Server("a", "http", url="https://ada:p%40ss@example.com/mcp")
    assert configured(server) == [(b"Authorization", b"Basic YWRhOnBAc3M=")]


def test_a_configured_authorization_wins_over_the_user_of_the_url() -> None:
    headers = Values({"authorization": "Bearer x"})
    server = Server("a", "http", url="https://ada@example.com/mcp", headers=headers)
    assert configured(server) == [(b"authorization", b"Bearer x")]

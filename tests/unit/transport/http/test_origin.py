"""Which names and pages are let in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.transport.http.origin import (
    LOCAL,
    OriginPolicy,
    host_name,
    is_loopback_name,
    origin_host,
)
from tests.support.fakes import bare_request

OPEN = OriginPolicy(is_loopback=False, hosts=frozenset({"exporter"}))
GUARDED = OriginPolicy(is_loopback=False, is_guarded=True)
NAMED = OriginPolicy(
    is_loopback=True,
    hosts=frozenset({"mcp.example"}),
    origins=frozenset({"https://app.example", "chrome-extension://abc"}),
)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"localhost", "localhost"),
        (b"LocalHost.:80", "localhost"),
        (b"a_b-c.example:65535", "a_b-c.example"),
        (b"[::1]", "::1"),
        (b"[::1]:6279", "::1"),
        (b"", ""),
        (b":80", ""),
        (b"a:", "a"),
        *((bad, None) for bad in (b"a:65536", b"a:x", b"[::1", b"::1", b"localhost:[x")),
        *((bad, None) for bad in (b"a/b", b"user@a", b"a b", b"a\\b", b"\xff", b'a"', b"a,b:1:2")),
    ],
)
def test_a_host_is_a_name_or_address_and_perhaps_a_port(value: bytes, host: str | None) -> None:
    assert host_name(value) == host


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        (b"http://localhost", "localhost"),
        (b"https://A.example:8443", "a.example"),
        (b"http://[::1]:3000", "::1"),
        (b"chrome-extension://abc", "abc"),
        *((bad, None) for bad in (b"null", b"file://", b"", b"localhost", b"http://a/b")),
        (b"http://evil.example\\@localhost", None),
        (b"http://user@localhost", None),
    ],
)
def test_an_origin_has_a_host_or_none(origin: bytes, host: str | None) -> None:
    assert origin_host(origin) == host


@pytest.mark.parametrize(
    ("policy", "host", "is_allowed"),
    [
        (LOCAL, "localhost:6279", True),
        (LOCAL, "files.localhost", True),
        (LOCAL, "evil.example", False),
        (LOCAL, "192.0.2.1", False),
        (NAMED, "mcp.example:443", True),
        (NAMED, "other.example", False),
        (OPEN, "localhost:6279", True),
        (OPEN, "192.0.2.1:6279", True),
        (OPEN, "[2001:db8::1]", True),
        (OPEN, "exporter:6279", True),
        (OPEN, "evil.example:6279", False),
        (OPEN, "localhost.evil.example", False),
        (GUARDED, "evil.example", True),
        (replace(GUARDED, is_loopback=True), "evil.example", False),
    ],
)
def test_a_listener_that_nothing_guards_is_addressed_by_names_it_knows(
    policy: OriginPolicy, host: str, is_allowed: bool
) -> None:
    assert policy.allows(bare_request(Host=host)) is is_allowed
    assert policy.allows(bare_request(Host=host, Origin=f"http://{host}")) is is_allowed


@pytest.mark.parametrize(
    ("policy", "host", "origin", "is_allowed"),
    [
        (LOCAL, "localhost", "http://127.0.0.1:3000", True),
        (LOCAL, "localhost", "https://evil.example", False),
        (LOCAL, "localhost", "null", False),
        (NAMED, "localhost", "https://mcp.example", True),
        (NAMED, "localhost", "https://APP.example", True),
        (NAMED, "localhost", "http://app.example", False),
        (NAMED, "localhost", "https://app.example:8443", False),
        (NAMED, "localhost", "chrome-extension://abc", True),
        (OPEN, "localhost:6279", "http://localhost:3000", True),
        (OPEN, "localhost:6279", "http://[::1]:3000", True),
        (OPEN, "192.0.2.1", "http://localhost:3000", False),
        (GUARDED, "mcp.example", "https://mcp.example", True),
        (GUARDED, "mcp.example", "https://other.example", False),
        (GUARDED, "mcp.example", "http://localhost", False),
    ],
)
def test_a_page_of_another_host_is_foreign_unless_it_is_named(
    policy: OriginPolicy, host: str, origin: str, is_allowed: bool
) -> None:
    assert policy.allows(bare_request(Host=host, Origin=origin)) is is_allowed


@pytest.mark.parametrize(
    ("site", "origin", "is_allowed"),
    [
        ("cross-site", "", False),
        ("cross-site", "http://127.0.0.1:3000", True),
        ("same-site", "", True),
        ("same-origin", "", True),
        ("none", "", True),
    ],
)
def test_what_another_site_embeds_is_refused_although_it_has_no_origin(
    site: str, origin: str, is_allowed: bool
) -> None:
    headers = {"Host": "localhost", "Sec_Fetch_Site": site} | ({"Origin": origin} if origin else {})
    assert LOCAL.allows(bare_request(b"", b"GET", **headers)) is is_allowed


def test_a_client_of_http_1_0_names_no_host() -> None:
    for policy in (LOCAL, OPEN, GUARDED):
        assert policy.allows(bare_request())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("localhost", "a.localhost", "127.0.0.1", "127.3.2.1", "::1")),
        *((host, False) for host in ("0.0.0.0", "::", "192.0.2.1", "example.org", "")),
    ],
)
def test_loopback_is_what_no_other_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback_name(host) is expected

"""Who a server says it is, in either era."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.probe.identity import Identity, read_discovery, read_initialization, read_offer
from exporter.probe.replies import LONG
from tests.support.fakes import encoded, result


@pytest.mark.parametrize(
    ("reply", "identity"),
    [
        ({}, Identity("", "", "2025-11-25")),
        ({"protocolVersion": "2024-11-05"}, Identity("", "", "2024-11-05")),
        ({"protocolVersion": 7}, Identity("", "", "2025-11-25")),
        ({"serverInfo": {"name": "a", "version": "1"}}, Identity("a", "1", "2025-11-25")),
        ({"capabilities": {}}, Identity("", "", "2025-11-25", has_tools=False)),
        ({"capabilities": {"tools": {}}}, Identity("", "", "2025-11-25")),
        (
            {"capabilities": {"tools": {"listChanged": True}}},
            Identity("", "", "2025-11-25", announces_changes=True),
        ),
    ],
)
def test_an_identity_is_read_from_initialize(reply: dict[str, Any], identity: Identity) -> None:
    assert read_initialization(encoded(result(1, **reply))) == identity


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"supportedVersions": ["2026-07-28"]}, True),
        ({"supportedVersions": ["2025-11-25", "2026-07-28", "2027-01-01"]}, True),
        ({"supportedVersions": ["2027-01-01"]}, False),
        ({"supportedVersions": "2026-07-28"}, False),
        ({}, False),
    ],
)
def test_the_newer_era_is_what_a_server_says_it_supports(
    reply: dict[str, Any], expected: bool
) -> None:
    assert (read_discovery(encoded(result(1, **reply))) is not None) is expected


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"result": 1}', b"\xff", b"[" * 9999])
def test_what_cannot_be_read_is_not_the_newer_era(data: bytes) -> None:
    assert read_discovery(data) is None


@pytest.mark.parametrize("data", [b"", b"<html>", b"[]", b'{"result": 1}', b"\xff", b"[" * 9999])
def test_what_cannot_be_read_says_nothing_of_who_it_is(data: bytes) -> None:
    assert read_initialization(data) == Identity("", "", "2025-11-25")


def test_a_very_long_reply_says_nothing_of_who_it_is() -> None:
    server = {"name": "a" * LONG, "version": "1"}
    assert read_initialization(encoded(result(1, serverInfo=server))).version == ""


@pytest.mark.parametrize(
    ("refusal", "offer"),
    [
        ({"data": {"supported": ["2024-11-05", "2025-06-18"]}}, "2025-06-18"),
        ({"data": {"supported": ["2025-11-25", "2026-07-28"]}}, None),
        ({"data": {"supported": ["x\r\nEvil: 1"]}}, None),
        ({"data": {"supported": "2024-11-05"}}, None),
        ({"data": "?", "message": "only 2024-11-05 is spoken here"}, "2024-11-05"),
        ({"message": "today is 2026-11-28"}, None),
        ({}, None),
    ],
)
def test_a_refusal_may_offer_another_version(refusal: dict[str, Any], offer: str | None) -> None:
    reply = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": "no", **refusal}}
    assert read_offer(encoded(reply)) == offer

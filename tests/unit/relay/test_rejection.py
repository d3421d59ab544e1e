"""The status, the error and the reason with which the exporter itself rejects."""

from __future__ import annotations

import pytest

from exporter.protocol import errors
from exporter.protocol.label_values import REJECTIONS
from exporter.relay import rejection
from exporter.relay.admission import Slots


@pytest.mark.parametrize(
    ("body", "reason", "code"),
    [
        (b"{", "not_json", errors.PARSE_ERROR),
        (b"\xff", "not_json", errors.PARSE_ERROR),
        (b"[" * 5000, "not_json", errors.PARSE_ERROR),
        (b"{}", "not_jsonrpc", errors.INVALID_REQUEST),
        (b"5", "not_jsonrpc", errors.INVALID_REQUEST),
    ],
)
def test_what_is_no_json_is_told_from_what_is_no_message(
    body: bytes, reason: str, code: int
) -> None:
    found = rejection.of_body(body)
    assert (found.status, found.reason, found.code) == (400, reason, code)


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("requests_per_server", "too_many_requests"),
        ("streams_total", "too_many_streams"),
        ("sessions_per_server", "too_many_sessions"),
        ("children_per_server", "too_many_children"),
    ],
)
def test_a_limit_is_named_with_its_value_and_worth_a_retry(setting: str, reason: str) -> None:
    found = rejection.of_full(Slots(setting, 7))
    assert (found.status, found.reason) == (503, reason)
    assert f"limits.{setting} is 7" in found.text
    assert found.headers == ((b"Retry-After", b"1"),)
    assert reason in REJECTIONS


def test_only_what_passes_is_worth_a_retry() -> None:
    assert rejection.of_http(503, "too_many_connections").headers == ((b"Retry-After", b"1"),)
    assert rejection.of_http(413, "body_too_large").headers == ()


@pytest.mark.parametrize(
    ("status", "expected"), [(401, rejection.UNAUTHORIZED), (403, rejection.FOREIGN)]
)
def test_before_the_body_has_come_the_rejection_is_the_same(
    status: int, expected: rejection.Rejection
) -> None:
    assert rejection.of_http(status, "any") is expected


def test_a_method_is_rejected_with_those_that_are_served() -> None:
    found = rejection.of_method([b"GET", b"POST"])
    assert (found.status, found.headers) == (405, ((b"Allow", b"GET, POST"),))


@pytest.mark.parametrize(("known", "shown"), [(["a", "b"], "a, b"), ([], "none")])
def test_an_unknown_server_is_rejected_with_those_that_are_known(
    known: list[str], shown: str
) -> None:
    found = rejection.of_name("c", known)
    assert (found.status, found.reason) == (404, "unknown_server")
    assert found.text == f"there is no server 'c'; configured are: {shown}"

"""A child sees only 2026-07-28 requests whose envelope is whole and whose headers agree with it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol import errors
from exporter.protocol import jsonrpc as message
from exporter.relay.stdio.envelope import ModernRequest, Violation
from exporter.transport.http.request import Request
from tests.support.fakes import bare_request, encoded, request

META = {message.VERSION_KEY: "2026-07-28", message.CAPABILITIES_KEY: {}}


def modern(method: str = "tools/list", body: bytes | None = None, **params: Any) -> Request:
    """A request of 2026-07-28 with the headers that it needs."""
    params = {"_meta": META, **params}
    headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": method}
    named = params.get("name", params.get("uri", params.get("taskId")))
    if named is not None:
        headers["Mcp_Name"] = named
    return bare_request(body or request(1, method, **params), b"POST", **headers)


def check(found: Request) -> Violation | None:
    read = message.read(found.body)
    assert read is not None
    return ModernRequest(found, read).check()


def code(found: Request) -> int | None:
    violation = check(found)
    return violation.code if violation else None


def replace(found: Request, name: bytes, *values: bytes) -> Request:
    found.headers = [field for field in found.headers if field[0].lower() != name.lower()]
    found.headers += [(name, value) for value in values]
    return found


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/list", {}),
        ("server/discover", {}),
        ("tools/call", {"name": "read_file", "arguments": {"path": "a"}}),
        ("prompts/get", {"name": "greet"}),
        ("resources/read", {"uri": "file:///a"}),
        ("tasks/get", {"taskId": "t1"}),
        ("tasks/update", {"taskId": "t1"}),
        ("tasks/cancel", {"taskId": "t1"}),
        ("subscriptions/listen", {}),
        ("an/extension", {}),
    ],
)
def test_a_whole_request_passes(method: str, params: dict[str, Any]) -> None:
    assert check(modern(method, **params)) is None


@pytest.mark.parametrize(
    "meta",
    [
        *(None, 5, [], {}),
        {message.VERSION_KEY: "2026-07-28"},
        {message.CAPABILITIES_KEY: {}},
        {message.VERSION_KEY: 7, message.CAPABILITIES_KEY: {}},
        {message.VERSION_KEY: "2026-07-28", message.CAPABILITIES_KEY: []},
    ],
)
def test_a_request_without_a_whole_envelope_is_refused(meta: object) -> None:
    violation = check(modern(_meta=meta))
    assert violation is not None
    assert (violation.code, violation.status) == (errors.INVALID_PARAMS, 400)
    assert "_meta" in violation.text


@pytest.mark.parametrize("params", [None, 5, [], "x"])
def test_params_that_are_no_object_are_refused(params: object) -> None:
    whole = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params}
    assert code(modern(body=encoded(whole))) == errors.INVALID_PARAMS


def test_a_request_without_params_is_refused() -> None:
    assert code(modern(body=encoded(request(1, "tools/list")))) == errors.INVALID_PARAMS


@pytest.mark.parametrize("header", [b"MCP-Protocol-Version", b"Mcp-Method", b"Mcp-Name"])
@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], "is missing"),
        ([b"2025-11-25"], "does not say"),
        ([b"x", b"x"], "more than once"),
        ([b"\xff"], "does not say"),
        ([b"=?base64?!?="], "does not say"),
    ],
)
def test_headers_must_say_what_the_body_says(header: bytes, values: list[bytes], text: str) -> None:
    found = replace(modern("tools/call", name="read_file"), header, *values)
    violation = check(found)
    assert violation is not None
    assert (violation.code, violation.status) == (errors.HEADER_MISMATCH, 400)
    assert header.decode().lower() in violation.text
    assert text in violation.text


def test_names_of_headers_are_told_apart_without_regard_for_case() -> None:
    found = modern("tools/call", name="read_file")
    found.headers = [(name.upper(), value) for name, value in found.headers]
    assert check(found) is None


@given(st.text(st.characters(codec="utf-8")))
def test_a_name_that_no_header_can_bear_comes_in_base64(name: str) -> None:
    found = modern("tools/call", name="x")
    found.body = encoded(request(1, "tools/call", name=name, _meta=META))
    replace(found, b"Mcp-Name", b"=?base64?%b?=" % base64.b64encode(name.encode()))
    assert check(found) is None


def test_a_method_that_names_nothing_needs_no_name() -> None:
    assert check(replace(modern("tools/list"), b"Mcp-Name", b"whatever")) is None


@pytest.mark.parametrize("name", [None, 5])
def test_a_tool_call_without_a_name_is_refused(name: object) -> None:
    found = replace(modern("tools/call"), b"Mcp-Name", b"5")
    found.body = encoded(request(1, "tools/call", name=name, _meta=META))
    assert code(found) == errors.HEADER_MISMATCH


def test_half_an_emoji_in_the_arguments_is_no_reason_to_refuse() -> None:
    text = encoded(request(1, "tools/call", name="say", arguments={"text": "@"}, _meta=META))
    found = modern("tools/call", body=text.replace(b"@", b"\\ud83d"), name="say")
    assert check(found) is None


@pytest.mark.parametrize("text", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"])
def test_text_that_is_not_utf_8_does_not_reach_a_child_that_others_share(text: bytes) -> None:
    body = request(1, "tools/list", _meta=META, x="TEXT")
    found = modern(body=encoded(body).replace(b"TEXT", text))
    assert code(found) == errors.PARSE_ERROR


def test_another_version_is_refused_with_the_one_that_is_supported() -> None:
    meta = {**META, message.VERSION_KEY: "2027-01-01"}
    violation = check(replace(modern(_meta=meta), b"MCP-Protocol-Version", b"2027-01-01"))
    assert violation is not None
    assert (violation.code, violation.status) == (errors.UNSUPPORTED_VERSION, 400)
    assert violation.data == {"supported": ["2026-07-28"], "requested": "2027-01-01"}


def test_initialize_is_no_method_of_this_version() -> None:
    violation = check(modern("initialize"))
    assert violation is not None
    assert (violation.code, violation.status) == (errors.METHOD_NOT_FOUND, 404)


@pytest.mark.parametrize(
    ("error_code", "status"),
    [
        *((known, 400) for known in (-32700, -32600, -32602, -32020, -32021, -32022)),
        *((-32601, 404), (-32603, 200), (-32000, 200), (7, 200)),
    ],
)
def test_errors_have_the_http_status_of_the_specification(error_code: int, status: int) -> None:
    assert Violation(error_code, "").status == status

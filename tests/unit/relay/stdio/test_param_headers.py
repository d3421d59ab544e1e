"""``Mcp-Param-*`` headers and the arguments that they repeat."""

from __future__ import annotations

import json
from typing import Any, cast

import msgspec
import pytest

from exporter.relay.stdio.param_headers import (
    LONGEST_DEFINITION,
    MOST_KEPT,
    MOST_MIRRORS,
    ParamHeaders,
)
from exporter.transport.http.request import Request
from exporter.transport.http.response import Response, ResponseSink

SCHEMA = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "plain": {"type": "string"},
        "deep": {"properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
    },
}


def check(known: ParamHeaders, request: Request, tool: str | None = "tool") -> str | None:
    arguments = msgspec.json.decode(request.body, type=dict[str, msgspec.Raw])["params"]
    raw = msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    return known.check(request, tool, raw.get("arguments"))


def params(schema: object = SCHEMA) -> ParamHeaders:
    known = ParamHeaders()
    known.learn({"tool": json.dumps({"name": "tool", "inputSchema": schema}).encode()})
    return known


def call(arguments: dict[str, Any], *headers: tuple[str, str]) -> Request:
    request = Request(Response(cast("ResponseSink", None)))
    request.body = json.dumps({"params": {"name": "tool", "arguments": arguments}}).encode()
    request.headers = [(name.encode(), value.encode()) for name, value in headers]
    return request


def mirrored(count: int, filling: str = "") -> dict[str, Any]:
    names = [f"a{number}" for number in range(count)]
    return {"title": filling, "properties": {name: {"x-mcp-header": name} for name in names}}


@pytest.mark.parametrize(
    ("schema", "is_compared"),
    [
        (mirrored(MOST_MIRRORS), True),
        (mirrored(MOST_MIRRORS + 1), False),
        (mirrored(1, "x" * LONGEST_DEFINITION), False),
    ],
)
def test_a_server_can_have_so_much_compared_and_no_more(
    schema: dict[str, Any], is_compared: bool
) -> None:
    fault = check(params(schema), call({"a0": "x"}))
    assert (fault is not None) is is_compared


def test_the_headers_of_a_call_are_gone_over_once() -> None:
    class Counted(list[Any]):
        rounds = 0

        def __iter__(self) -> Any:
            self.rounds += 1
            return super().__iter__()

    request = call({})
    headers = request.headers = Counted(request.headers)
    assert check(params(mirrored(MOST_MIRRORS)), request) is None
    assert headers.rounds == 1


def test_of_ever_other_tools_those_listed_first_are_forgotten() -> None:
    known = ParamHeaders()
    definition = json.dumps({"inputSchema": mirrored(100)}).encode()
    for number in range(500):
        known.learn({f"tool{number}": definition})
    assert known.size <= MOST_KEPT
    assert check(known, call({"a0": "x"}), "tool0") is None
    assert check(known, call({"a0": "x"}), "tool499") is not None
    known.learn({f"tool{number}": b"{}" for number in range(500)})
    assert known.size == 0


@pytest.mark.parametrize(
    ("arguments", "headers"),
    [
        ({}, []),
        ({"plain": "x"}, []),
        ({"region": "eu"}, [("Mcp-Param-Region", "eu")]),
        ({"region": "eu"}, [("mcp-param-REGION", "eu")]),
        ({"region": "ü"}, [("Mcp-Param-Region", "=?base64?w7w=?=")]),
        ({"count": 42}, [("Mcp-Param-Count", "42.0")]),
        ({"deep": {"flag": True}}, [("Mcp-Param-Flag", "true")]),
        ({"region": None}, []),
        ({}, [("Mcp-Param-Unknown", "whatever")]),
    ],
)
def test_headers_that_repeat_the_arguments_pass(
    arguments: dict[str, Any], headers: list[tuple[str, str]]
) -> None:
    assert check(params(), call(arguments, *headers), "tool") is None


@pytest.mark.parametrize(
    ("arguments", "headers", "fault"),
    [
        ({"region": "eu"}, [], "is missing"),
        ({}, [("Mcp-Param-Region", "eu")], "has no argument"),
        ({"region": "eu"}, [("Mcp-Param-Region", "us")], "something else"),
        ({"region": "eu"}, [("Mcp-Param-Region", "EU")], "something else"),
        ({"region": "eu"}, [("Mcp-Param-Region", "=?base64?!?=")], "something else"),
        ({"region": "eu"}, [("Mcp-Param-Region", "eu")] * 2, "more than once"),
        ({"count": 42}, [("Mcp-Param-Count", "42.5")], "something else"),
        ({"count": True}, [("Mcp-Param-Count", "1")], "something else"),
        ({"deep": {"flag": False}}, [("Mcp-Param-Flag", "true")], "something else"),
    ],
)
def test_headers_that_say_something_else_are_refused(
    arguments: dict[str, Any], headers: list[tuple[str, str]], fault: str
) -> None:
    found = check(params(), call(arguments, *headers), "tool")
    assert found is not None
    assert fault in found


def test_an_unknown_tool_is_not_checked() -> None:
    assert check(params(), call({"region": "eu"}), "other") is None
    assert check(params(), call({"region": "eu"}), None) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"x-mcp-header": "not a token"}}},
        {"properties": {"a": {"x-mcp-header": "X"}, "b": {"x-mcp-header": "x"}}},
        {"properties": {"a": {"x-mcp-header": 5}}},
        {"properties": ["x-mcp-header"]},
        "x-mcp-header",
    ],
)
def test_a_schema_with_bad_annotations_asks_for_nothing(schema: object) -> None:
    assert check(params(schema), call({"a": "1"}), "tool") is None


def test_a_tool_that_loses_its_annotations_is_not_checked_any_more() -> None:
    known = params()
    known.learn({"tool": b'{"name":"tool","inputSchema":{}}'})
    assert check(known, call({"region": "eu"}), "tool") is None

"""What the exporter itself answers with is a JSON-RPC error that says where it comes from."""

from __future__ import annotations

import json

import pytest
from msgspec import UNSET

from exporter.protocol import errors
from exporter.protocol.jsonrpc import Id


def test_an_error_bears_code_text_and_its_origin() -> None:
    reply = json.loads(errors.error(errors.TIMEOUT, "too slow", 7))
    assert reply == {
        "jsonrpc": "2.0",
        "id": 7,
        "error": {"code": -32001, "message": "mcp-exporter: too slow"},
    }


@pytest.mark.parametrize("request_id", [1, "1", 1.5, "", None, 2**70, "\ud83d", 'quo"te'])
def test_an_id_keeps_its_json_type(request_id: Id) -> None:
    reply = json.loads(errors.error(-32000, "", request_id))
    assert reply["id"] == request_id
    assert type(reply["id"]) is type(request_id)


def test_a_request_without_a_readable_id_gets_null() -> None:
    assert json.loads(errors.error(-32600, ""))["id"] is None
    assert json.loads(errors.error(-32600, "", UNSET))["id"] is None


def test_data_is_there_only_where_there_is_some() -> None:
    assert "data" not in json.loads(errors.error(-32022, ""))["error"]
    assert json.loads(errors.error(-32022, "", 1, {"a": []}))["error"]["data"] == {"a": []}


def test_an_error_is_one_line_of_ascii() -> None:
    text = errors.error(-32000, "zwei\nZeilen ä", "\r\n")
    assert b"\n" not in text
    assert b"\r" not in text
    assert text.isascii()

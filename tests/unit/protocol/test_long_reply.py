"""Of a reply that is too long to be read, the ends say whose it is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol import long_reply
from exporter.protocol.long_reply import ENDS, LongReply

LARGE = {"content": [{"type": "text", "text": "x" * 5000}]}


def read(text: str) -> LongReply | None:
    return long_reply.read(text.encode()[:ENDS], text.encode()[-ENDS:])


@pytest.mark.parametrize("separators", [None, (",", ":")])
@pytest.mark.parametrize(
    "names",
    [
        ("jsonrpc", "id", "result"),
        ("id", "jsonrpc", "result"),
        ("id", "result", "jsonrpc"),
        ("result", "jsonrpc", "id"),
        ("result", "id", "jsonrpc"),
        ("jsonrpc", "result", "id"),
    ],
)
@pytest.mark.parametrize("request_id", [1, -7, 0, "a", 'q"uo\\te', "ü", ""])
def test_the_id_is_found_before_and_behind_the_result(
    names: tuple[str, ...], request_id: int | str, separators: tuple[str, str] | None
) -> None:
    members = {"jsonrpc": "2.0", "id": request_id, "result": LARGE}
    text = json.dumps({name: members[name] for name in names}, separators=separators)
    assert read(text) == LongReply(request_id, is_error=False)
    assert read(f" {text}\r") == LongReply(request_id, is_error=False)


def test_an_error_is_told_from_a_result() -> None:
    text = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "x" * 5000}})
    assert read(text) == LongReply(1, is_error=True)


@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": LARGE},
        {"jsonrpc": "2.0", "method": "notifications/message", "params": {**LARGE, "id": 1}},
        {"jsonrpc": "2.0", "result": {**LARGE, "inner": {"jsonrpc": "2.0", "id": 1}}},
        {"result": {**LARGE, "inner": {"id": 1}}, "jsonrpc": "2.0"},
        {"jsonrpc": "2.0", "id": None, "result": LARGE},
        {"jsonrpc": "2.0", "id": 1.5, "result": LARGE},
        {"jsonrpc": "2.0", "id": [1], "result": LARGE},
        [{"jsonrpc": "2.0", "id": 1, "result": LARGE}],
        "x" * 5000,
    ],
)
def test_what_is_no_reply_names_no_request(message: object) -> None:
    assert read(json.dumps(message)) is None


@given(st.binary(max_size=ENDS), st.binary(max_size=ENDS))
def test_any_bytes_are_read_or_not(head: bytes, tail: bytes) -> None:
    assert long_reply.read(head, tail) is None
    found = long_reply.read(b'{"result":' + head, tail + b',"id":5}')
    assert found == LongReply(5, is_error=False)

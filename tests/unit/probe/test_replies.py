"""Which messages a text holds, and which request a reply is for."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from exporter.probe.replies import LONG, has_no_id, messages, replied_to
from exporter.protocol import jsonrpc

REPLY = b'{"jsonrpc":"2.0","id":1,"result":{}}'
MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (REPLY, [REPLY]),
        (MARK + REPLY, [REPLY]),
        (b"[%b]" % REPLY, [REPLY]),
        (MARK + b" [ %b ]" % REPLY, [REPLY]),
        (
            b'[{"jsonrpc":"2.0","method":"a"},%b]' % REPLY,
            [b'{"jsonrpc":"2.0","method":"a"}', REPLY],
        ),
        (b"[]", []),
        (b"[1,2]", []),
        (b"<html>", []),
        (b"", []),
        (b'{"error":"Service Unavailable"}', []),
        (b'{"error":{"code":503,"message":"no"}}', []),
        (b'{"message":"no"}', []),
        (b'"text"', []),
        (b"7", []),
    ],
)
def test_messages_are_found_with_their_own_bytes(data: bytes, found: list[bytes]) -> None:
    assert [part for _, part in messages(data)] == found


@pytest.mark.parametrize(
    ("given", "number"),
    [(b"1", 1), (b'"1"', 1), (b"1.0", 1), (b'"a"', None), (b"null", None), (b"1.5", None)],
)
def test_an_id_may_come_back_as_another_type(given: bytes, number: int | None) -> None:
    ((message, _),) = messages(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % given)
    assert replied_to(message) == number


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700}}', True),
        (b'{"jsonrpc":"2.0","error":{"code":-32700}}', True),
        (b'{"jsonrpc":"2.0","id":null,"result":{}}', False),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32700}}', False),
    ],
)
def test_an_error_may_say_no_request(data: bytes, expected: bool) -> None:
    ((message, _),) = messages(data)
    assert has_no_id(message) is expected


@pytest.mark.parametrize(
    ("form", "is_error"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"x":"%b"}}', False),
        (b'{"result":{"x":"%b"},"jsonrpc":"2.0","id":"1"}', False),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"%b"}}', True),
    ],
)
def test_of_a_long_reply_the_ends_are_read(
    form: bytes, is_error: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(jsonrpc, "read")
    data = form % (LONG * b"x")
    ((message, part),) = messages(MARK + data)
    assert (replied_to(message), message.error is not UNSET, part) == (1, is_error, data)
    assert message.is_reply


@pytest.mark.parametrize("form", [b"[%b]", b'{"method":"a","params":{"x":"%b"}}'])
def test_what_is_long_and_no_reply_is_no_message(form: bytes) -> None:
    assert list(messages(form % (LONG * b"x"))) == []

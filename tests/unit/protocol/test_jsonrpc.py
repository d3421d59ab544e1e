"""Whatever a peer sends, reading it never raises, and one odd member costs that member alone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from exporter.protocol import jsonrpc, surrogates
from exporter.protocol.jsonrpc import (
    Implementation,
    Message,
    is_batch,
    read,
    read_all,
    split,
)
from tests.support.fakes import encoded, error, notification, request, result
from tests.support.work import calls

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *("id", "method", "params", "result", "error", "_meta", "progressToken", "name", "code"),
        *("isError", "resultType", "task", "requestId", "clientInfo", "protocolVersion"),
    ]
)
LIKELY = st.recursive(
    JSON, lambda inner: st.dictionaries(NAMES, inner, max_size=5) | st.lists(inner), max_leaves=8
)


def known(data: bytes) -> Message:
    message = read(data)
    assert message is not None
    return message


@given(st.binary())
def test_no_bytes_make_the_reader_raise(data: bytes) -> None:
    read(data)
    read_all(data)
    split(data)


@given(LIKELY)
def test_no_json_makes_the_reader_raise(value: object) -> None:
    data = json.dumps(value).encode()
    message = read(data)
    assert (message is not None) == isinstance(value, dict)
    read_all(data)


@given(LIKELY, st.integers(0, 200))
def test_text_that_is_cut_short_is_no_message(value: object, length: int) -> None:
    data = json.dumps(value).encode()
    cut = data[: min(length, len(data) - 1)]
    if cut[:1] == b"{":
        assert read(cut) is None


@given(st.dictionaries(NAMES, JSON))
def test_an_odd_member_hides_no_other(members: dict[str, Any]) -> None:
    members |= {"id": "seven", "method": "tools/call"}
    params = {**members, "name": "read_file", "_meta": {**members, "traceparent": "00-1"}}
    message = known(json.dumps({**members, "params": params}).encode())
    assert (message.id, message.method, message.is_request) == ("seven", "tools/call", True)
    assert message.tool == "read_file"
    assert message.params is not None
    assert message.params.meta is not None
    assert message.params.meta.traceparent == "00-1"


@given(st.dictionaries(NAMES, JSON))
def test_an_odd_member_does_not_hide_a_failure(members: dict[str, Any]) -> None:
    reply = {"id": 1, "result": {**members, "isError": True}}
    message = known(json.dumps(reply).encode())
    assert message.result is not UNSET
    assert message.result.is_error


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b" ", b"null", b"1", b'"text"', b"[]", b"[1]", b"{", b'{"id":}', b"\xff\xfe"),
        b"\xef\xbb\xbf",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_object_is_no_message(text: bytes) -> None:
    assert read(text) is None
    assert read_all(text) is None


def test_nesting_that_nobody_looks_into_is_limited_too() -> None:
    deep = b'{"id":1,"method":"ping","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert read(deep) is None


@pytest.mark.parametrize(
    ("text", "request_id"),
    [
        (b"1", 1),
        (b'"1"', "1"),
        (b"1.5", 1.5),
        (b"-3", -3),
        (b"null", None),
        (b'""', ""),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"true", None),
        (b"[]", None),
        (b"1e999", None),
    ],
)
def test_an_id_keeps_its_json_type_and_an_odd_one_is_null(text: bytes, request_id: object) -> None:
    message = known(b'{"jsonrpc":"2.0","id":%b,"method":"ping"}' % text)
    assert message.id == request_id
    assert type(message.id) is type(request_id)
    assert message.is_request


def test_the_four_kinds_of_messages_are_told_apart() -> None:
    kinds = [
        (request(1), "is_request"),
        (request(None), "is_request"),
        (notification("ping"), "is_notification"),
        (result(1), "is_reply"),
        (result(None), "is_reply"),
        (error(1), "is_reply"),
        (error(None), "is_reply"),
        ({"jsonrpc": "2.0", "error": {"code": 1, "message": ""}}, "is_reply"),
        ({"jsonrpc": "2.0", "id": 1, "result": None}, "is_reply"),
    ]
    for value, kind in kinds:
        message = known(encoded(value))
        found = [k for k in ("is_request", "is_notification", "is_reply") if getattr(message, k)]
        assert found == [kind], value


@pytest.mark.parametrize("value", [{}, {"id": 1}, {"jsonrpc": "2.0"}, {"method": 5, "id": 1}])
def test_an_object_that_is_no_message_is_none_of_the_kinds(value: object) -> None:
    message = known(encoded(value))
    assert not any((message.is_request, message.is_notification, message.is_reply))


def test_a_lone_surrogate_hides_nothing_around_it() -> None:
    text = b'{"id":"x","method":"tools/call","params":{"name":"read_file","a":"\\ud83d half"}}'
    message = known(text)
    assert (message.id, message.tool) == ("x", "read_file")
    text = b'{"id":1,"result":{"content":[{"text":"\\uDE00"}],"isError":true}}'
    message = known(text)
    assert message.result is not UNSET
    assert message.result.is_error


def test_a_surrogate_pair_is_one_character() -> None:
    assert known(b'{"id":"\\ud83d\\ude00","method":"ping"}').id == "\N{GRINNING FACE}"


def test_an_error_that_is_null_is_none() -> None:
    message = known(b'{"id":1,"result":{},"error":null}')
    assert message.error is UNSET
    assert message.result is not UNSET


@pytest.mark.parametrize(
    "text", [b"null", b"7", b"[]", b'"no"', b"{}", b'{"code":"x"}', b'{"code":1e999}']
)
def test_an_error_without_a_number_for_its_code_has_code_0(text: bytes) -> None:
    message = known(b'{"id":1,"error":%b,"x":"\\ud800"}' % text)
    if text == b"null":
        assert message.error is UNSET
        return
    assert message.error is not UNSET
    assert message.error.code == 0


def test_only_a_tool_call_has_a_tool() -> None:
    assert known(encoded(request(1, "tools/call", name="read_file"))).tool == "read_file"
    assert known(encoded(request(1, "prompts/get", name="greet"))).tool is None
    assert known(encoded(request(1, "tools/call"))).tool is None
    assert known(encoded(request(1, "tools/call", name=5))).tool is None


def test_the_envelope_of_a_request_is_read() -> None:
    meta = {
        jsonrpc.VERSION_KEY: "2026-07-28",
        jsonrpc.CLIENT_KEY: {"name": "shell", "version": "1"},
        "progressToken": "p",
        "traceparent": "00-1",
    }
    message = known(encoded(request(1, "tools/call", _meta=meta)))
    assert message.protocol_version == "2026-07-28"
    assert message.progress_token == "p"
    assert message.params is not None
    assert message.params.meta is not None
    assert message.params.meta.traceparent == "00-1"
    assert message.params.meta.client_info == Implementation("shell", "1")


def test_a_request_without_envelope_says_nothing_of_it() -> None:
    several: list[dict[str, object]] = [{}, {"_meta": {}}, {"_meta": None}, {"_meta": 5}]
    for params in several:
        message = known(encoded(request(1, "ping", **params)))
        assert message.protocol_version is None
        assert message.progress_token is UNSET


@pytest.mark.parametrize("token", [0, "", None, 1.5])
def test_a_progress_token_that_is_falsy_is_one(token: object) -> None:
    message = known(encoded(request(1, "ping", _meta={"progressToken": token})))
    assert message.progress_token == token


def test_a_batch_is_read_message_by_message() -> None:
    text = b' [ {"id":1,"method":"ping"}, 5, {"method":"notifications/initialized"} ]'
    messages = read_all(text)
    assert messages is not None
    assert [message.method for message in messages] == ["ping", "notifications/initialized"]


def test_a_batch_of_nothing_that_can_be_read_is_none() -> None:
    assert read_all(b"[]") is None
    assert read_all(b"[1, null]") is None
    assert read_all(b"[{}") is None


def test_a_batch_is_known_by_its_first_token() -> None:
    assert is_batch(b"[1]")
    assert is_batch(b" \r\n\t [1]")
    assert not is_batch(b'{"a":[1]}')
    assert not is_batch(b"")


def test_the_messages_of_a_batch_keep_their_bytes() -> None:
    first, second = b'{ "id" : 1.0,"x":"\\u00e9" }', b'{"id":"1"}'
    assert split(b"[" + first + b" , " + second + b"]") == [first, second]
    assert split(b"{}") == []


def test_a_batch_with_a_lone_surrogate_is_split_and_read() -> None:
    first, second = b'{"id":1,"result":{"a":"\\ud800"}}', b'{"id":2,"result":{}}'
    text = b"[" + first + b"," + second + b"]"
    messages = read_all(text)
    assert messages is not None
    assert [message.id for message in messages] == [1, 2]
    assert split(text) == [first, second]


@given(
    st.dictionaries(st.text(max_size=5), JSON, max_size=4),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_members_keep_their_bytes_even_beside_a_lone_surrogate(
    value: dict[str, Any], is_odd: bool, indent: int | None
) -> None:
    if is_odd:
        value["odd"] = [{'say "': "\\\ud800 [{,"}, "\udfff"]
    found = jsonrpc.members(json.dumps(value, indent=indent).encode())
    assert set(found) == set(value)
    for name, raw in found.items():
        text = bytes(raw)
        assert text == json.dumps(value[name], indent=indent).encode() or indent
        assert json.loads(text) == value[name]


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b'["\\ud800"]', b'{"a":"\\ud800"', b'{"a"}'])
def test_what_is_no_object_has_no_members(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        jsonrpc.members(text)


@pytest.mark.parametrize("junk", [b"x", b"[", b'{"jsonrpc":"2.0","id":1,"result":"' + b"x"])
def test_megabytes_that_are_no_message_are_passed_over_at_once(junk: bytes) -> None:
    data = junk + junk[-1:] * (32 * 1024 * 1024)
    begun = time.process_time()
    assert read(data) is None
    assert split(data) == []
    assert time.process_time() - begun < 3  # a twentieth of that on a usual machine


TRIFLES = [
    b"1", b"{}", b'""', b"[]", b'{"id":1,"params":1}', b'{"method":"a"}', b'{"a":"\\ud800"}',
    b'{"id":1,"result":5}', b"nul",
]  # fmt: skip


@pytest.mark.parametrize("trifle", TRIFLES)
def test_a_batch_of_trifles_is_as_much_work_as_a_small_one(trifle: bytes) -> None:
    small, large = (b"[" + b",".join([trifle] * count) + b"]" for count in (200, 20_000))
    read_all(small)  # what is done once in a process is not counted
    assert calls(lambda: read_all(large)) == calls(lambda: read_all(small))
    assert calls(lambda: split(large)) == calls(lambda: split(small))


def test_a_long_batch_is_not_read() -> None:
    text = b"[" + encoded(request(1)) + b" " * jsonrpc.LONGEST_BATCH + b"]"
    assert read_all(text) == (jsonrpc.UNREAD,)


def test_of_a_large_batch_the_first_messages_are_read() -> None:
    text = encoded([request(number) for number in range(jsonrpc.BATCH + 50)])
    messages = read_all(text)
    assert messages is not None
    assert [message.id for message in messages[:-1]] == list(range(jsonrpc.BATCH))
    assert messages[-1] is jsonrpc.UNREAD
    whole = read_all(encoded([request(number) for number in range(jsonrpc.BATCH)]))
    assert whole is not None
    assert jsonrpc.UNREAD not in whole


@pytest.mark.parametrize(
    "unit",
    [b'"\\ud800",', b'"\\ud83d\\ude00",', b"1,", b"[],", b'{"a":1},', b'"\\\\",'],
)
def test_one_odd_message_is_as_much_work_as_a_small_one(unit: bytes) -> None:
    def odd(count: int) -> bytes:
        return b'{"id":1,"method":"ping","params":{"name":5,"a":[' + unit * count + b"1]}}"

    small, large = odd(2000), odd(100_000)
    assert known(large).method == "ping"
    assert calls(lambda: read(large)) <= calls(lambda: read(small))
    assert calls(lambda: jsonrpc.members(large)) == calls(lambda: jsonrpc.members(small))


LONG_AND_ODD = [
    b'{"id":1,"method":"tools/call","params":{"name":"t","_meta":{"traceparent":5,"x":%b}}}',
    b'{"id":1,"method":"tools/call","params":{"name":"t","clientInfo":{"name":5,"x":%b}}}',
    b'{"id":1,"method":"tools/call","params":{"name":"t","cursor":5,"x":%b}}',
    b'{"id":1,"result":{"serverInfo":{"name":%b}}}',
    b'{"id":1,"result":{"isError":5,"x":%b}}',
    b'{"id":1,"result":%b}',
    b'{"id":1,"error":%b}',
]


@pytest.mark.parametrize("unit", [b"1,", b'"\\ud83d\\ude00",', b'"\\ud83d",'])
@pytest.mark.parametrize("form", LONG_AND_ODD)
def test_what_is_long_and_odd_is_gone_over_seldom(
    form: bytes, unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone_over = 0
    read_members, readable = jsonrpc._Members.read, surrogates.readable

    def counted(members: Any, data: Any) -> Any:
        nonlocal gone_over
        gone_over += memoryview(data).nbytes
        return read_members(members, data)

    def sought(data: bytes) -> bytes:
        assert len(data) <= jsonrpc._LONG
        return readable(data)

    monkeypatch.setattr(jsonrpc._Members, "read", counted)
    monkeypatch.setattr(surrogates, "readable", sought)
    text = form % (b"[" + unit * (2 * jsonrpc._LONG // len(unit)) + b"1]")
    message = known(text)
    assert message.id == 1
    assert message.tool == ("t" if message.method else None)
    assert gone_over <= 2 * len(text)


def test_an_object_with_halves_and_a_member_twice_has_no_members() -> None:
    with pytest.raises(ValueError, match="twice"):
        jsonrpc.members(b'{"a":"\\ud800","b":1,"a":22}')


def test_members_that_are_nested_too_deep_are_none() -> None:
    with pytest.raises(ValueError, match="deep"):
        jsonrpc.members(b'{"a":' + b"[" * 100_000)


@pytest.mark.parametrize(
    ("given", "other"),
    [
        *((1, "1"), ("1", 1), (-5, "-5"), ("-5", -5), (0, "0")),
        *((name, UNSET) for name in ("01", "+1", "1.0", "", "-", "a", "\u0661", "9" * 30, None)),
    ],
)
def test_an_id_has_another_form_where_it_is_a_number(given: Any, other: Any) -> None:
    assert jsonrpc.retyped(given) == other


@pytest.mark.parametrize(
    ("text", "is_reply"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', True),
        (b'{"id":1,"result":{}}', True),
        (b'{"id":null,"error":{"code":1}}', True),
        (b'{"jsonrpc":"2.0","error":"no"}', True),
        (b'{"jsonrpc":"1.0","id":1,"result":5}', True),
        (b'{"error":"Service Unavailable"}', False),
        (b'{"error":{"code":503,"message":"UNAVAILABLE"}}', False),
        (b'{"result":{}}', False),
        (b'{"message":"no"}', False),
        (b'{"jsonrpc":"2.0","id":1}', False),
    ],
)
def test_a_reply_is_json_rpc(text: bytes, is_reply: bool) -> None:
    assert known(text).is_reply is is_reply


def test_the_mark_of_an_encoding_hides_no_message() -> None:
    text = b'\xef\xbb\xbf{"id":1,"method":"ping"}'
    assert known(text).method == "ping"
    messages = read_all(b"\xef\xbb\xbf[" + text[3:] + b"]")
    assert messages is not None
    assert messages[0].method == "ping"


@pytest.mark.parametrize(
    ("given", "number"),
    [(1, 1), (1.0, 1), ("1", 1), ("-2", -2), ("01", None), (1.5, None), ("x", None), (None, None)],
)
def test_a_number_may_be_written_in_three_ways(given: jsonrpc.Id, number: int | None) -> None:
    assert jsonrpc.number_of(given) == number
    assert jsonrpc.number_of(UNSET) is None

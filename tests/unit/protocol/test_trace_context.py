"""What is a trace context, and that nothing but a parent's id changes in a body."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol import trace_context

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"
OURS = "0123456789abcdef"
OTHER = f"00-{TRACE}-{OURS}-01"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, GOOD),
        (f"00-{TRACE}-{PARENT}-00", f"00-{TRACE}-{PARENT}-00"),
        (f"cc-{TRACE}-{PARENT}-01", f"cc-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-01-what-may-come", f"cc-{TRACE}-{PARENT}-01"),
        (f"cc-{TRACE}-{PARENT}-01.what", None),
        (f"00-{TRACE}-{PARENT}-01-what", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{PARENT}-01", None),
        (f"00-{TRACE}-{PARENT}-0", None),
        (f"00-{TRACE}-{PARENT}-0g", None),
        (f" {GOOD}", None),
        (f"{GOOD} ", None),
        (f"{GOOD}\n", None),
        (GOOD.replace("-", "_"), None),
        ("", None),
        (None, None),
    ],
)
def test_a_context_is_what_the_recommendation_says(text: str | None, expected: str | None) -> None:
    assert trace_context.valid(text) == expected
    if len(text or "") <= trace_context.LENGTH:
        assert trace_context.valid_at(b"a: %b" % (text or "").encode(), 3) == expected


@given(st.text(max_size=80))
def test_no_text_is_more_than_it_is(text: str) -> None:
    found = trace_context.valid(text)
    assert found is None or (text.startswith(found) and found.isascii())


@pytest.mark.parametrize(
    ("flags", "expected"), [("00", False), ("01", True), ("02", False), ("03", True)]
)
def test_the_first_bit_of_the_flags_says_whether_it_is_sampled(flags: str, expected: bool) -> None:
    assert trace_context.is_sampled(f"00-{TRACE}-{PARENT}-{flags}") is expected


def test_the_parts_of_a_context() -> None:
    assert trace_context.trace_id(GOOD) == TRACE
    assert trace_context.parent_id(GOOD) == PARENT
    assert trace_context.with_parent(GOOD, OURS) == f"00-{TRACE}-{OURS}-01"


@given(st.dictionaries(st.text(), st.text() | st.integers()), st.sampled_from([None, 1]))
def test_sixteen_bytes_are_exchanged_and_no_other(
    arguments: dict[str, object], indent: int | None
) -> None:
    meta = {"traceparent": GOOD, "tracestate": "a=b"}
    body = json.dumps({"params": {"arguments": arguments, "_meta": meta}}, indent=indent).encode()
    changed, times = trace_context.exchange(body, GOOD, OTHER)
    assert times == 1
    assert changed == body.replace(PARENT.encode(), OURS.encode())
    assert len(changed) == len(body)


@pytest.mark.parametrize(
    ("body", "times"),
    [
        (b"{}", 0),
        (GOOD.replace("-", "\\u002d").encode(), 0),
        (f'{{"arguments": "{GOOD}", "traceparent": "{GOOD}"}}'.encode(), 2),
        (f'{{"arguments": "{GOOD * 2}", "traceparent": "{GOOD}"}}'.encode(), 2),
    ],
    ids=["absent", "escaped", "twice", "thrice"],
)
def test_what_is_not_there_exactly_once_is_left_alone(body: bytes, times: int) -> None:
    assert trace_context.exchange(body, GOOD, OTHER) == (body, times)


def test_the_contexts_of_a_batch_are_exchanged_in_one_look() -> None:
    given = [f"00-{TRACE}-{number:016x}-01" for number in range(1, 101)]
    ours = [f"00-{TRACE}-{number:016x}-01" for number in range(1001, 1101)]
    body = json.dumps([*given, given[0], "00-1"]).encode()
    changed, times = trace_context.exchange_all(body, dict(zip(given, ours, strict=True)))
    assert times == {given[0]: 2} | dict.fromkeys(given[1:], 1)
    expected = [given[0], *ours[1:], given[0], "00-1"]
    assert json.loads(changed) == expected

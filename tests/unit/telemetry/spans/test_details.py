"""What only a span says of a request."""

from __future__ import annotations

import pytest

from exporter.protocol.jsonrpc import VERSION_KEY
from exporter.telemetry.spans.details import (
    LONGEST,
    LONGEST_STATE,
    fit,
    notes_of,
    shown_id,
    state_of,
)
from tests.support.fakes import parsed, request

META = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADER = META.replace("4bf9", "0000")


@pytest.mark.parametrize(
    ("given", "context", "header", "source", "link"),
    [
        (META, META, None, "meta", None),
        (None, HEADER, HEADER, "header", None),
        (META, META, HEADER, "both", HEADER),
        (META, META, META, "both", None),
        (None, None, None, "none", None),
        ("00-1", None, None, "invalid", None),
        ("00-1", HEADER, HEADER, "invalid", None),
    ],
)
def test_it_says_where_the_trace_context_came_from(
    given: str | None, context: str | None, header: str | None, source: str, link: str | None
) -> None:
    message = parsed(request(1, _meta={"traceparent": given} if given else {}))
    notes = notes_of(message, context, header)
    assert (notes.source, notes.link) == (source, link)


@pytest.mark.parametrize(
    ("request_id", "shown"),
    [
        (7, "7"),
        ("a-1", "a-1"),
        (1.5, "1.5"),
        ("", None),
        ("x" * (LONGEST + 1), None),
        ("\n", None),
        ("\ud800", None),
        (None, None),
        (b"digest", None),
    ],
)
def test_an_id_is_shown_where_it_is_short_and_printable(
    request_id: object, shown: str | None
) -> None:
    assert shown_id(request_id) == shown


def test_a_prompt_and_a_version_are_what_the_message_says() -> None:
    meta = {VERSION_KEY: "2026-07-28"}
    notes = notes_of(parsed(request(1, "prompts/get", name="greet", _meta=meta)), None, None)
    assert (notes.prompt, notes.version) == ("greet", "2026-07-28")
    notes = notes_of(parsed(request(1, "tools/call", name="act")), None, HEADER)
    assert (notes.prompt, notes.version) == (None, None)


def test_a_text_fits_where_it_is_short_and_printable() -> None:
    assert fit("x" * LONGEST) == "x" * LONGEST
    assert [fit(each) for each in ("x" * (LONGEST + 1), "\u202e", "\ud800", "", None)] == [None] * 5


def test_the_state_of_a_context_that_does_not_count_is_none() -> None:
    message = parsed(request(1, _meta={"traceparent": META, "tracestate": "a=1"}))
    assert notes_of(message, META, None).state == "a=1"
    lone = parsed(request(1, _meta={"tracestate": "a=1"}))
    assert notes_of(lone, HEADER, HEADER).state is None


def test_a_state_is_as_long_as_the_standard_lets_it_be() -> None:
    assert state_of("x" * LONGEST_STATE) == "x" * LONGEST_STATE
    assert [state_of(each) for each in ("x" * (LONGEST_STATE + 1), "é", "\n", "", None)] == [
        None
    ] * 5

"""What only a span says of a request."""

from __future__ import annotations

import msgspec
import pytest

from exporter.protocol.jsonrpc import VERSION_KEY, Id
from exporter.telemetry.spans.details import (
    LONGEST,
    LONGEST_STATE,
    TraceDetails,
    details_of,
    fit,
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
    details = details_of(message, context, header, None, 5.0)
    assert (details.source, details.link, details.started) == (source, link, 5.0)


@pytest.mark.parametrize(
    ("request_id", "shown"),
    [(7, "7"), ("a-1", "a-1"), (1.5, "1.5"), ("", None), ("x" * (LONGEST + 1), None), ("\n", None)],
)
def test_an_id_is_shown_where_it_is_short_and_printable(request_id: Id, shown: str | None) -> None:
    assert details_of(parsed(request(request_id)), None, None, None, 0.0).shown_id == shown


def test_a_prompt_and_a_version_are_what_the_message_says() -> None:
    meta = {VERSION_KEY: "2026-07-28"}
    message = parsed(request(1, "prompts/get", name="greet", _meta=meta))
    details = details_of(message, None, None, "2025-11-25", 0.0)
    assert (details.prompt, details.version) == ("greet", "2026-07-28")
    other = details_of(parsed(request(1, "tools/call", name="act")), None, None, "2025-11-25", 0.0)
    assert (other.prompt, other.version) == (None, "2025-11-25")


def test_what_is_not_known_is_not_said() -> None:
    message = msgspec.structs.replace(parsed(request(1)), id="\ud800")
    assert details_of(message, None, None, None, 1.0) == TraceDetails(1.0)


def test_a_text_fits_where_it_is_short_and_printable() -> None:
    assert fit("x" * LONGEST) == "x" * LONGEST
    assert [fit(each) for each in ("x" * (LONGEST + 1), "\u202e", "\ud800", "", None)] == [None] * 5


def test_the_state_and_the_session_go_along() -> None:
    message = parsed(request(1, _meta={"traceparent": META, "tracestate": "a=1"}))
    details = details_of(message, META, None, None, 0.0, "5")
    assert (details.state, details.session) == ("a=1", "5")
    lone = parsed(request(1, _meta={"tracestate": "a=1"}))
    assert details_of(lone, HEADER, HEADER, None, 0.0).state is None


def test_a_state_is_as_long_as_the_standard_lets_it_be() -> None:
    assert state_of("x" * LONGEST_STATE) == "x" * LONGEST_STATE
    assert [state_of(each) for each in ("x" * (LONGEST_STATE + 1), "é", "\n", "", None)] == [
        None
    ] * 5

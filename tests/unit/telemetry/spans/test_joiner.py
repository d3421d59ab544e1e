"""The parents of requests are exchanged, to the digit; what is in doubt goes on as it came."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol import jsonrpc, trace_context
from exporter.telemetry.exchange import Exchange, Pending
from exporter.telemetry.observer import Observer
from exporter.telemetry.spans.details import Peer
from exporter.telemetry.spans.joiner import Joiner
from exporter.telemetry.spans.tracer import Tracer
from exporter.transport.http.request import Request
from tests.support.fakes import Telemetry, bare_request, encoded, parsed, request
from tests.support.kept_spans import KeptSpans

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CONTEXT = f"00-{TRACE}-{PARENT}-01"
OTHER = f"00-{TRACE[::-1]}-{PARENT[::-1]}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
UP = Peer("up", 8000)


class Setup:
    """The joiner of one server, and requests on their way to it."""

    def __init__(self, propagates: bool | None = True, peer: Peer = UP, **settings: Any) -> None:
        self.telemetry = Telemetry()
        self.kept = KeptSpans(self.telemetry.metrics, **settings)
        metrics = self.telemetry.metrics
        self.joiner = Joiner(metrics.tracing, metrics.spans, propagates, peer)
        self.exchange = Exchange(self.telemetry.recorder)
        self.begun: list[Pending] = []

    def post(self, body: bytes | object, header: str | None = None, **headers: str) -> Request:
        """What goes on of a request with this body and trace context."""
        asked = self.asked(body, header, **headers)
        self.joiner.exchange(asked, self.begun, self.joiner.tracer)
        return asked

    def tell(self, message: object, header: str | None = None, **headers: str) -> str | None:
        asked = self.asked(message, header, **headers)
        return self.joiner.tell(asked, parsed(message), self.begun[0])

    def asked(self, body: bytes | object, header: str | None, **headers: str) -> Request:
        if header is not None:
            headers["traceparent"] = header
        self.begun.clear()
        asked = bare_request(body, **headers)  # type: ignore[arg-type]
        asked.traceparent = trace_context.valid(header)
        for message in jsonrpc.read_all(asked.body) or ():
            self.begun.append(self.exchange.begin(message, 1.0, True, asked.traceparent))
        return asked

    @property
    def given(self) -> list[str]:
        """The spans that servers were told of."""
        joins = [each.notes.join for each in self.begun if each.notes is not None]
        return [trace_context.parent_id(join.context) for join in joins if join is not None]


def call(context: str | None = CONTEXT, request_id: int = 1, **arguments: object) -> Any:
    meta = {} if context is None else {"traceparent": context}
    return request(request_id, "tools/call", name="act", arguments=arguments, _meta=meta)


TEXTS = st.text(max_size=20)


@given(st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers(), st.none())))
def test_in_a_message_sixteen_digits_differ(arguments: dict[str, Any]) -> None:
    setup = Setup()
    body = encoded(call(**{"x" + name: value for name, value in arguments.items()}))
    sent = setup.post(body).body
    (span_id,) = setup.given
    assert sent == body.replace(PARENT.encode(), span_id.encode(), 1)
    assert span_id != PARENT
    assert setup.kept.joins == {"joined": 1}


@given(st.binary(max_size=200))
def test_whatever_else_comes_goes_on_as_it_came(body: bytes) -> None:
    setup = Setup()
    assert setup.post(body).body == body


ESCAPED = encoded(call()).replace(b"-4bf", rb"-\u0034bf")


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (encoded(call(word=CONTEXT)), "ambiguous"),
        (ESCAPED, "absent"),
        (ESCAPED.replace(b'"arguments":{}', b'"arguments":{"x":"%b"}' % CONTEXT.encode()), "?"),
        (encoded(call(None)), "absent"),
        (encoded(call("00-1")), "absent"),
    ],
)
def test_where_the_place_is_in_doubt_the_body_goes_on_as_it_came(body: bytes, result: str) -> None:
    setup = Setup()
    assert setup.post(body).body == body
    assert setup.kept.joins == {"ambiguous" if result == "?" else result: 1}
    assert setup.given == []


@pytest.mark.parametrize("extra", ["", "-later"])
def test_in_a_header_sixteen_digits_differ(extra: str) -> None:
    setup = Setup()
    version = "01" if extra else "00"
    given = f"{version}{CONTEXT[2:]}{extra}"
    body = encoded(call(None))
    sent = setup.post(body, given, Accept="x", tracestate="a=1")
    (span_id,) = setup.given
    headers = dict(sent.headers)
    assert headers[b"traceparent"].decode() == given.replace(PARENT, span_id)
    assert (headers[b"Accept"], headers[b"tracestate"]) == (b"x", b"a=1")
    assert sent.body == body
    assert sent.header(b"traceparent") == headers[b"traceparent"]
    assert setup.kept.joins == {"joined": 1}


def test_the_message_comes_before_the_header() -> None:
    setup = Setup()
    sent = setup.post(call(), OTHER)
    assert dict(sent.headers)[b"traceparent"] == OTHER.encode()
    assert setup.given[0].encode() in sent.body


def test_a_message_whose_context_is_none_is_joined_by_the_header() -> None:
    setup = Setup()
    body = encoded(call("00-1"))
    sent = setup.post(body, CONTEXT)
    assert sent.body == body
    assert sent.traceparent == CONTEXT.replace(PARENT, setup.given[0])


def test_a_pipe_has_no_header() -> None:
    setup = Setup(peer=Peer())
    sent = setup.post(call(None), CONTEXT)
    assert dict(sent.headers)[b"traceparent"] == CONTEXT.encode()
    assert setup.kept.joins == {"absent": 1}


def test_each_message_of_a_batch_has_a_span_of_its_own() -> None:
    setup = Setup()
    body = encoded([call(), request(2, "ping"), call(OTHER, 3), call(None, 4)])
    sent = setup.post(body).body
    first, third = setup.given
    assert sent == body.replace(PARENT.encode(), first.encode()).replace(
        PARENT[::-1].encode(), third.encode()
    )
    assert setup.kept.joins == {"joined": 2, "absent": 1}


def test_two_of_a_batch_with_one_context_cannot_be_told_apart() -> None:
    setup = Setup()
    body = encoded([call(), call(request_id=2)])
    assert setup.post(body).body == body
    assert setup.kept.joins == {"ambiguous": 2}


@pytest.mark.parametrize(
    ("setup", "context"),
    [
        (lambda: Setup(None), CONTEXT),
        (lambda: Setup(False, propagate=True), CONTEXT),
        (lambda: Setup(context="link"), CONTEXT),
        (lambda: Setup(context="ignore"), CONTEXT),
        (Setup, UNSAMPLED),
    ],
    ids=["off", "off for this server", "link", "ignore", "unsampled"],
)
def test_otherwise_nothing_is_changed(setup: Any, context: str) -> None:
    made = setup()
    for body, header in ((encoded(call(context)), None), (encoded(call(None)), context)):
        sent = made.post(body, header)
        assert sent.body == body
        assert sent.headers == ([(b"traceparent", header.encode())] if header else [])
        assert made.tell(call(context)) is None
        assert made.given == []
    assert made.kept.joins == {}


def test_what_tracing_says_holds_where_a_server_says_nothing() -> None:
    setup = Setup(None, propagate=True)
    setup.post(call())
    assert len(setup.given) == 1


@pytest.mark.parametrize("method", ["ping", "subscriptions/listen"])
def test_what_leaves_no_span_is_not_joined(method: str) -> None:
    setup = Setup()
    body = encoded(request(1, method, _meta={"traceparent": CONTEXT}))
    assert setup.post(body).body == body
    assert setup.tell(request(2, method)) is None
    assert setup.kept.joins == {}


def test_where_no_spans_are_made_nothing_is_told() -> None:
    setup = Setup()
    setup.telemetry.metrics.tracing.tracer = None
    body = encoded(call())
    assert setup.post(body).body == body
    assert setup.tell(call()) is None


def test_a_message_that_is_written_anew_is_told_the_new_parent() -> None:
    setup = Setup(peer=Peer())
    told = setup.tell(call())
    assert told == CONTEXT.replace(PARENT, setup.given[0])


def test_it_keeps_what_a_later_version_adds() -> None:
    setup = Setup(peer=Peer())
    given = f"01{CONTEXT[2:]}-later"
    assert setup.tell(call(given)) == given.replace(PARENT, setup.given[0])


@pytest.mark.parametrize("context", [None, "00-1"])
def test_it_is_told_what_the_header_says_where_it_says_nothing(context: str | None) -> None:
    setup = Setup(peer=Peer())
    assert setup.tell(call(context), CONTEXT) == CONTEXT.replace(PARENT, setup.given[0])


@pytest.mark.parametrize(("sample", "flags"), [(1.0, "03"), (0.0, "02")])
def test_it_is_told_of_a_trace_that_begins_and_whether_it_is_kept(
    sample: float, flags: str
) -> None:
    setup = Setup(peer=Peer(), sample=sample)
    told = setup.tell(call(None))
    assert trace_context.valid(told) == told
    assert told is not None
    assert told.endswith(f"-{flags}")
    assert setup.kept.joins == {"joined": 1}


@pytest.mark.parametrize(
    ("context", "state", "noted"),
    [
        (None, "a=1,b=2", "a=1,b=2"),
        (None, "x" * 513, None),
        (None, "é", None),
        (CONTEXT, "a", None),
    ],
)
def test_the_state_of_a_header_is_noted_where_its_context_counts(
    context: str | None, state: str, noted: str | None
) -> None:
    for propagates in (True, False):
        setup = Setup(propagates)
        headers = {"tracestate": state.encode()}
        setup.post(call(context), OTHER, **headers)  # type: ignore[arg-type]
        notes = setup.begun[0].notes
        assert notes is not None
        assert notes.state == noted


def test_where_it_fails_a_request_goes_on_as_it_came_and_is_counted() -> None:
    setup = Setup()
    telemetry = setup.telemetry
    observer = Observer(telemetry.recorder, telemetry.events, setup.joiner)
    body = encoded(call())
    asked = setup.asked(body, OTHER)
    with patch.object(Tracer, "join", side_effect=ValueError("odd")):
        observer.trace(asked, setup.begun)
        assert observer.told(asked, parsed(call()), setup.begun[0]) is None
    assert (asked.body, asked.traceparent) == (body, OTHER)
    assert setup.given == []
    assert telemetry.total("mcp_exporter_internal_errors_total") == 2

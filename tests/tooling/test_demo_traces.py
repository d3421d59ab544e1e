"""The demo's trace store: what it takes, what it keeps, and what it shows of it."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from threading import Thread
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from demo import trace_store, traces, waterfall
from demo.trace_store import Span, TraceStore, spans_of

MILLISECOND = 1_000_000
HOSTILE = '"><script>alert(1)</script>\u202e&amp;<img src=x onerror=alert(2)>'


def span(number: int = 1, parent: int = 0, trace: int = 1, **other: Any) -> Span:
    told: dict[str, Any] = {
        "trace_id": f"{trace:032x}",
        "span_id": f"{number:016x}",
        "parent_id": f"{parent:016x}" if parent else "",
        "service": "mcp-exporter",
        "name": "tools/call search",
        "kind": "server",
        "start": number * MILLISECOND,
        "end": 10 * MILLISECOND,
        "is_error": False,
        "attributes": {},
    }
    return Span(**{**told, **other})


def message(**other: Any) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    part = made.resource_spans.add()
    part.resource.attributes.add(key="service.name").value.string_value = "mcp-exporter"
    sent = part.scope_spans.add().spans.add(
        trace_id=bytes.fromhex(f"{1:032x}"),
        span_id=bytes.fromhex(f"{1:016x}"),
        name="tools/call search",
        kind=SpanMessage.SPAN_KIND_SERVER,
        start_time_unix_nano=MILLISECOND,
        end_time_unix_nano=10 * MILLISECOND,
    )
    for name, value in other.items():
        setattr(sent, name, value)
    return made


def test_a_span_is_read_as_it_was_sent() -> None:
    sent = message(parent_span_id=bytes.fromhex(f"{2:016x}"))
    told = sent.resource_spans[0].scope_spans[0].spans[0]
    told.attributes.add(key="gen_ai.tool.name").value.string_value = "search"
    told.attributes.add(key="mcp_exporter.response.size").value.int_value = 12
    told.status.code = Status.STATUS_CODE_ERROR
    told.links.add(trace_id=bytes.fromhex(f"{3:032x}"), span_id=b"12345678")
    attributes = {"gen_ai.tool.name": "search", "mcp_exporter.response.size": "12"}
    (read,) = spans_of(sent.SerializeToString())
    assert read == span(
        parent=2, is_error=True, attributes=attributes, links=(f"{3:032x}",), start=MILLISECOND
    )


@pytest.mark.parametrize("wrong", [{"trace_id": b"short"}, {"span_id": b""}])
def test_a_span_without_its_ids_is_left_out(wrong: dict[str, bytes]) -> None:
    assert spans_of(message(**wrong).SerializeToString()) == []


def test_of_a_long_text_the_beginning_is_kept() -> None:
    (read,) = spans_of(message(name="x" * 10_000).SerializeToString())
    assert len(read.name) == trace_store.LONGEST_TEXT + 1


def test_a_trace_has_its_spans_in_the_order_in_which_they_begin() -> None:
    store = TraceStore()
    store.add([span(3), span(1), span(2)])
    assert [each.span_id[-1] for each in store.trace(f"{1:032x}")] == ["1", "2", "3"]


def test_a_span_that_is_sent_again_is_one() -> None:
    store = TraceStore()
    store.add([span(1), span(1)])
    assert len(store.trace(f"{1:032x}")) == 1


def test_the_oldest_traces_go_but_not_the_first_ones() -> None:
    store = TraceStore(most_spans=2, first_kept=1)
    store.add(span(1, trace=number) for number in range(1, 6))
    kept = [number for number in range(1, 6) if store.trace(f"{number:032x}")]
    assert kept == [1, 4, 5]
    assert [int(each[0].trace_id, 16) for each in store.newest(2)] == [5, 4]


def test_one_trace_cannot_fill_the_store() -> None:
    store = TraceStore()
    store.add(span(number) for number in range(1, 1000))
    assert len(store.trace(f"{1:032x}")) == trace_store.MOST_SPANS_OF_A_TRACE


class Page(HTMLParser):
    """The elements and the words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


CHAIN = (
    span(1, service="assistant", kind="client", name="MCP send tools/call search"),
    span(2, parent=1, end=9 * MILLISECOND),
    span(3, parent=1, service="files", end=8 * MILLISECOND),
)


def test_each_span_has_a_row_and_a_bar_at_its_time() -> None:
    page = Page(waterfall.waterfall(CHAIN))
    assert [row.get("id") for row in page.of("tr")[1:]] == [each.span_id for each in CHAIN]
    bars = [(bar["x"], bar["width"]) for bar in page.of("rect")]
    assert bars == [("0.000%", "100.000%"), ("11.111%", "77.778%"), ("22.222%", "55.556%")]
    assert "3 spans of assistant, mcp-exporter, files, 9.00 ms" in page.words
    assert "7.00 ms" in page.words


def test_a_span_stands_below_its_parent() -> None:
    deeper = (*CHAIN, span(4, parent=3, service="disk"), span(5, parent=2, service="relay"))
    rows = re.findall(r'<tr id="0+(\d)"><td(?: class=d(\d))?>', waterfall.waterfall(deeper))
    assert rows == [("1", ""), ("2", "1"), ("5", "2"), ("3", "1"), ("4", "2")]


@pytest.mark.parametrize(
    "trace",
    [
        (span(1, parent=9), span(2, parent=8)),
        (span(1, parent=2), span(2, parent=1)),
        (span(1, parent=1),),
        tuple(span(number, parent=number - 1) for number in range(1, 200)),
    ],
    ids=["parents that did not come", "a circle", "its own parent", "very deep"],
)
def test_every_span_is_shown_once_whatever_its_parent_is(trace: tuple[Span, ...]) -> None:
    rows = [row["id"] for row in Page(waterfall.waterfall(trace)).of("tr")[1:]]
    assert sorted(filter(None, rows)) == sorted(each.span_id for each in trace)


@pytest.mark.parametrize(
    "odd",
    [{"start": 0, "end": 0}, {"start": 9, "end": 1}, {"start": 2**64 - 1, "end": 2**64 - 1}],
    ids=["no time", "ends before it begins", "past every calendar"],
)
def test_odd_times_are_shown(odd: dict[str, int]) -> None:
    trace = (span(1, **odd), span(2, parent=1))
    for page in (waterfall.waterfall(trace), waterfall.overview([trace])):
        assert "tools/call search" in Page(page).words


def test_hostile_words_are_words() -> None:
    hostile = span(1, name=HOSTILE, service=HOSTILE, attributes={HOSTILE: HOSTILE}, is_error=True)
    pages = (
        waterfall.waterfall((hostile,)),
        waterfall.overview([(hostile,)]),
        waterfall.unknown(HOSTILE),
    )
    for text in pages:
        page = Page(text)
        assert not page.of("script")
        assert not page.of("img")
        assert HOSTILE in page.words
        assert not [key for _, attributes in page.tags for key in attributes if key[:2] == "on"]


def test_no_page_needs_a_script_or_what_its_policy_forbids() -> None:
    for text in (waterfall.waterfall(CHAIN), waterfall.overview([CHAIN]), waterfall.overview([])):
        page = Page(text)
        assert not [each for tag in ("script", "link", "iframe", "img") for each in page.of(tag)]
        assert not [each for _, each in page.tags if "style" in each]
        assert "prefers-color-scheme:dark" in text


@pytest.fixture
def server() -> Iterator[traces.TraceServer]:
    with traces.TraceServer("127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def post(server: traces.TraceServer, body: bytes, **headers: str) -> requests.Response:
    told = {"Content-Type": traces.PROTOBUF, **headers}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{server.url}/v1/traces", body, headers=told, timeout=60)


def get(server: traces.TraceServer, path: str, **headers: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{server.url}{path}", headers=headers, timeout=60)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_is_sent_is_shown(server: traces.TraceServer, encoding: str) -> None:
    body = message().SerializeToString()
    packed = gzip.compress(body) if encoding == "gzip" else body
    reply = post(server, packed, **{"Content-Encoding": encoding})
    assert (reply.status_code, reply.content) == (200, b"")
    page = get(server, f"/trace/{1:032x}")
    assert page.status_code == 200
    assert f'id="{1:016x}"' in page.text
    assert f"/trace/{1:032x}" in get(server, "/").text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff", {}, 400),
        (b"no gzip", {"Content-Encoding": "gzip"}, 400),
        (b"{}", {"Content-Type": "application/json"}, 415),
        (b"x" * (traces.LARGEST_BODY + 1), {}, 413),
        (gzip.compress(bytes(traces.LARGEST_BODY + 1)), {"Content-Encoding": "gzip"}, 413),
        (b"", {"Host": "attacker.example"}, 421),
    ],
    ids=["no message", "no gzip", "another type", "large", "large unpacked", "another name"],
)
def test_what_it_does_not_take_is_refused(
    server: traces.TraceServer, body: bytes, headers: dict[str, str], status: int
) -> None:
    try:
        assert post(server, body, **headers).status_code == status
    except requests.ConnectionError:
        # It hangs up on a body that it does not read, which may overtake its reply.
        assert len(body) > traces.LARGEST_BODY
    assert server.store.newest(1) == []


def test_a_trace_that_is_not_there_is_said(server: traces.TraceServer) -> None:
    page = get(server, f"/trace/{9:032x}")
    assert page.status_code == 404
    assert "is kept" in page.text
    assert get(server, "/elsewhere").status_code == 404
    assert get(server, "/", Host="attacker.example").status_code == 421


def test_a_linked_trace_can_be_followed() -> None:
    other = f"{7:032x}"
    page = Page(waterfall.waterfall((replace(span(), links=(other,)),)))
    assert f"/trace/{other}" in [link["href"] for link in page.of("a")]

"""How the demo goes from a call to its trace, and what it says where the way ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from threading import Thread

import pytest

from demo import call_trace, report, traces
from demo.call_trace import CallTrace
from demo.report import Sample
from tests.tooling.test_demo_traces import span

SEEN = CallTrace("read_file", "http://127.0.0.1:9/trace/1", "2", '<tr id="2">')


class Exemplars(report.Prometheus):
    """A Prometheus that has these exemplars."""

    def __init__(self, *labels: dict[str, str]) -> None:
        super().__init__("http://127.0.0.1:9")
        self._found = [Sample(each, 0.1) for each in labels]
        self.asked = ""

    def exemplars(self, series: str, since: float) -> list[Sample]:
        assert since == 5
        self.asked = series
        return self._found


@pytest.fixture
def store() -> Iterator[traces.TraceServer]:
    with traces.TraceServer("127.0.0.1", 0) as server:
        server.store.add([span(2, trace=1)])
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_newest_exemplar_leads_to_the_page_with_its_span(store: traces.TraceServer) -> None:
    older = {"trace_id": "f" * 32, "span_id": "f" * 16}
    newest = {"trace_id": f"{1:032x}", "span_id": f"{2:016x}"}
    prometheus = Exemplars(older, newest)
    found = call_trace.find(prometheus, "here:1", "read_file", 5, store.url)
    assert found.url == f"{store.url}/trace/{1:032x}"
    assert call_trace.shortcomings(found) == []
    assert 'instance="here:1",server="files",tool="read_file"' in prometheus.asked


def test_a_trace_that_did_not_arrive_is_told(store: traces.TraceServer) -> None:
    lost = Exemplars({"trace_id": "e" * 32, "span_id": f"{2:016x}"})
    found = call_trace.find(lost, "here:1", "read_file", 5, store.url)
    (told,) = call_trace.shortcomings(found)
    assert told.startswith("the trace of a call of read_file did not arrive: http")


@pytest.mark.parametrize("span_id", ["", "3"])
def test_a_page_without_the_call_s_span_is_told(span_id: str) -> None:
    (told,) = call_trace.shortcomings(replace(SEEN, span_id=span_id))
    assert "lacks the call's span" in told


def test_a_call_without_an_exemplar_is_told() -> None:
    found = call_trace.find(Exemplars(), "here:1", "read_file", 5, "http://127.0.0.1:9")
    assert call_trace.shortcomings(found) == ["Prometheus has no exemplar of a call of read_file"]


def test_nothing_is_told_where_all_is_there() -> None:
    assert call_trace.shortcomings(SEEN) == []

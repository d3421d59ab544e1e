"""Which requests leave a span, and what it says before it is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.model import TracingSettings
from exporter.protocol import trace_context
from exporter.protocol.label_values import Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.exchange import Exchange, outcome_of
from exporter.telemetry.spans.details import Peer, TraceDetails, TraceNotes
from exporter.telemetry.spans.tracer import BATCH, SpanRecord, Tracer
from tests.support.fakes import Telemetry, parsed, request

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
CONTEXT = f"00-{TRACE}-{PARENT}-01"
UNSAMPLED = f"00-{TRACE}-{PARENT}-00"
SETTINGS = TracingSettings("http://c/v1/traces", per_second=0)


@dataclass
class FakeQueue:
    """Keeps what it is given."""

    is_full: bool = False
    counts: list[int] = field(default_factory=list)

    def put(self, data: bytes, count: int) -> None:  # noqa: ARG002
        self.counts.append(count)


class Setup:
    """A tracer, and the records that it has had written."""

    def __init__(self, settings: TracingSettings = SETTINGS) -> None:
        self.telemetry = Telemetry()
        self.spans = self.telemetry.metrics.spans
        self.queue = FakeQueue()
        self.written: list[SpanRecord] = []
        self.is_broken = False
        self.tracer = Tracer(settings, self._write, self.queue, self.spans, Random(1))

    def _write(self, records: Sequence[SpanRecord], offset: float) -> bytes:  # noqa: ARG002
        if self.is_broken:
            raise ValueError("cannot be written")
        self.written += records
        return b"x"

    def finish(
        self,
        context: str | None = None,
        outcome: Outcome = Outcome.OK,
        seconds: float = 0.5,
        started: float = 100.0,
        session: str | None = None,
        **noted: Any,
    ) -> str | None:
        notes = TraceNotes(**{"source": "none" if context is None else "meta"} | noted)
        if not self.tracer.keeps("tools/call", outcome, seconds, context, notes):
            return None
        told = TraceDetails(started, session=session, notes=notes)
        call = Call(
            *("tools/call", outcome, seconds, True, "act", None, 10, context, "inspector"), told
        )
        return self.tracer.record("files", "tools/call", "act", "inspector", call)

    @property
    def record(self) -> SpanRecord:
        self.tracer.flush()
        (record,) = self.written
        return record

    @property
    def count(self) -> int:
        """Spans that were written."""
        self.tracer.flush()
        return sum(self.queue.counts)


def test_a_span_is_the_child_of_the_context_of_its_request() -> None:
    setup = Setup()
    exemplar = setup.finish(CONTEXT)
    record = setup.record
    assert (record.trace_id, record.parent_id, record.flags) == (TRACE, PARENT, 0x301)
    assert exemplar == f"{TRACE}-{record.span_id}"
    assert (record.start, record.seconds, record.size) == (100.0, 0.5, 10)
    assert record.series.tool == "act"
    assert record.links == ()


def test_without_a_context_a_trace_begins() -> None:
    setup = Setup()
    assert setup.finish() is not None
    record = setup.record
    assert (record.parent_id, record.flags, record.links) == ("", 0x103, ())
    assert len(bytes.fromhex(record.trace_id)) == 16
    assert len(bytes.fromhex(record.span_id)) == 8


def test_the_client_decides_where_it_sent_a_context() -> None:
    setup = Setup(replace(SETTINGS, sample=0.0))
    assert setup.finish(UNSAMPLED, Outcome.TOOL_ERROR, seconds=100.0) is None
    assert setup.finish(CONTEXT) is not None
    assert setup.count == 1


@pytest.mark.parametrize(
    ("settings", "outcome", "seconds", "kept"),
    [
        (replace(SETTINGS, sample=0.0), Outcome.OK, 1.0, False),
        (replace(SETTINGS, sample=0.0), Outcome.TOOL_ERROR, 1.0, True),
        (replace(SETTINGS, sample=0.0, always=frozenset()), Outcome.TOOL_ERROR, 1.0, False),
        (replace(SETTINGS, sample=0.0, slower_than=2.0), Outcome.OK, 2.5, True),
        (replace(SETTINGS, sample=0.0, slower_than=2.0), Outcome.OK, 2.0, False),
        (SETTINGS, Outcome.OK, 1.0, True),
    ],
)
def test_without_a_context_the_outcome_decides(
    settings: TracingSettings, outcome: Outcome, seconds: float, kept: bool
) -> None:
    setup = Setup(settings)
    assert (setup.finish(None, outcome, seconds) is not None) is kept
    assert setup.spans.recorded.value == kept


ANY = "whatever"
SAMPLING = [
    # mode, context, whether it failed or was slow, sample: whether it is kept
    ("parent", CONTEXT, ANY, ANY, True),
    ("parent", UNSAMPLED, ANY, ANY, False),
    ("parent", None, True, ANY, True),
    ("parent", None, False, 1.0, True),
    ("parent", None, False, 0.0, False),
    *((mode, ANY, True, ANY, True) for mode in ("link", "ignore")),
    *((mode, ANY, False, 1.0, True) for mode in ("link", "ignore")),
    *((mode, ANY, False, 0.0, False) for mode in ("link", "ignore")),
]
TOLD = [
    # mode, context, sample: the sampled flag that a server is told, which is told at all
    ("parent", CONTEXT, ANY, True),
    ("parent", UNSAMPLED, ANY, None),
    ("parent", None, 1.0, True),
    ("parent", None, 0.0, False),
    ("link", ANY, ANY, None),
    ("ignore", ANY, ANY, None),
]


def looked_up(table: Sequence[tuple[Any, ...]], *key: object) -> Any:
    """The last column of the one row that fits."""
    (row,) = (row for row in table if all(a in (ANY, b) for a, b in zip(row, key, strict=False)))
    return row[-1]


@pytest.mark.parametrize("mode", ["parent", "link", "ignore"])
@pytest.mark.parametrize("context", [CONTEXT, UNSAMPLED, None])
@pytest.mark.parametrize("outcome", [each for each in Outcome if each != Outcome.REJECTED])
@pytest.mark.parametrize("sample", [0.0, 1.0])
def test_what_is_kept_and_what_a_server_is_told_stand_in_a_table(
    mode: str, context: str | None, outcome: Outcome, sample: float
) -> None:
    for always, slower_than, propagates in product((True, False), (0.0, 0.4, 0.6), (True, False)):
        kinds = frozenset({outcome.value}) if always else frozenset[str]()
        how = {"context": mode, "sample": sample, "always": kinds, "slower_than": slower_than}
        setup = Setup(replace(SETTINGS, **how))  # type: ignore[arg-type]
        join = setup.tracer.join(context, Peer()) if propagates else None
        told = None if join is None else trace_context.is_sampled(join.context)
        assert told is (looked_up(TOLD, mode, context, sample) if propagates else None)
        exemplar = setup.finish(context, outcome, seconds=0.5, join=join)
        is_wanted = always or 0 < slower_than < 0.5
        is_kept = looked_up(SAMPLING, mode, context, is_wanted, sample)
        assert (exemplar is not None) is is_kept, (always, slower_than, propagates)
        assert setup.count == (0 if not is_kept else 1 if join is None else 2)


def test_a_share_of_the_others_is_kept() -> None:
    setup = Setup(replace(SETTINGS, sample=0.25))
    kept = sum(setup.finish() is not None for _ in range(2000))
    assert 400 < kept < 600
    assert setup.count == kept


def test_in_mode_link_a_trace_of_our_own_is_linked_to_the_client_s() -> None:
    setup = Setup(replace(SETTINGS, context="link"))
    setup.finish(UNSAMPLED)
    record = setup.record
    assert record.trace_id != TRACE
    assert (record.parent_id, record.links) == ("", (UNSAMPLED,))


def test_in_mode_ignore_the_client_s_trace_is_not_named() -> None:
    setup = Setup(replace(SETTINGS, context="ignore"))
    setup.finish(CONTEXT, link=UNSAMPLED)
    record = setup.record
    assert record.trace_id != TRACE
    assert (record.parent_id, record.links) == ("", ())


def test_another_context_of_the_http_request_is_linked() -> None:
    setup = Setup()
    setup.finish(CONTEXT, link=UNSAMPLED, source="both")
    assert setup.record.links == (UNSAMPLED,)


def test_no_more_spans_a_second_than_allowed_are_kept() -> None:
    setup = Setup(replace(SETTINGS, per_second=3))
    kept = [setup.finish(started=100.0 + number / 10) is not None for number in range(5)]
    assert kept == [True, True, True, False, False]
    assert setup.finish(started=101.0) is not None
    assert setup.spans.dropped["rate"].value == 2
    assert setup.spans.recorded.value == 6


def test_with_a_full_queue_nothing_is_kept() -> None:
    setup = Setup()
    setup.queue.is_full = True
    assert setup.finish(CONTEXT) is None
    assert setup.spans.dropped["queue_full"].value == 1
    assert setup.count == 0


def test_spans_are_written_by_the_batch() -> None:
    setup = Setup()
    for _ in range(BATCH + 1):
        setup.finish(CONTEXT)
    assert setup.queue.counts == [BATCH]
    setup.tracer.flush()
    setup.tracer.flush()
    assert setup.queue.counts == [BATCH, 1]


def test_what_cannot_be_written_is_dropped_and_counted() -> None:
    setup = Setup()
    setup.is_broken = True
    setup.finish(CONTEXT)
    with pytest.raises(ValueError, match="cannot be written"):
        setup.tracer.flush()
    setup.tracer.flush()
    assert setup.spans.dropped["unwritable"].value == setup.spans.recorded.value == 1


def test_contexts_are_counted_by_where_they_came_from() -> None:
    setup = Setup(replace(SETTINGS, sample=0.0))
    for source in ("meta", "meta", "invalid"):
        setup.finish(UNSAMPLED, source=source)
    counts = {source: series.value for source, series in setup.spans.contexts.items()}
    assert counts == {"meta": 2, "header": 0, "both": 0, "none": 0, "invalid": 1}


def test_pings_and_subscriptions_leave_none_nor_what_came_before_it_was_switched_on() -> None:
    setup = Setup()
    for method in ("ping", "subscriptions/listen"):
        assert not setup.tracer.keeps(method, Outcome.OK, 0.1, None, None)
        assert not setup.tracer.keeps(method, Outcome.OK, 0.1, CONTEXT, TraceNotes("meta"))
    assert not setup.tracer.keeps("tools/call", Outcome.OK, 0.1, CONTEXT, None)
    bare = Call("tools/call", Outcome.OK, 0.1)
    assert setup.tracer.record("files", "tools/call", None, None, bare) is None
    assert setup.spans.recorded.value == 0
    assert sum(series.value for series in setup.spans.contexts.values()) == 0


REPLIES = st.sampled_from([{"result": {}}, {"result": {"isError": True}}, {"error": {}}])
LOSSES = st.sampled_from([Outcome.CANCELLED, Outcome.TIMEOUT, Outcome.UPSTREAM_ERROR])
STEPS = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from(["tools/call", "tools/list"])),
    st.tuples(st.just("reply"), REPLIES),
    st.tuples(st.just("lose"), LOSSES),
    st.tuples(st.just("switch"), st.booleans()),
)


@given(st.lists(st.tuples(st.integers(0, 3), STEPS), max_size=40))
def test_each_request_that_is_counted_leaves_one_span_with_its_outcome(
    steps: list[tuple[int, tuple[str, Any]]],
) -> None:
    setup = Setup()
    tracing, exchange = setup.telemetry.metrics.tracing, Exchange(setup.telemetry.recorder)
    tracing.tracer = setup.tracer
    expected: Counter[str] = Counter()
    for number, (step, what) in steps:
        pending = exchange.find(number)
        if step == "switch":
            tracing.tracer = setup.tracer if what else None
        elif step == "begin":
            exchange.begin(parsed(request(number, what)), 0.0)
        elif pending is not None:
            outcome = what
            if step == "lose":
                exchange.settle(pending, outcome, 1.0)
            else:
                reply = parsed({"jsonrpc": "2.0", "id": number, **what})
                outcome = outcome_of(reply)
                exchange.finish(pending, reply, 1, 1.0)
            expected += Counter({outcome.value: int(tracing.tracer is not None)})
    setup.tracer.flush()
    assert Counter(record.series.outcome for record in setup.written) == expected
    assert setup.spans.recorded.value == sum(expected.values())


def test_a_request_that_was_joined_has_two_spans_in_a_chain() -> None:
    setup = Setup()
    join = setup.tracer.join(CONTEXT, Peer("up", 8000))
    assert join is not None
    assert trace_context.trace_id(join.context) == TRACE
    assert trace_context.parent_id(join.context) not in {PARENT, join.span_id}
    exemplar = setup.finish(CONTEXT, join=join)
    record = setup.record
    assert exemplar == f"{TRACE}-{record.span_id}"
    assert (record.parent_id, record.span_id) == (PARENT, join.span_id)
    assert record.join == join
    assert setup.spans.recorded.value == setup.queue.counts[0] == 2


@pytest.mark.parametrize(
    ("sample", "outcome", "seconds", "kept"),
    [
        (1.0, Outcome.OK, 0.5, True),
        (0.0, Outcome.OK, 0.5, False),
        (0.0, Outcome.TOOL_ERROR, 0.5, True),
        (0.0, Outcome.OK, 3.0, True),
    ],
)
def test_of_a_trace_that_began_here_what_the_server_was_told_counts(
    sample: float, outcome: Outcome, seconds: float, kept: bool
) -> None:
    setup = Setup(replace(SETTINGS, sample=sample, slower_than=2.0))
    join = setup.tracer.join(None, Peer())
    assert join is not None
    assert (setup.finish(None, outcome, seconds, join=join) is not None) is kept
    setup.tracer.flush()
    told = trace_context.trace_id(join.context)
    found = [(each.trace_id, each.parent_id, each.join) for each in setup.written]
    assert found == [(told, "", join)] * kept


def test_two_spans_need_room_for_two() -> None:
    setup = Setup()
    setup.queue.is_full = True
    assert setup.finish(CONTEXT, join=setup.tracer.join(CONTEXT, Peer())) is None
    assert setup.spans.dropped["queue_full"].value == setup.spans.recorded.value == 2

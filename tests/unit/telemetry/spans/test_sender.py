"""Spans go to a collector within bounds; each is counted once, whatever the collector does."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.telemetry.logs import TextFormatter
from exporter.telemetry.spans.metrics import DROPPED
from exporter.telemetry.spans.sender import (
    LONGEST_WAIT,
    MOST_SLICES,
    PATIENCE,
    SLICES_A_POST,
    TRIES,
    CollectorLostError,
    CollectorReply,
    SpanSender,
    gzipped,
)
from exporter.telemetry.spans.tracer import BATCH
from tests.support.fakes import Telemetry

LOST = CollectorLostError("connection refused")
OK = CollectorReply(200)


class FakeStop:
    """The event that ends the thread, and the waits for it; no time passes."""

    def __init__(self, clock: FakeTime) -> None:
        self.clock = clock
        self.waits: list[float] = []
        self.is_over = False

    def set(self) -> None:
        self.is_over = True

    def is_set(self) -> bool:
        return self.is_over

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.clock.advance(seconds)
        return self.is_over


class FakeTime:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.meanwhile: Callable[[float], None] | None = None

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
        if self.meanwhile is not None:
            self.meanwhile(seconds)


class Setup:
    """A sender whose thread the test is, and a collector that the test plays."""

    def __init__(self, *replies: CollectorReply | Exception) -> None:
        self.metrics = Telemetry().metrics.spans
        self.clock = FakeTime()
        self.replies = list(replies)
        self.bodies: list[bytes] = []
        self.timeouts: list[float] = []
        self.during: Callable[[], None] | None = None
        self.failure: CollectorReply | Exception = LOST
        self.until = 0.0
        self.sender = SpanSender(self, self.metrics, 10.0, clock=self.clock)
        self.stop = FakeStop(self.clock)
        self.sender._stopping = self.stop  # type: ignore[assignment]

    def post(self, body: bytes, timeout: float) -> CollectorReply:
        self.bodies.append(body)
        self.timeouts.append(timeout)
        if self.during is not None:
            self.during()
        reply = self.replies.pop(0) if self.replies else OK
        if self.clock.now < self.until:
            reply = self.failure
        if isinstance(reply, Exception):
            raise reply
        return reply

    def put(self, *slices: bytes, count: int = 2) -> None:
        for each in slices:
            self.sender.put(each, count)

    def run(self) -> None:
        self.sender._send_all()

    @property
    def counts(self) -> dict[str, float]:
        found = {"sent": self.metrics.sent.value}
        found |= {reason: self.metrics.dropped[reason].value for reason in DROPPED}
        return {name: value for name, value in found.items() if value}


def test_slices_are_joined_in_their_order() -> None:
    setup = Setup()
    setup.put(b"a", b"b", b"c")
    setup.run()
    assert setup.bodies == [b"abc"]
    assert setup.counts == {"sent": 6}
    assert setup.metrics.export_duration.count == 1


def test_a_request_has_a_bounded_number_of_slices() -> None:
    setup = Setup()
    setup.put(*[b"a"] * (SLICES_A_POST + 3))
    setup.run()
    assert [len(body) for body in setup.bodies] == [SLICES_A_POST, 3]


def test_what_has_no_room_is_dropped_at_once() -> None:
    setup = Setup()
    setup.put(*[b"a"] * (MOST_SLICES + 2))
    assert setup.sender.is_full
    assert setup.counts == {"queue_full": 4}
    setup.run()
    assert setup.counts == {"queue_full": 4, "sent": 2 * MOST_SLICES}
    assert not setup.sender.is_full


@pytest.mark.parametrize(
    "first", [LOST, *(CollectorReply(status) for status in (429, 502, 503, 504)), OSError("odd")]
)
def test_what_may_pass_is_tried_again(first: CollectorReply | Exception) -> None:
    setup = Setup(first)
    setup.put(b"a")
    setup.run()
    assert setup.bodies == [b"a", b"a"]
    assert setup.counts == {"sent": 2}


def test_after_the_last_try_they_are_dropped() -> None:
    setup = Setup(*[LOST] * TRIES)
    setup.put(b"a")
    setup.run()
    assert len(setup.bodies) == TRIES
    assert setup.counts == {"unreachable": 2}
    first, second = setup.stop.waits
    assert 0.5 <= first <= 1.5
    assert 1.0 <= second <= 3.0


@pytest.mark.parametrize(
    ("said", "waited"), [(7.0, 7.0), (0.0, 0.0), (1e6, LONGEST_WAIT), (-5.0, 0.0)]
)
def test_a_collector_may_say_when(said: float, waited: float) -> None:
    setup = Setup(CollectorReply(503, retry_after=said))
    setup.put(b"a")
    setup.run()
    assert setup.stop.waits == [waited]


@pytest.mark.parametrize("status", [301, 307, 400, 401, 404, 413, 415, 500, 501])
def test_what_will_not_pass_is_dropped(status: int) -> None:
    setup = Setup(CollectorReply(status))
    setup.put(b"a")
    setup.run()
    assert len(setup.bodies) == 1
    assert setup.counts == {"rejected": 2}


@pytest.mark.parametrize(("rejected", "taken"), [(1, 1), (2, 0), (99, 0), (-1, 2)])
def test_a_part_may_be_rejected(rejected: int, taken: int) -> None:
    setup = Setup(CollectorReply(200, rejected=rejected))
    setup.put(b"a")
    setup.run()
    expected = {"sent": taken, "rejected": 2 - taken}
    assert setup.counts == {name: count for name, count in expected.items() if count}


def test_at_the_end_what_is_left_is_sent_in_the_time_that_is_given() -> None:
    setup = Setup()
    setup.put(*[b"a"] * (SLICES_A_POST + 1))
    setup.sender.stop(2.0)
    setup.during = lambda: setattr(setup.clock, "now", setup.clock.now + 1.5)
    setup.sender.run()
    setup.sender.join(0.0)
    assert setup.timeouts == [2.0, 0.5]
    assert setup.counts == {"sent": 2 * (SLICES_A_POST + 1)}


def test_what_cannot_be_sent_in_that_time_is_counted() -> None:
    setup = Setup(LOST, LOST, LOST)
    setup.put(*[b"a"] * (SLICES_A_POST * 2))
    setup.sender.stop(2.0)
    setup.during = lambda: setattr(setup.clock, "now", setup.clock.now + 5.0)
    setup.sender.run()
    setup.sender.join(0.0)
    assert setup.counts == {"unreachable": 2 * SLICES_A_POST, "stopping": 2 * SLICES_A_POST}
    setup.put(b"late")
    assert setup.counts["stopping"] == 2 * SLICES_A_POST + 2


def test_what_is_under_way_when_time_is_over_is_counted_once() -> None:
    setup = Setup()
    setup.put(b"a")
    setup.during = lambda: setup.sender.join(0.0)
    setup.run()
    assert setup.counts == {"stopping": 2}


def test_the_log_says_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "exporter.telemetry.spans.sender")
    setup = Setup(*[LOST] * TRIES * 2)
    for _ in range(4):
        setup.put(b"a")
        setup.run()
    assert [record.message for record in caplog.records] == [
        "spans cannot be sent",
        "spans are sent again",
    ]
    assert caplog.records[0].__dict__["reason"] == "connection refused"


REPLIES = st.one_of(
    st.just(LOST),
    st.builds(CollectorReply, st.sampled_from([200, 400, 429, 503]), st.none(), st.integers(0, 3)),
)


@given(
    st.lists(st.one_of(st.just("run"), st.integers(1, 40)), max_size=30),
    st.lists(REPLIES, max_size=30),
)
def test_each_span_is_counted_once(
    steps: list[str | int], replies: list[CollectorReply | Exception]
) -> None:
    setup = Setup(*replies)
    recorded = 0
    for step in steps:
        if step == "run":
            setup.run()
        else:
            setup.put(b"a", count=int(step))
            recorded += int(step)
    setup.sender.stop(0.0)
    setup.sender.join(0.0)
    assert sum(setup.counts.values()) == recorded


def test_a_thread_sends_what_fills_a_request_at_once() -> None:
    sent = Event()

    class Told:
        def post(self, body: bytes, timeout: float) -> CollectorReply:  # noqa: ARG002
            sent.set()
            return OK

    sender = SpanSender(Told(), Telemetry().metrics.spans, 10.0)
    sender.start()
    for _ in range(SLICES_A_POST):
        sender.put(b"a", 32)
    assert sent.wait(10)
    sender.stop(1.0)
    sender.join(10.0)
    assert not sender._thread.is_alive()


def test_a_body_is_compressed_for_gzip() -> None:
    assert zlib.decompress(gzipped(b"abc" * 100), wbits=31) == b"abc" * 100


CALLS_A_SECOND = 1000
HOUR = 3600.0


@pytest.mark.parametrize(
    "failure",
    [LOST, CollectorReply(503), CollectorReply(429, retry_after=30.0), CollectorReply(413)],
    ids=["gone", "unavailable", "wants a pause", "takes nothing"],
)
def test_an_hour_without_a_collector_costs_the_queue_and_every_span_is_counted(
    failure: CollectorReply | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "exporter.telemetry.spans.sender")
    setup = Setup()
    recorded, longest, over = 0, 0, 0.0

    def calls_go_on(seconds: float) -> None:
        nonlocal recorded, longest, over
        over += seconds * CALLS_A_SECOND
        while over >= BATCH:
            over -= BATCH
            recorded += BATCH
            setup.put(b"a", count=BATCH)
            longest = max(longest, len(setup.sender._slices))

    setup.clock.meanwhile = calls_go_on
    setup.failure, setup.until = failure, HOUR
    while setup.clock.now < HOUR:
        assert "sent" not in setup.counts
        setup.clock.advance(PATIENCE)
        setup.run()
    setup.put(b"a", count=BATCH)
    setup.run()
    assert recorded == pytest.approx(HOUR * CALLS_A_SECOND, rel=0.05)
    assert longest <= MOST_SLICES
    # What waited, what was under way and would be tried again, and the last one.
    assert 0 < setup.counts["sent"] <= BATCH * (MOST_SLICES + SLICES_A_POST + 1)
    assert sum(setup.counts.values()) == recorded + BATCH
    assert [record.message for record in caplog.records] == [
        "spans cannot be sent",
        "spans are sent again",
    ]


def test_of_what_nobody_thought_of_the_log_has_the_kind_and_the_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = Setup(*[KeyError("http://collector/token")] * TRIES)
    setup.put(b"a")
    setup.run()
    assert setup.counts == {"unreachable": 2}
    first = caplog.records[0]
    assert first.message == "spans could not be sent"
    assert re.fullmatch(r"KeyError at test_sender\.py:\d+", vars(first)["reason"])
    formatted = [TextFormatter().format(record) for record in caplog.records]
    assert "token" not in "".join(formatted)


def test_what_relays_never_waits_for_what_sends() -> None:
    """Not while a request is under way, nor while its thread settles what became of it."""
    setup = Setup()
    put = Thread(target=setup.put, args=[b"a"] * (MOST_SLICES + 1), daemon=True)
    with setup.sender._lock:
        put.start()
        put.join(60)
        assert not put.is_alive()
    assert setup.sender.is_full
    assert setup.counts == {"queue_full": 2}

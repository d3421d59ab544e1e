"""Every request of a conversation ends exactly once, however the messages interleave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import UNTIMED
from exporter.telemetry.call import Call, Tracing
from exporter.telemetry.exchange import (
    MOST_QUESTIONS,
    MOST_REQUESTS,
    Exchange,
    Pending,
    outcome_of,
)
from tests.support.fakes import (
    Telemetry,
    encoded,
    error,
    notification,
    parsed,
    request,
    result,
    waiting,
)
from tests.support.work import lines


class FakeRecorder:
    """Keeps what an exchange reports."""

    names_clients = False
    tracing = Tracing()

    def __init__(self) -> None:
        self.in_flight = {True: 0, False: 0}
        self.calls: list[Call] = []

    def began(self, to_server: bool) -> None:
        self.in_flight[to_server] += 1

    def finished(self, call: Call) -> None:
        self.in_flight[call.to_server] -= 1
        self.calls.append(call)

    def notified(self, method: str | None, to_server: bool) -> None:
        raise AssertionError(f"an exchange notes requests alone: {method} {to_server}")

    def failed(self, where: str) -> None:
        raise AssertionError(f"nothing fails here: {where}")


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def outcomes(recorder: FakeRecorder) -> list[Outcome]:
    return [call.outcome for call in recorder.calls]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (result(1), Outcome.OK),
        (result(1, isError=False), Outcome.OK),
        (result(1, resultType="complete"), Outcome.OK),
        (result(1, isError=True), Outcome.TOOL_ERROR),
        (result(1, isError=True, resultType="complete"), Outcome.TOOL_ERROR),
        (result(1, resultType="input_required"), Outcome.INPUT_REQUIRED),
        (result(1, resultType="task"), Outcome.INPUT_REQUIRED),
        (result(1, task={"taskId": "t"}), Outcome.INPUT_REQUIRED),
        (result(1, task=None), Outcome.OK),
        (error(1), Outcome.PROTOCOL_ERROR),
        ({"jsonrpc": "2.0", "id": 1, "result": None}, Outcome.OK),
        ({"jsonrpc": "2.0", "id": 1, "result": {}, "error": None}, Outcome.OK),
        ({"jsonrpc": "2.0", "id": 1, "error": "broken"}, Outcome.PROTOCOL_ERROR),
        ({"jsonrpc": "2.0", "id": 1, "error": {"code": 1}, "result": None}, Outcome.PROTOCOL_ERROR),
    ],
)
def test_a_reply_decides_the_outcome(reply: object, outcome: Outcome) -> None:
    assert outcome_of(parsed(reply)) is outcome


def test_a_call_says_what_the_request_and_its_reply_were() -> None:
    recorder = FakeRecorder()
    exchange = Exchange(recorder)
    params = {"name": "read_file", "_meta": {"traceparent": TRACEPARENT}}
    pending = exchange.begin(parsed(request(7, "tools/call", **params)), 10.0)

    exchange.finish(pending, parsed(result(7, isError=True)), 123, 12.5)

    assert recorder.calls == [
        Call("tools/call", Outcome.TOOL_ERROR, 2.5, True, "read_file", None, 123, TRACEPARENT)
    ]


HEADER = TRACEPARENT.replace("0af7", "1234")


@pytest.mark.parametrize(
    ("meta", "header", "expected"),
    [
        (TRACEPARENT, None, TRACEPARENT),
        (TRACEPARENT, HEADER, TRACEPARENT),
        (None, HEADER, HEADER),
        ("ff" + TRACEPARENT[2:], HEADER, HEADER),
        ("ff" + TRACEPARENT[2:], None, None),
        ("00-1-2-3", None, None),
    ],
)
def test_the_message_says_of_which_trace_it_is_or_else_its_header(
    meta: str | None, header: str | None, expected: str | None
) -> None:
    message = parsed(request(7, "tools/call", _meta={"traceparent": meta} if meta else {}))
    for each in (message, parsed(request(8, "tools/list"))):
        pending = Exchange(FakeRecorder()).begin(each, 0.0, True, header)
        assert pending.traceparent == (expected if each is message else header)


def test_an_error_reply_bears_its_code() -> None:
    recorder = FakeRecorder()
    exchange = Exchange(recorder)
    pending = exchange.begin(parsed(request(7, "tools/list")), 0.0)

    exchange.finish(pending, parsed(error(7, -32601)), 50, 1.0)

    assert [call.code for call in recorder.calls] == [-32601]


@pytest.mark.parametrize("first", ["reply", "cancel", "abandon", "settle", "expire", "time out"])
def test_what_comes_after_the_end_of_a_request_changes_nothing(first: str) -> None:
    recorder = FakeRecorder()
    exchange = Exchange(recorder)
    pending = exchange.begin(parsed(request(1)), 0.0)
    ends: dict[str, Callable[[], Any]] = {
        "reply": lambda: exchange.finish(pending, parsed(result(1)), 9, 1.0),
        "cancel": lambda: exchange.cancel(1, 1.0),
        "abandon": lambda: exchange.abandon(Outcome.UPSTREAM_ERROR, 1.0),
        "settle": lambda: exchange.settle(pending, Outcome.CLIENT_GONE, 1.0),
        "expire": lambda: exchange.expire(0.5, 1.0),
        "time out": lambda: exchange.time_out(pending, 1.0),
    }

    ends.pop(first)()
    for end in ends.values():
        end()

    assert len(recorder.calls) == 1
    assert recorder.in_flight == {True: 0, False: 0}


def test_ids_keep_their_json_type() -> None:
    recorder = FakeRecorder()
    exchange = Exchange(recorder)
    number = exchange.begin(parsed(request(1)), 0.0)
    text = exchange.begin(parsed(request("1")), 0.0)

    assert exchange.find(1) is number
    assert exchange.find("1") is text


def test_the_two_directions_have_ids_of_their_own() -> None:
    exchange = Exchange(FakeRecorder())
    up = exchange.begin(parsed(request(1, "tools/call")), 0.0)
    down = exchange.begin(parsed(request(1, "sampling/createMessage")), 0.0, to_server=False)

    assert exchange.find(1) is up
    assert exchange.find(1, to_server=False) is down
    exchange.cancel(1, 1.0, to_server=False)
    assert exchange.find(1) is up


@pytest.mark.parametrize(
    "order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
)
def test_requests_that_share_an_id_end_in_any_order(order: tuple[int, ...]) -> None:
    recorder = FakeRecorder()
    exchange = Exchange(recorder)
    pendings = [exchange.begin(parsed(request(5)), float(at)) for at in range(3)]

    for index in order:
        exchange.settle(pendings[index], Outcome.OK, 3.0)
        waiting = [pending for pending in pendings if not pending.done]
        assert exchange.find(5) is (waiting[-1] if waiting else None)

    assert sorted(call.seconds for call in recorder.calls) == [1.0, 2.0, 3.0]
    assert not len(exchange)


def test_only_what_is_overdue_expires() -> None:
    recorder = FakeRecorder()
    exchange = Exchange(recorder)
    exchange.begin(parsed(request(1)), 0.0)
    exchange.begin(parsed(request(2)), 5.0)

    exchange.expire(oldest=5.0, deadline=3.0)

    assert [(call.outcome, call.seconds) for call in recorder.calls] == [(Outcome.TIMEOUT, 3.0)]
    assert exchange.find(2) is not None


def test_a_cancellation_of_what_nobody_asked_for_is_nothing() -> None:
    recorder = FakeRecorder()
    assert Exchange(recorder).cancel(1, 0.0) is None
    assert recorder.calls == []


IDS = st.sampled_from([1, 2, 1.5, "1", "2", "", None, 2**63])


@pytest.mark.parametrize("is_newest_first", [False, True])
def test_ending_one_of_many_with_the_same_id_is_no_more_work(is_newest_first: bool) -> None:
    def work(count: int) -> int:
        exchange = Exchange(FakeRecorder())
        pendings = [exchange.begin(parsed(request(1)), 0.0) for _ in range(count)]
        order = pendings[::-1] if is_newest_first else pendings

        def end() -> None:
            for pending in order:
                exchange.settle(pending, Outcome.OK, 1.0)

        return lines(end)

    assert work(400) <= 5 * work(100)


@pytest.mark.parametrize(("to_server", "most"), [(True, MOST_REQUESTS), (False, MOST_QUESTIONS)])
def test_of_too_many_that_wait_the_oldest_times_out(to_server: bool, most: int) -> None:
    recorder = FakeRecorder()
    exchange = Exchange(recorder)
    pendings = [
        exchange.begin(parsed(request(number)), 0.0, to_server) for number in range(most + 2)
    ]
    assert len(exchange) == most
    assert outcomes(recorder) == [Outcome.TIMEOUT] * 2
    assert [pending.done for pending in pendings[:3]] == [True, True, False]


def test_what_is_kept_of_a_request_is_bounded() -> None:
    exchange = Exchange(FakeRecorder())
    long = "x" * 100_000
    meta = {"traceparent": long}
    message = parsed(request(long, "tools/call", name=long, cursor=long, _meta=meta))
    pending = exchange.begin(message, 0.0)
    kept = (pending.key, pending.tool, pending.cursor, pending.traceparent)
    assert all(len(each) <= 257 for each in kept if isinstance(each, str | bytes))
    assert len(exchange.begin(parsed(request(1, long)), 0.0).method) == 257
    assert exchange.find(long) is pending
    assert exchange.find("y" * 100_000) is None


METHODS = st.sampled_from(["tools/call", "tools/list", "ping", "subscriptions/listen", "odd"])
REPLIES = st.sampled_from(
    [
        {"result": {}},
        {"result": {"isError": True}},
        {"result": {"resultType": "input_required"}},
        {"result": {"isError": 5}},
        {"result": None},
        {"error": {"code": -32603}},
        {"error": {"code": "odd"}},
        {"error": 7},
    ]
)


class Conversation(RuleBasedStateMachine):
    """A session with POSTs in flight, an upstream that may be lost, and odd peers on both sides."""

    @initialize()
    def start(self) -> None:
        self.telemetry = Telemetry()
        self.exchange = Exchange(self.telemetry.recorder)
        self.posts: list[list[Pending]] = []
        self.sent = {True: 0, False: 0}
        self.now = 0.0

    @rule(messages=st.lists(st.tuples(IDS, METHODS), min_size=1, max_size=4))
    def client_posts_requests(self, messages: list[tuple[object, str]]) -> None:
        batch = [parsed(request(each, method, name="read_file")) for each, method in messages]
        self.posts.append(self._client_sends(batch))
        self.sent[True] += len(batch)

    @rule(request_id=IDS)
    def client_cancels(self, request_id: object) -> None:
        notice = notification("notifications/cancelled", requestId=request_id)
        self._client_sends([parsed(notice)])

    @rule(request_id=IDS, reply=REPLIES)
    def client_replies(self, request_id: object, reply: dict[str, object]) -> None:
        self._client_sends([parsed({"id": request_id, **reply})])

    @rule(request_id=IDS, method=METHODS)
    def server_asks(self, request_id: object, method: str) -> None:
        self._server_sends(request(request_id, method))
        self.sent[False] += 1

    @rule(request_id=IDS)
    def server_cancels(self, request_id: object) -> None:
        self._server_sends(notification("notifications/cancelled", requestId=request_id))

    @rule(request_id=IDS, reply=REPLIES)
    def server_replies(self, request_id: object, reply: dict[str, object]) -> None:
        self._server_sends({"id": request_id, **reply})

    @rule(replies=st.lists(st.tuples(IDS, REPLIES), min_size=1, max_size=4))
    def server_replies_to_a_batch(self, replies: list[tuple[object, dict[str, object]]]) -> None:
        self._server_sends([{"id": each, **reply} for each, reply in replies])

    @rule(line=st.binary(max_size=20))
    def server_says_nonsense(self, line: bytes) -> None:
        self.telemetry.observer.server_said(self.exchange, line, self.now)

    @precondition(lambda self: self.posts)
    @rule(data=st.data(), reply=REPLIES)
    def a_post_is_answered_on_its_own_stream(
        self, data: st.DataObject, reply: dict[str, object]
    ) -> None:
        own = data.draw(st.sampled_from(self.posts))
        for pending in own:
            text = encoded({"id": pending.key, **reply})
            self.telemetry.observer.server_sent(self.exchange, text, own, self.now)
            assert pending.done

    @precondition(lambda self: self.posts)
    @rule(data=st.data(), outcome=st.sampled_from(list(Outcome)))
    def a_post_ends_without_reply(self, data: st.DataObject, outcome: Outcome) -> None:
        own = data.draw(st.sampled_from(self.posts))
        self.posts.remove(own)
        self.telemetry.observer.settle(self.exchange, own, outcome, self.now)

    @precondition(lambda self: self.posts)
    @rule(data=st.data(), body=st.sampled_from([b"no", encoded(error(None)), encoded(error(1))]))
    def a_post_is_refused(self, data: st.DataObject, body: bytes) -> None:
        own = data.draw(st.sampled_from(self.posts))
        self.posts.remove(own)
        self.telemetry.observer.error_reply(self.exchange, body, own, self.now, 500)
        assert all(pending.done for pending in own)

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.exchange.expire(self.now - 60, 60.0)

    @rule()
    def the_upstream_is_lost(self) -> None:
        self.telemetry.observer.abandon(self.exchange, Outcome.UPSTREAM_ERROR, self.now)
        assert len(self.exchange) == 0

    @invariant()
    def every_request_is_either_pending_or_counted_once(self) -> None:
        if not hasattr(self, "telemetry"):
            return
        pendings = list(waiting(self.exchange))
        timed = [each for each in pendings if each.to_server and each.method not in UNTIMED]
        assert self.telemetry.in_flight == len(timed)
        ended = {True: "mcp_requests_total", False: "mcp_server_requests_total"}
        for side, name in ended.items():
            left = sum(each.to_server is side for each in pendings)
            assert self.telemetry.total(name) + left == self.sent[side]

    def teardown(self) -> None:
        if not hasattr(self, "telemetry"):
            return
        self.the_upstream_is_lost()
        self.every_request_is_either_pending_or_counted_once()
        assert self.telemetry.in_flight == 0
        assert self.telemetry.total("mcp_request_duration_seconds_count") <= self.sent[True]
        assert not self.telemetry.total("mcp_exporter_internal_errors_total")

    def _client_sends(self, messages: list[Message]) -> list[Pending]:
        begun = self.telemetry.observer.client_sent(self.exchange, messages, 10, self.now)
        assert begun is not None
        return begun

    def _server_sends(self, message: object) -> None:
        self.telemetry.observer.server_sent(self.exchange, encoded(message), (), self.now)


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=40, stateful_step_count=40)

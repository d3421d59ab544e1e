"""One client's session with a child of its own: what each side says reaches the other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.config.limits import Timeout
from exporter.protocol import jsonrpc
from exporter.protocol.label_values import Outcome
from exporter.relay.stdio.envelope import one_line
from exporter.relay.stdio.host import ChildHost
from exporter.relay.stdio.session import MAX_QUEUED, StdioSession
from exporter.telemetry.spans.session_digits import session_digits
from exporter.transport.process.child import Child, ChildOwner
from tests.support.fakes import (
    Downstream,
    FakeChild,
    Reply,
    Scribe,
    Telemetry,
    VirtualLoop,
    encoded,
    error,
    fake_time,
    notification,
    on_fake_time,
    post,
    request,
    result,
    settle,
    virtual_loop,
)
from tests.support.kept_spans import KeptSpans, SpanAccount

INITIALIZE = request(0, "initialize", clientInfo={"name": "inspector"})


def started(owner: ChildOwner) -> Child:
    return cast("Child", FakeChild(owner))


class Client(Downstream):
    """One connection of the session's client."""

    def __init__(self, setup: Setup, text: bytes) -> None:
        app = Scribe()
        super().__init__(app)
        self.say(text)
        (self.request,) = app.requests
        if self.request.method == b"GET":
            setup.session.listen(self.request)
        else:
            messages = jsonrpc.read_all(self.request.body)
            assert messages is not None
            setup.session.post(self.request, messages)

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies()
        return reply

    @property
    def events(self) -> list[Any]:
        return self.reply.events if self.sent else []


class Setup:
    """A session with its child, and everything that they tell."""

    def __init__(self, timeout: float = 300.0, total: float | None = None) -> None:
        self.telemetry = Telemetry(transport="stdio")
        self.ended: list[ChildHost] = []
        limit = Timeout(timeout, total)
        self.session = StdioSession(b"s1", self.telemetry.observer, limit, started, self)
        self.child = cast("FakeChild", self.session.child)

    def host_ended(self, host: ChildHost, text: str) -> None:  # noqa: ARG002
        self.ended.append(host)

    def post(self, message: object) -> Client:
        return Client(self, post(message))

    def listen(self) -> Client:
        return Client(self, b"GET /files/mcp HTTP/1.1\r\nHost: x\r\n\r\n")

    def begin(self) -> Setup:
        """The session is initialized."""
        self.post(INITIALIZE)
        self.child.say(result(0))
        return self

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.telemetry.outcomes())


@on_fake_time
async def test_a_request_reaches_the_child_and_its_reply_the_client() -> None:
    setup = Setup()
    client = setup.post(INITIALIZE)
    assert setup.child.lines == [encoded(INITIALIZE)]
    setup.child.say(result(0, capabilities={}))
    assert client.reply.json == result(0, capabilities={})
    assert client.reply.header(b"Mcp-Session-Id") == b"s1"
    assert setup.session.is_useful
    assert setup.outcomes == {"ok": 1}


@on_fake_time
async def test_the_bytes_of_a_reply_are_those_of_the_child() -> None:
    setup = Setup()
    client = setup.post(INITIALIZE)
    line = b'{ "result" : {"n":1.00, "t":"\\u00e9\\ud83d"},"x":[ ], "id":0 ,"jsonrpc":"2.0"}'
    setup.child.say(line)
    assert client.reply.body == line


@on_fake_time
async def test_a_post_without_request_is_accepted() -> None:
    setup = Setup().begin()
    for message in (notification("notifications/initialized"), result("s-1"), error(2)):
        reply = setup.post(message).reply
        assert (reply.status, reply.body) == (202, b"")
    assert len(setup.child.lines) == 4


@on_fake_time
async def test_a_request_on_several_lines_reaches_the_child_on_one() -> None:
    setup = Setup()
    setup.post(b'{\r\n  "jsonrpc": "2.0",\n  "id": 1,\n  "method": "ping"\n}\n')
    assert len(setup.child.lines) == 1
    assert setup.child.heard == [request(1)]


def test_a_message_is_put_on_one_line_without_other_changes() -> None:
    assert one_line(b'{"a":"\\n"}') == b'{"a":"\\n"}'
    assert one_line(b'{\r\n"a"\n:1}') == b'{  "a" :1}'


@on_fake_time
async def test_replies_may_come_in_any_order() -> None:
    setup = Setup().begin()
    first, second = setup.post(request(1)), setup.post(request("1"))
    setup.child.say(result("1", which="second"))
    setup.child.say(result(1, which="first"))
    assert first.reply.json["result"] == {"which": "first"}
    assert second.reply.json["result"] == {"which": "second"}


@on_fake_time
async def test_progress_goes_to_the_request_that_asked_for_it() -> None:
    setup = Setup().begin()
    clients = {
        token: setup.post(request(index, "tools/call", _meta={"progressToken": token}))
        for index, token in enumerate((0, "0", "t", ""))
    }
    for token in clients:
        setup.child.say(notification("notifications/progress", progressToken=token))
    for token, client in clients.items():
        assert [event["params"]["progressToken"] for event in client.events] == [token]


@on_fake_time
async def test_what_belongs_to_no_request_goes_to_the_only_one_in_flight() -> None:
    setup = Setup().begin()
    listening = setup.listen()
    client = setup.post(request(1, "tools/call"))
    setup.child.say(request("e1", "elicitation/create"))
    assert [event["id"] for event in client.events] == ["e1"]
    assert listening.events == []


@on_fake_time
async def test_the_requests_of_a_batch_are_one_stream() -> None:
    setup = Setup().begin()
    listening = setup.listen()
    client = setup.post([request(1), request(2)])
    setup.child.say(notification("notifications/message"))
    assert len(client.events) == 1
    assert listening.events == []


@on_fake_time
async def test_with_several_in_flight_it_goes_to_the_stream_for_such_messages() -> None:
    setup = Setup().begin()
    listening = setup.listen()
    first, second = setup.post(request(1)), setup.post(request(2))
    setup.child.say(notification("notifications/message"))
    assert len(listening.events) == 1
    assert first.sent == second.sent == b""


@on_fake_time
async def test_with_several_in_flight_and_no_such_stream_it_goes_to_the_latest() -> None:
    setup = Setup().begin()
    first, second = setup.post(request(1)), setup.post(request(2))
    setup.child.say(notification("notifications/message"))
    assert first.sent == b""
    assert len(second.events) == 1


@on_fake_time
async def test_what_has_no_stream_yet_is_kept_in_order() -> None:
    setup = Setup().begin()
    for number in range(300):
        setup.child.say(notification("notifications/message", data=number))
    client = setup.listen()
    heard = [event["params"]["data"] for event in client.events]
    assert heard == list(range(44, 300)), "the newest 256"


@on_fake_time
async def test_what_waits_for_a_stream_is_bounded_in_bytes() -> None:
    setup = Setup().begin()
    for number in range(10):
        setup.child.say(notification("notifications/message", data=number, text="x" * 200_000))
    setup.child.say(notification("notifications/message", text="x" * MAX_QUEUED))
    assert 4 * 200_000 < setup.session.queued <= MAX_QUEUED
    client = setup.listen()
    assert [event["params"]["data"] for event in client.events] == [5, 6, 7, 8, 9]
    assert setup.session.queued == 0


@on_fake_time
async def test_a_session_has_one_stream_at_a_time() -> None:
    setup = Setup().begin()
    first = setup.listen()
    assert setup.listen().reply.status == 409
    first.lose(None)
    await settle()
    assert setup.listen().reply.status == 200


@on_fake_time
async def test_the_messages_of_a_batch_of_the_child_are_told_apart() -> None:
    setup = Setup().begin()
    first, second = setup.post(request(1)), setup.post(request(2))
    setup.child.say([result(2, n=2), result(1, n=1)])
    assert first.reply.json == result(1, n=1)
    assert second.reply.json == result(2, n=2)
    assert setup.outcomes == {"ok": 3}


@on_fake_time
async def test_a_batch_is_replied_to_as_one() -> None:
    setup = Setup().begin()
    client = setup.post([request(1), notification("notifications/initialized"), request(2)])
    setup.child.say(error(2))
    assert client.sent == b""
    setup.child.say(result(1))
    assert client.reply.json == [error(2), result(1)]
    assert setup.outcomes == {"ok": 2, "protocol_error": 1}


@pytest.mark.parametrize("line", [b"Listening...", b"\xff\xfe", b"[]", b'"text"', b"{"])
@on_fake_time
async def test_a_line_that_is_no_message_is_counted_and_passed_over(line: bytes) -> None:
    setup = Setup().begin()
    client = setup.post(request(1))
    setup.child.say(line)
    assert client.sent == b""
    assert setup.telemetry.value("mcp_exporter_unparsed_messages_total", reason="not_json") == 1


@on_fake_time
async def test_an_id_in_use_cannot_be_used_again() -> None:
    setup = Setup().begin()
    first = setup.post(request(1))
    second = setup.post(request(1))
    assert second.reply.status == 400
    assert second.reply.json["id"] == 1
    assert setup.post([request(2), request(2)]).reply.status == 400
    setup.child.say(result(1))
    assert first.reply.json == result(1)
    assert setup.outcomes == {"ok": 2, "rejected": 3}
    assert setup.post(request(1)).sent == b"", "now it is free again"


@on_fake_time
async def test_a_lost_child_is_told_to_everything_that_waits_and_ends_the_session() -> None:
    setup = Setup().begin()
    listening = setup.listen()
    first, second = setup.post(request(1)), setup.post([request("a"), request("b")])
    setup.child.die("was ended by SIGKILL")
    assert first.reply.status == 502
    assert first.reply.json["id"] == 1
    assert first.reply.json["error"]["code"] == -32000
    assert "was ended by SIGKILL" in first.reply.json["error"]["message"]
    assert [reply["id"] for reply in second.reply.json] == ["a", "b"]
    assert listening.reply.is_complete
    assert setup.ended == [setup.session]
    assert setup.outcomes == {"ok": 1, "upstream_error": 3}
    assert setup.telemetry.in_flight == 0


@on_fake_time
async def test_an_overdue_request_is_answered_and_the_session_goes_on() -> None:
    setup = Setup(timeout=30).begin()
    client = setup.post(request(1))
    await asyncio.sleep(31)
    assert client.events[0]["id"] == 1
    assert client.events[0]["error"]["code"] == -32001
    assert setup.outcomes == {"ok": 1, "timeout": 1}
    assert setup.ended == []
    setup.child.say(result(1))
    assert setup.outcomes == {"ok": 1, "timeout": 1}


@on_fake_time
async def test_what_the_deadline_ends_took_no_longer_however_late_the_timer_is() -> None:
    setup = Setup(timeout=30).begin()
    setup.post(request(1))
    await settle()
    virtual_loop().clock.advance(30.4)
    await settle()
    assert setup.outcomes == {"ok": 1, "timeout": 1}
    labels = {"method": "ping", "outcome": "timeout"}
    assert setup.telemetry.value("mcp_request_duration_seconds_bucket", **labels, le="30.0") == 1


@on_fake_time
async def test_progress_keeps_a_request_alive_up_to_the_total() -> None:
    setup = Setup(timeout=30, total=100).begin()
    client = setup.post(request(1, _meta={"progressToken": "p"}))
    for _ in range(5):
        await asyncio.sleep(19)
        setup.child.say(notification("notifications/progress", progressToken="p"))
    assert setup.outcomes == {"ok": 1}
    await asyncio.sleep(6)
    assert setup.outcomes == {"ok": 1, "timeout": 1}
    assert "reported progress" in client.events[-1]["error"]["message"]


@on_fake_time
async def test_an_overdue_request_of_a_client_without_streams_gets_a_504() -> None:
    setup = Setup(timeout=30).begin()
    client = Client(setup, post(request(1), b"/files/mcp", (b"Accept", b"application/json")))
    await asyncio.sleep(31)
    assert client.reply.status == 504


@on_fake_time
async def test_a_session_that_never_begins_is_ended() -> None:
    setup = Setup(timeout=30)
    setup.post(INITIALIZE)
    await asyncio.sleep(31)
    assert setup.child.is_stopped
    assert setup.ended == [setup.session]
    assert setup.outcomes == {"timeout": 1}


@on_fake_time
async def test_a_session_whose_beginning_is_refused_is_ended() -> None:
    setup = Setup()
    client = setup.post(INITIALIZE)
    setup.child.say(error(0, -32602))
    assert client.reply.json == error(0, -32602)
    await settle()
    assert setup.child.is_stopped
    assert setup.ended == [setup.session]


@on_fake_time
async def test_a_client_that_leaves_before_the_beginning_ends_the_session() -> None:
    setup = Setup()
    setup.post(INITIALIZE).lose(None)
    await settle()
    assert setup.child.is_stopped
    assert setup.outcomes == {"client_gone": 1}


@on_fake_time
async def test_a_client_that_leaves_cancels_nothing() -> None:
    setup = Setup().begin()
    setup.post(request(1)).lose(None)
    await settle()
    assert len(setup.child.lines) == 2
    assert not setup.child.is_stopped
    assert setup.outcomes == {"ok": 1, "client_gone": 1}
    setup.child.say(result(1))
    assert setup.outcomes == {"ok": 1, "client_gone": 1}


@on_fake_time
async def test_a_request_that_is_cancelled_is_counted_so() -> None:
    setup = Setup().begin()
    client = setup.post(request(1))
    setup.post(notification("notifications/cancelled", requestId=1))
    assert client.reply.is_complete
    assert client.events == []
    assert setup.child.heard[-1]["method"] == "notifications/cancelled"
    assert setup.outcomes == {"ok": 1, "cancelled": 1}
    assert setup.telemetry.in_flight == 0


@on_fake_time
async def test_a_request_of_the_child_is_answered_by_a_post() -> None:
    setup = Setup().begin()
    client = setup.post(request(1, "tools/call"))
    setup.child.say(request(1, "sampling/createMessage"))
    assert client.events[0]["method"] == "sampling/createMessage"
    assert setup.post(result(1, role="assistant")).reply.status == 202
    assert setup.child.heard[-1] == result(1, role="assistant")
    assert setup.telemetry.outcomes("mcp_server_requests_total") == {"ok": 1}
    setup.child.say(result(1))
    assert setup.outcomes == {"ok": 2}


@on_fake_time
async def test_a_session_is_idle_when_nothing_waits() -> None:
    setup = Setup().begin()
    assert setup.session.is_idle
    client = setup.post(request(1))
    assert not setup.session.is_idle
    setup.child.say(result(1))
    assert setup.session.is_idle
    assert client.reply.is_complete
    stream = setup.listen()
    assert not setup.session.is_idle
    stream.lose(None)
    await settle()
    assert setup.session.is_idle


@on_fake_time
async def test_the_end_of_a_session_comes_once() -> None:
    setup = Setup().begin()
    setup.post(request(1))
    setup.session.end(Outcome.CLIENT_GONE, "over")
    setup.session.end(Outcome.UPSTREAM_ERROR, "again")
    assert setup.ended == [setup.session]
    assert setup.outcomes == {"ok": 1, "client_gone": 1}


@on_fake_time
async def test_draining_ends_the_stream_and_leaves_requests_alone() -> None:
    setup = Setup().begin()
    stream, client = setup.listen(), setup.post(request(1))
    setup.session.end_stream()
    assert stream.reply.is_complete
    setup.child.say(result(1))
    assert client.reply.json == result(1)


@on_fake_time
async def test_the_child_waits_with_its_slowest_client() -> None:
    setup = Setup().begin()
    first, second = setup.post(request(1)), setup.post(request(2))
    first.connection.pause_writing()
    second.connection.pause_writing()
    first.connection.resume_writing()
    assert setup.child.is_paused
    second.lose(None)
    await settle()
    assert not setup.child.is_paused


IDS = st.sampled_from([1, 2, "1", None])


class Chaos(RuleBasedStateMachine):
    """Clients come and go, the child says what it likes: every request ends once, answered."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = fake_time()
        self.runner = self.stage.__enter__()
        self.clients: list[Client] = []
        self.sent = 0
        self.runner.run(self._open())

    @rule(ids=st.lists(IDS, min_size=1, max_size=3), token=IDS)
    def post_requests(self, ids: list[object], token: object) -> None:
        meta = {"progressToken": token, **self.spans.meta}
        batch = [request(each, "tools/call", _meta=meta) for each in ids]
        self.sent += len(ids)
        self._post(batch[0] if len(batch) == 1 else batch)

    @rule(request_id=IDS)
    def cancel(self, request_id: object) -> None:
        self._post(notification("notifications/cancelled", requestId=request_id))

    @rule()
    def listen(self) -> None:
        self._run(lambda: self.clients.append(self.setup.listen()))
        if self.clients[-1].sent.startswith(b"HTTP/1.1 409"):
            self.sent += 1  # a refusal counts as a request

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        self._run(lambda: client.lose(None))

    @rule(request_id=IDS, is_error=st.booleans())
    def child_replies(self, request_id: object, is_error: bool) -> None:
        reply = error(request_id) if is_error else result(request_id)
        self._run(lambda: self.setup.child.say(reply))

    @rule(request_id=IDS)
    def child_asks(self, request_id: object) -> None:
        self._run(lambda: self.setup.child.say(request(request_id, "roots/list")))

    @rule(token=IDS)
    def child_notes(self, token: object) -> None:
        note = notification("notifications/progress", progressToken=token)
        self._run(lambda: self.setup.child.say(note))

    @rule(is_on=st.booleans())
    def spans_are_switched(self, is_on: bool) -> None:
        self.spans.switch(is_on)

    @rule(seconds=st.sampled_from([1.0, 16.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @rule()
    def child_dies_and_a_new_session_begins(self) -> None:
        telemetry = self.setup.telemetry
        self._run(self.setup.child.die)
        assert telemetry.in_flight == 0
        self.spans.check()
        self._check_replies()
        assert telemetry.outcomes().total() == self.sent
        self.clients.clear()
        self.runner.run(self._open())

    @invariant()
    def every_request_is_in_flight_or_counted(self) -> None:
        telemetry = self.setup.telemetry
        assert telemetry.outcomes().total() + int(telemetry.in_flight or 0) == self.sent
        assert not telemetry.total("mcp_exporter_internal_errors_total")
        self.spans.check()

    def teardown(self) -> None:
        self._run(lambda: self.setup.session.end(Outcome.CLIENT_GONE, "over"))
        assert self.setup.telemetry.in_flight == 0
        assert self.setup.session.is_idle
        self._check_replies()
        self.spans.check()
        loop = self.runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        assert not loop.faults, loop.faults
        self.stage.__exit__(None, None, None)

    async def _open(self) -> None:
        self.setup = Setup(timeout=60).begin()
        self.spans = SpanAccount(self.setup.telemetry.metrics, propagate=True)
        self.sent = 1

    def _post(self, message: object) -> None:
        self._run(lambda: self.clients.append(self.setup.post(message)))

    def _run(self, act: Any) -> None:
        async def soon() -> None:
            act()
            await settle()

        self.runner.run(soon())

    def _check_replies(self) -> None:
        for client in self.clients:
            assert client.reply.is_complete


TestChaos = Chaos.TestCase
TestChaos.settings = settings(max_examples=20, stateful_step_count=30)


@on_fake_time
async def test_ids_of_two_types_that_are_in_flight_together_stay_two() -> None:
    setup = Setup().begin()
    number, text = setup.post(request(1)), setup.post(request("1"))
    setup.child.say(result("1", who="text"))
    assert text.reply.json == result("1", who="text")
    assert number.sent == b""
    setup.child.say(result("1", who="number"))
    assert number.reply.json == result("1", who="number"), "the only one that is left"
    assert setup.outcomes == {"ok": 3}


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("propagates", [True, False])
@on_fake_time
async def test_with_propagate_sixteen_digits_differ(propagates: bool) -> None:
    setup = Setup().begin()
    kept = KeptSpans(setup.telemetry.metrics, propagate=propagates)
    sent = encoded(request(1, "tools/list", x=[1.0], _meta={"traceparent": TRACE}))
    setup.post(sent)
    line = setup.child.lines[-1]
    setup.child.say(result(1))
    server = kept.told if propagates else TRACE[36:52]
    assert line == sent.replace(TRACE[36:52].encode(), server.encode())
    (record,) = kept.records
    assert (record.session, record.request_id) == (session_digits(b"s1"), "1")


@on_fake_time
async def test_a_span_says_that_the_process_ended() -> None:
    setup = Setup().begin()
    kept = KeptSpans(setup.telemetry.metrics)
    setup.post(request(1, "tools/list"))
    setup.child.die()
    (record,) = kept.records
    assert (record.series.outcome, record.series.fault) == ("upstream_error", "process_exit")

"""Many clients, one child: ids are the exporter's own on one side and the clients' on the other."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exporter.config.limits import Timeout
from exporter.protocol import jsonrpc
from exporter.protocol.jsonrpc import CAPABILITIES_KEY, SUBSCRIPTION_KEY, VERSION_KEY
from exporter.protocol.label_values import Outcome
from exporter.relay.stdio.envelope import ModernRequest
from exporter.relay.stdio.host import ChildHost
from exporter.relay.stdio.http_response import MAX_UNREAD
from exporter.relay.stdio.shared import DISCOVER_TIMEOUT, STRAY_TIME, SharedChild
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

META = {VERSION_KEY: "2026-07-28", CAPABILITIES_KEY: {}}


def modern(request_id: object, method: str = "tools/list", **meta: object) -> dict[str, object]:
    return request(request_id, method, _meta={**META, **meta})


def started(owner: ChildOwner) -> Child:
    return cast("Child", FakeChild(owner))


class Client(Downstream):
    """One client with one request."""

    def __init__(self, setup: Setup, body: object, *headers: tuple[bytes, bytes]) -> None:
        app = Scribe()
        super().__init__(app)
        self.say(post(body, b"/files/mcp", *headers))
        (asked,) = app.requests
        message = jsonrpc.read(asked.body)
        assert message is not None
        setup.shared.post(ModernRequest(asked, message))

    @property
    def reply(self) -> Reply:
        (reply,) = self.replies()
        return reply

    @property
    def events(self) -> list[Any]:
        return self.reply.events if self.sent else []


class Setup:
    """A shared child, and everything that it and its clients tell."""

    def __init__(self, timeout: float = 300.0, total: float | None = None) -> None:
        self.telemetry = Telemetry(transport="stdio")
        self.ended: list[str] = []
        self.shared = SharedChild(self.telemetry.observer, Timeout(timeout, total), started, self)
        self.child = cast("FakeChild", self.shared.child)

    def host_ended(self, host: ChildHost, text: str) -> None:  # noqa: ARG002
        self.ended.append(text)

    def post(self, body: object) -> Client:
        return Client(self, body)

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.telemetry.outcomes())


@on_fake_time
async def test_clients_with_the_same_id_are_told_apart() -> None:
    setup = Setup()
    first, second, third = (setup.post(modern(each)) for each in (7, 7, "7"))
    numbers = [message["id"] for message in setup.child.heard]
    assert len(set(numbers)) == 3
    for number, name in zip(reversed(numbers), ("third", "second", "first"), strict=True):
        setup.child.say(result(number, who=name))
    assert [client.reply.json["result"]["who"] for client in (first, second, third)] == [
        *("first", "second", "third")
    ]
    assert [client.reply.json["id"] for client in (first, second, third)] == [7, 7, "7"]
    assert setup.outcomes == {"ok": 3}


ODD = st.sampled_from([b"1", b'"1"', b"1.0", b"null", b'"\\u0041"', b"-0", b'"\\ud83d"'])
VALUES = st.sampled_from(
    [b"1.00", b"[ 1 ]", b'{ "b" : 1e2 }', b'"\\u00e9\\/"', b"null", b'"\\ud800 half"', b"0.1e-7"]
)


@given(ODD, ODD, st.lists(VALUES, min_size=3, max_size=3))
def test_only_ids_are_rewritten_and_every_other_member_keeps_its_bytes(
    request_id: bytes, token: bytes, values: list[bytes]
) -> None:
    envelope = b'"%b":"2026-07-28","%b":{}' % (VERSION_KEY.encode(), CAPABILITIES_KEY.encode())
    parts = (values[0], envelope, token, values[1], values[2], request_id)
    body = (
        b'{"jsonrpc":"2.0","x":%b,"method":"tools/list",'
        b'"params":{"_meta":{%b,"progressToken":%b,"m":%b},"arguments":%b},"id":%b}' % parts
    )
    reply = b'{"id":1,"jsonrpc":"2.0","result":{"content":%b,"_meta":{"m":%b}},"y":%b}' % (*values,)
    progress = b'{"method":"notifications/progress","params":{"z":%b,"progressToken":1}}'

    @on_fake_time
    async def run() -> None:
        setup = Setup()
        client = setup.post(body)
        assert setup.child.lines == [
            body.replace(b'"progressToken":%b,' % token, b'"progressToken":1,').replace(
                b'"id":%b}' % request_id, b'"id":1}'
            )
        ]
        setup.child.say(progress % values[0])
        setup.child.say(reply)
        wanted = [
            (progress % values[0]).replace(b'Token":1', b'Token":' + token),
            reply.replace(b'"id":1', b'"id":' + request_id),
        ]
        found = client.reply.body
        assert found == b"".join(b"event: message\ndata: " + data + b"\n\n" for data in wanted)
        assert setup.outcomes == {"ok": 1}

    run()


@on_fake_time
async def test_a_message_between_whitespace_is_taken_apart_too() -> None:
    setup = Setup()
    body = encoded(modern(5)).replace(b",", b",\n\t ").replace(b":", b" : ")
    client = setup.post(body)
    assert setup.child.heard == [modern(1)]
    setup.child.say(b' { "id" : 1 , "result" : { } } ')
    assert client.reply.json == {"id": 5, "result": {}}


@on_fake_time
async def test_the_trace_context_of_the_http_request_is_its_call_s() -> None:
    setup = Setup()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    context = b"00-%b-00f067aa0ba902b7-01" % trace.encode()
    Client(setup, modern(1), (b"Traceparent", context))
    setup.child.say(result(1))
    pieces, _ = setup.telemetry.metrics.exposition().render("application/openmetrics-text")
    assert f'trace_id="{trace}"' in b"".join(pieces).decode()


@on_fake_time
async def test_progress_goes_to_the_client_that_asked_for_it() -> None:
    setup = Setup()
    first = setup.post(modern(1, progressToken="p"))
    second = setup.post(modern(2, progressToken="p"))
    third = setup.post(modern(3))
    tokens = [message["params"]["_meta"].get("progressToken") for message in setup.child.heard]
    assert tokens[2] is None
    setup.child.say(notification("notifications/progress", progressToken=tokens[1], progress=1))
    for unknown in ("p", 3, 99, None):
        setup.child.say(notification("notifications/progress", progressToken=unknown))
    assert first.events == third.events == []
    assert [event["params"] for event in second.events] == [{"progressToken": "p", "progress": 1}]


@on_fake_time
async def test_a_subscription_bears_the_id_of_its_request_on_either_side() -> None:
    setup = Setup()
    client = setup.post(modern("sub", "subscriptions/listen"))
    number = setup.child.heard[0]["id"]
    meta = {SUBSCRIPTION_KEY: number, "kept": True}
    setup.child.say(notification("notifications/subscriptions/acknowledged", _meta=meta))
    setup.child.say(notification("notifications/tools/list_changed", _meta=meta))
    setup.child.say(result(number, _meta=meta))
    ids = [event.get("params", event.get("result"))["_meta"] for event in client.events]
    assert ids == [{SUBSCRIPTION_KEY: "sub", "kept": True}] * 3
    assert client.events[2]["id"] == "sub"
    assert client.reply.is_complete


@on_fake_time
async def test_progress_keeps_a_request_alive_and_no_other_one() -> None:
    setup = Setup(timeout=30, total=0)
    setup.post(modern(1, progressToken="p"))
    setup.post(modern(2, progressToken="p"))
    number = setup.child.heard[0]["params"]["_meta"]["progressToken"]
    for _ in range(5):
        await asyncio.sleep(20)
        setup.child.say(notification("notifications/progress", progressToken=number))
    assert setup.outcomes == {"timeout": 1}
    await asyncio.sleep(31)
    assert setup.outcomes == {"timeout": 2}


@on_fake_time
async def test_a_subscription_has_no_deadline_and_is_never_idle() -> None:
    setup = Setup(timeout=10)
    client = setup.post(modern(1, "subscriptions/listen"))
    await asyncio.sleep(10_000)
    assert not client.reply.is_complete
    assert not setup.shared.is_idle
    setup.shared.end_streams()
    assert client.reply.is_complete
    assert setup.child.heard[-1]["method"] == "notifications/cancelled"
    assert setup.outcomes == {"client_gone": 1}
    assert setup.shared.is_idle


@on_fake_time
async def test_a_subscription_that_ends_before_anything_came_is_still_http() -> None:
    setup = Setup()
    client = setup.post(modern(1, "subscriptions/listen"))
    setup.shared.end_streams()
    assert client.reply.is_complete


def log(number: int) -> dict[str, object]:
    return notification("notifications/message", data=number)


def logged(client: Client) -> list[int]:
    return [event["params"]["data"] for event in client.events if "params" in event]


@on_fake_time
async def test_a_log_message_goes_to_the_only_request_that_it_can_be_about() -> None:
    setup = Setup()
    listening = setup.post(modern(1, "subscriptions/listen"))
    setup.child.say(log(1))
    first = setup.post(modern(2))
    setup.child.say(log(2))
    second = setup.post(modern(3))
    setup.child.say(log(3))
    setup.child.say(result(2))
    setup.child.say(log(4))
    assert [logged(client) for client in (listening, first, second)] == [[], [2], [4]]


@pytest.mark.parametrize("its_reply_comes", [True, False])
@on_fake_time
async def test_a_log_message_may_be_about_a_request_that_was_given_up(
    its_reply_comes: bool,
) -> None:
    setup = Setup()
    setup.post(modern(1)).lose(None)
    await settle()
    other = setup.post(modern(2))
    setup.child.say(log(1))
    assert other.events == []
    if its_reply_comes:
        setup.child.say(result(1))
    else:
        await asyncio.sleep(STRAY_TIME + 1)
    setup.child.say(log(2))
    assert logged(other) == [2]


@on_fake_time
async def test_a_message_of_no_request_is_dropped() -> None:
    setup = Setup()
    setup.child.say(notification("notifications/message", data=1))
    setup.child.say({"jsonrpc": "2.0", "method": "notifications/message"})
    setup.child.say(request(1, "roots/list"))
    setup.child.say(result(99))
    setup.child.say(result("1"))
    client = setup.post(modern(1))
    setup.child.say(notification("notifications/tools/list_changed"))
    assert client.events == []


@on_fake_time
async def test_a_client_that_closes_its_stream_cancels() -> None:
    setup = Setup()
    setup.post(modern("x")).lose(None)
    other = setup.post(modern("x"))
    await settle()
    assert setup.child.heard[-1] == {
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": 1},
    }
    assert setup.outcomes == {"cancelled": 1}
    setup.child.say(result(1))
    assert other.sent == b""
    setup.child.say(result(2))
    assert other.reply.json == result("x")


@on_fake_time
async def test_an_overdue_request_is_answered_and_cancelled() -> None:
    setup = Setup(timeout=30)
    client = Client(setup, modern("late"))
    await asyncio.sleep(31)
    assert client.events[0]["id"] == "late"
    assert client.events[0]["error"]["code"] == -32001
    assert setup.child.heard[-1]["params"] == {"requestId": 1}
    assert setup.outcomes == {"timeout": 1}
    assert setup.ended == []


@on_fake_time
async def test_what_the_deadline_ends_took_no_longer_however_late_the_timer_is() -> None:
    setup = Setup(timeout=30)
    Client(setup, modern("late"))
    await settle()
    virtual_loop().clock.advance(30.4)
    await settle()
    assert setup.outcomes == {"timeout": 1}
    labels = {"method": "tools/list", "outcome": "timeout"}
    assert setup.telemetry.value("mcp_request_duration_seconds_bucket", **labels, le="30.0") == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32601, 404),
        (-32602, 400),
        (-32021, 400),
        (-32603, 200),
        (5, 200),
        (1.5, 200),
        (1e300, 200),
    ],
)
@on_fake_time
async def test_an_error_has_the_http_status_of_its_code(code: float, status: int) -> None:
    setup = Setup()
    client = setup.post(modern(1, "tools/call"))
    setup.child.say(error(1, code))
    assert client.reply.status == status
    assert client.reply.json == error(1, code)
    assert setup.outcomes == {"protocol_error": 1}


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"no json", b"[]", b"5", b'{"id":1,"result":', b'{"id":1}'),
        b'{"id":1,"method":"notifications/progress","params":[1]}',
        b'{"method":"notifications/progress","params":{"progressToken":[]}}',
        b'{"method":"x","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":{}}}}',
    ],
)
@on_fake_time
async def test_nonsense_of_the_child_disturbs_no_client(line: bytes) -> None:
    setup = Setup()
    client = setup.post(modern(1))
    setup.child.say(line)
    assert client.events == []
    setup.child.say(result(1))
    assert client.reply.json == result(1)


@pytest.mark.parametrize("text", [b"null", b"5", b"[]", b'{"_meta":null}', b'{"_meta":[]}'])
@on_fake_time
async def test_an_odd_end_of_a_subscription_is_passed_on(text: bytes) -> None:
    setup = Setup()
    client = setup.post(modern("sub", "subscriptions/listen"))
    setup.child.say(b'{"id":1,"result":%b}' % text)
    assert client.reply.body == b'{"id":"sub","result":%b}' % text


@on_fake_time
async def test_half_an_emoji_disturbs_no_client() -> None:
    setup = Setup()
    first, second = setup.post(modern(1)), setup.post(modern(2))
    setup.child.say(b'{"id":1,"result":{"text":"\\ud83d", "isError": true}}')
    setup.child.say(result(2))
    assert first.reply.body == b'{"id":1,"result":{"text":"\\ud83d", "isError": true}}'
    assert second.reply.json == result(2)
    assert setup.outcomes == {"ok": 1, "tool_error": 1}


@on_fake_time
async def test_a_lost_child_is_told_to_everything_that_waits() -> None:
    setup = Setup()
    clients = [setup.post(modern(each)) for each in ("a", "b")]
    stream = setup.post(modern("c", "subscriptions/listen", progressToken=1))
    setup.child.say(notification("notifications/progress", progressToken=3))
    setup.child.die()
    for client, name in zip(clients, "ab", strict=True):
        assert client.reply.status == 502
        assert client.reply.json["id"] == name
        assert "exited with code 1" in client.reply.json["error"]["message"]
    assert stream.events[-1]["error"]["code"] == -32000
    assert stream.reply.is_complete
    assert setup.outcomes == {"upstream_error": 3}
    assert setup.ended == ["the server exited with code 1"]
    assert setup.child.is_stopped
    assert setup.shared.is_idle


@on_fake_time
async def test_the_end_comes_once() -> None:
    setup = Setup()
    setup.shared.end(Outcome.CLIENT_GONE, "idle")
    setup.shared.end(Outcome.UPSTREAM_ERROR, "again")
    assert setup.ended == ["idle"]


@pytest.mark.parametrize("code", [-32601, -32600, -32602])
@on_fake_time
async def test_a_server_of_an_older_era_gives_way(code: int) -> None:
    setup = Setup()
    client = setup.post(modern(1, "server/discover"))
    setup.child.say(error(1, code))
    await settle()
    assert client.reply.json == error(1, code)
    assert setup.shared.refused_discover is not None
    assert setup.shared.refused_discover[1] == code
    assert setup.child.is_stopped


@on_fake_time
async def test_a_useful_server_that_refuses_discover_stays() -> None:
    setup = Setup()
    setup.post(modern(1))
    setup.child.say(result(1))
    setup.post(modern(2, "server/discover"))
    setup.child.say(error(2, -32601))
    await settle()
    assert setup.shared.refused_discover is None
    assert not setup.child.is_stopped


@on_fake_time
async def test_another_error_of_discover_says_nothing_of_the_era() -> None:
    setup = Setup()
    setup.post(modern(1, "server/discover"))
    setup.child.say(error(1, -32022))
    await settle()
    assert setup.shared.refused_discover is None
    assert not setup.child.is_stopped


@on_fake_time
async def test_silence_to_discover_means_an_older_era() -> None:
    setup = Setup()
    client = setup.post(modern("d", "server/discover"))
    await asyncio.sleep(DISCOVER_TIMEOUT + 1)
    assert client.reply.status == 404
    assert client.reply.json["id"] == "d"
    assert client.reply.json["error"]["code"] == -32601
    assert setup.outcomes == {"protocol_error": 1}
    assert setup.telemetry.events.signs_of_life == 0, (
        "a server that says nothing shows no sign of life"
    )
    assert setup.child.is_stopped
    assert setup.shared.is_useful, "it did not fail: nothing to back off from"


@on_fake_time
async def test_a_server_that_is_only_slow_to_discover_is_not_older() -> None:
    setup = Setup()
    setup.post(modern(1, "tools/list"))
    client = setup.post(modern(2, "server/discover"))
    setup.child.say(result(1))
    await asyncio.sleep(DISCOVER_TIMEOUT + 1)
    setup.child.say(result(2, supportedVersions=["2026-07-28"]))
    assert client.reply.status == 200
    assert not setup.child.is_stopped


@on_fake_time
async def test_a_client_that_does_not_read_costs_itself_alone() -> None:
    """The child goes on for the others, and of what waits for that client no more is kept."""
    setup = Setup()
    deaf, other = setup.post(modern(1, progressToken=1)), setup.post(modern(2, progressToken=2))
    deaf.connection.pause_writing()
    text = "x" * 300_000
    for _ in range(4):
        setup.child.say(notification("notifications/progress", progressToken=1, message=text))
        setup.child.say(notification("notifications/progress", progressToken=2))
    assert not setup.child.is_paused
    assert not deaf.is_aborted, "so much is kept"
    kept = len(deaf.sent)
    for _ in range(5):
        setup.child.say(notification("notifications/progress", progressToken=1, message=text))
    assert deaf.is_aborted
    assert len(deaf.sent) == kept < MAX_UNREAD + 500_000
    assert setup.child.heard[-1]["method"] == "notifications/cancelled"
    setup.child.say(result(2))
    assert len(other.events) == 5
    assert setup.outcomes == {"client_gone": 1, "ok": 1}


@on_fake_time
async def test_a_client_that_reads_again_is_given_all() -> None:
    setup = Setup()
    client = setup.post(modern(1, progressToken=1))
    for _ in range(4):
        client.connection.pause_writing()
        for _ in range(3):
            setup.child.say(
                notification("notifications/progress", progressToken=1, message="x" * 300_000)
            )
        client.connection.resume_writing()
    setup.child.say(result(1))
    assert len(client.events) == 13


@on_fake_time
async def test_what_waits_is_known() -> None:
    setup = Setup()
    client = setup.post(modern(1, progressToken=1))
    client.connection.pause_writing()
    setup.child.say(notification("notifications/progress", progressToken=1, message="x" * 1000))
    setup.child.unread = 50
    assert 1050 < setup.shared.queued < 1200


IDS = st.sampled_from([1, 2, "1", None])
NUMBERS = st.integers(1, 6)


class Chaos(RuleBasedStateMachine):
    """Clients come and go, the child says what it likes: every request ends once, answered."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = fake_time()
        self.runner = self.stage.__enter__()
        self.clients: list[Client] = []
        self.sent = 0
        self.runner.run(self._open())

    @rule(request_id=IDS, token=IDS, method=st.sampled_from(["tools/call", "subscriptions/listen"]))
    def post(self, request_id: object, token: object, method: str) -> None:
        self.sent += 1
        body = modern(request_id, method, progressToken=token)
        self._run(lambda: self.clients.append(self.setup.post(body)))

    @rule(request_id=IDS)
    def discover(self, request_id: object) -> None:
        self.sent += 1
        body = modern(request_id, "server/discover")
        self._run(lambda: self.clients.append(self.setup.post(body)))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def client_leaves(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        self._run(lambda: client.lose(None))

    @rule(number=NUMBERS, code=st.sampled_from([None, -32601, -32603]))
    def child_replies(self, number: int, code: int | None) -> None:
        self._say(result(number) if code is None else error(number, code))

    @rule(number=NUMBERS | IDS)
    def child_notes(self, number: object) -> None:
        self._say(notification("notifications/progress", progressToken=number))
        meta = {SUBSCRIPTION_KEY: number}
        self._say(notification("notifications/tools/list_changed", _meta=meta))
        self._say(notification("notifications/message"))

    @rule(is_on=st.booleans())
    def spans_are_switched(self, is_on: bool) -> None:
        self.spans.switch(is_on)

    @rule(seconds=st.sampled_from([1.0, 6.0, 16.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))
        self._reopen()

    @rule()
    def child_dies(self) -> None:
        self._run(self.setup.child.die)
        self._reopen()

    @invariant()
    def every_request_is_in_flight_or_counted(self) -> None:
        telemetry = self.setup.telemetry
        waiting = self.setup.shared._requests.values()
        listening = sum(each.method == "subscriptions/listen" for each in waiting)
        assert telemetry.outcomes().total() + int(telemetry.in_flight or 0) + listening == self.sent
        assert not telemetry.total("mcp_exporter_internal_errors_total")
        self.spans.check()

    def teardown(self) -> None:
        self._run(lambda: self.setup.shared.end(Outcome.CLIENT_GONE, "over"))
        assert self.setup.telemetry.in_flight == 0
        assert self.setup.shared.is_idle
        self._check_replies()
        self.spans.check()
        loop = self.runner.get_loop()
        assert isinstance(loop, VirtualLoop)
        assert not loop.faults, loop.faults
        self.stage.__exit__(None, None, None)

    def _reopen(self) -> None:
        if self.setup.child.is_stopped:
            assert self.setup.telemetry.in_flight == 0
            self.spans.check()
            self._check_replies()
            self.clients.clear()
            self.runner.run(self._open())

    async def _open(self) -> None:
        self.setup = Setup(timeout=60)
        self.spans = SpanAccount(self.setup.telemetry.metrics, propagate=True)
        self.sent = 0

    def _say(self, message: object) -> None:
        if self.setup.child.owner is not None:
            self._run(lambda: self.setup.child.say(message))
        self._reopen()

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


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("propagates", [True, False])
@pytest.mark.parametrize("place", ["meta", "header", "nowhere"])
@on_fake_time
async def test_with_propagate_the_child_is_told_of_our_span(place: str, propagates: bool) -> None:
    setup = Setup()
    kept = KeptSpans(setup.telemetry.metrics, propagate=propagates)
    asked = modern("a", traceparent=TRACE) if place == "meta" else modern("a")
    headers = [(b"traceparent", TRACE.encode())] if place == "header" else []
    Client(setup, asked, *headers)
    line = setup.child.lines[-1]
    setup.child.say(result(1))
    assert setup.outcomes == {"ok": 1}
    assert {each.request_id for each in kept.records} == {"a"}, "not the number for the child"
    meta = dict(META) if place != "meta" else {**META, "traceparent": TRACE}
    if propagates:
        (served,) = kept.records
        trace_id, flags = (served.trace_id, "03") if place == "nowhere" else (TRACE[3:35], "01")
        meta["traceparent"] = f"00-{trace_id}-{kept.told}-{flags}"
    assert line == encoded({**modern(1), "params": {"_meta": meta}})

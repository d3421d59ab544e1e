"""What passes by is understood and counted, and whatever fails in here hurts nobody."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from exporter.protocol.label_values import Outcome
from exporter.protocol.spec import LIST_CHANGED
from exporter.telemetry.exchange import Exchange, Pending
from tests.support.fakes import Telemetry, encoded, error, notification, parsed, request, result


class Conversation:
    """A client and a server that are watched."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self.observer = self.telemetry.observer
        self.exchange = Exchange(self.telemetry.recorder)

    def client(self, *messages: object) -> list[Pending]:
        begun = self.observer.client_sent(self.exchange, map(parsed, messages), 10, 1.0)
        assert begun is not None
        return begun

    def server(self, message: object, own: Sequence[Pending] = ()) -> None:
        data = message if isinstance(message, bytes) else encoded(message)
        self.observer.server_sent(self.exchange, data, own, 2.0)

    @property
    def outcomes(self) -> dict[str, int]:
        return dict(self.telemetry.outcomes())

    def unparsed(self, reason: str) -> float | None:
        return self.telemetry.value("mcp_exporter_unparsed_messages_total", reason=reason)

    @property
    def internal_errors(self) -> float:
        return self.telemetry.total("mcp_exporter_internal_errors_total")


def test_a_request_is_answered_by_the_reply_with_its_id() -> None:
    talk = Conversation()
    talk.client(request(1, "tools/list"), request("1", "ping"))
    talk.server(result("1"))
    assert talk.outcomes == {"ok": 1}
    assert talk.telemetry.in_flight == 1
    talk.server(error(1))
    assert talk.outcomes == {"ok": 1, "protocol_error": 1}
    assert talk.telemetry.in_flight == 0


def test_every_message_of_a_batch_is_observed() -> None:
    talk = Conversation()
    begun = talk.client(request(1), notification("notifications/initialized"), request(2))
    assert [pending.key for pending in begun] == [1, 2]
    talk.server([result(2), error(1), notification("notifications/progress")])
    assert talk.outcomes == {"ok": 1, "protocol_error": 1}
    count = "mcp_notifications_total"
    assert talk.telemetry.value(count, method="notifications/progress", direction="to_client") == 1
    assert (
        talk.telemetry.value(count, method="notifications/initialized", direction="to_server") == 1
    )


def test_the_requests_of_the_same_post_are_looked_at_first() -> None:
    talk = Conversation()
    first = talk.client(request(1, "tools/list"))
    second = talk.client(request(1, "ping"))
    talk.server(error(1), own=first)
    assert first[0].done
    assert not second[0].done


def test_a_request_of_the_server_is_answered_by_the_client() -> None:
    talk = Conversation()
    talk.server(request(1, "sampling/createMessage"))
    talk.client(result(1))
    assert talk.telemetry.outcomes("mcp_server_requests_total") == {"ok": 1}
    assert talk.outcomes == {}


def test_each_side_cancels_its_own_requests() -> None:
    talk = Conversation()
    talk.client(request(1))
    talk.server(request(1, "roots/list"))
    talk.server(notification("notifications/cancelled", requestId=1))
    assert talk.telemetry.outcomes("mcp_server_requests_total") == {"cancelled": 1}
    assert talk.outcomes == {}
    talk.client(notification("notifications/cancelled", requestId=1))
    assert talk.outcomes == {"cancelled": 1}


@pytest.mark.parametrize("params", [{}, {"requestId": None}, {"requestId": {}}, {"requestId": 2}])
def test_a_cancellation_that_names_no_request_cancels_none(params: dict[str, object]) -> None:
    talk = Conversation()
    talk.client(request(1))
    talk.client(notification("notifications/cancelled", **params))
    talk.client({"method": "notifications/cancelled"})
    assert talk.telemetry.in_flight == 1
    assert talk.internal_errors == 0


def test_a_reply_that_nobody_waits_for_is_counted() -> None:
    talk = Conversation()
    talk.server(result(1))
    talk.client(result(1))
    talk.client(error(None))
    assert talk.unparsed("unmatched_reply") == 3
    assert talk.outcomes == {}


@pytest.mark.parametrize(("asked", "replied"), [(1, "1"), ("1", 1)])
def test_an_id_that_comes_back_as_another_type_is_that_requests(
    asked: object, replied: object
) -> None:
    for is_own in (True, False):
        talk = Conversation()
        own = talk.client(request(asked))
        talk.server(result(replied), own if is_own else ())
        assert talk.outcomes == {"ok": 1}


def test_two_ids_that_differ_by_type_alone_stay_two() -> None:
    talk = Conversation()
    talk.client(request(1, "tools/call", name="x"), request("1", "ping"))
    talk.server(error("1"))
    assert talk.telemetry.value("mcp_requests_total", method="ping", outcome="protocol_error") == 1
    talk.server(result("1"))
    assert talk.telemetry.value("mcp_requests_total", method="tools/call", outcome="ok") == 1
    assert talk.unparsed("unmatched_reply") == 0


def test_an_error_without_an_id_is_the_reply_to_the_only_request() -> None:
    talk = Conversation()
    talk.client(request(1))
    talk.server(error(None))
    assert talk.outcomes == {"protocol_error": 1}
    talk.client(request(2), request(3))
    talk.server(error(None))
    assert talk.unparsed("unmatched_reply") == 1
    assert talk.telemetry.in_flight == 2


def test_a_result_without_an_id_is_no_reply() -> None:
    talk = Conversation()
    talk.client(request(1))
    talk.server(result(None))
    assert talk.unparsed("unmatched_reply") == 1


@pytest.mark.parametrize(
    "body", [{"error": "Service Unavailable"}, {"error": {"code": 503}}, {"message": "no"}, {}]
)
def test_json_that_is_no_json_rpc_is_no_sign_of_life(body: object) -> None:
    talk = Conversation()
    talk.client(request(1))
    talk.server(body)
    assert talk.unparsed("not_jsonrpc") == 1
    assert talk.telemetry.events.signs_of_life == 0
    assert talk.telemetry.in_flight == 1


def test_of_a_batch_that_is_too_large_the_rest_is_counted() -> None:
    talk = Conversation()
    messages = [notification("notifications/message") for _ in range(150)]
    assert talk.observer.server_sent(talk.exchange, encoded(messages), (), 1.0) is False
    assert talk.observer.server_sent(talk.exchange, encoded(messages[:5]), (), 1.0) is True
    assert talk.unparsed("too_large") == 1
    passed = {"method": "notifications/message", "direction": "to_client"}
    assert talk.telemetry.value("mcp_notifications_total", **passed) == 105


@pytest.mark.parametrize("line", [b"Listening on port 3", b"", b"[]", b"\xff", b'{"id":1'])
def test_a_line_that_is_no_message_is_counted_and_no_sign_of_life(line: bytes) -> None:
    talk = Conversation()
    talk.client(request(1))
    talk.server(line)
    assert talk.unparsed("not_json") == 1
    assert talk.telemetry.events.signs_of_life == 0
    assert talk.telemetry.in_flight == 1


def test_any_message_of_the_server_is_a_sign_of_life() -> None:
    talk = Conversation()
    talk.client(request(1))
    for message in (error(1), notification("notifications/message"), request(1, "ping")):
        talk.server(message)
    assert talk.telemetry.events.signs_of_life == 3


def test_a_lost_server_is_told_with_the_reason() -> None:
    talk = Conversation()
    talk.observer.upstream_lost("exited with code 1")
    assert talk.telemetry.events.losses == ["exited with code 1"]


def test_a_line_counts_its_bytes() -> None:
    talk = Conversation()
    talk.observer.server_said(talk.exchange, b"no message", 1.0)
    assert talk.telemetry.value("mcp_message_bytes_total", direction="to_client") == 10
    talk.client(request(1))
    assert talk.telemetry.value("mcp_message_bytes_total", direction="to_server") == 10


def test_the_tools_of_a_list_that_passes_by_may_be_labels() -> None:
    talk = Conversation()
    talk.client(request(1, "tools/list"), request(2, "ping"))
    talk.server(result(2, tools=[{"name": "smuggled"}]))
    talk.server(result(1, tools=[{"name": "read_file"}]))
    label = talk.telemetry.recorder.tools.label
    assert [label("read_file"), label("smuggled")] == ["read_file", "_other"]


def test_a_list_of_tools_in_a_batch_is_heard_too() -> None:
    talk = Conversation()
    talk.client(request(1, "tools/list"), request(2, "ping"))
    talk.server([result(2), result(1, tools=[{"name": "read_file"}])])
    assert talk.telemetry.recorder.tools.label("read_file") == "read_file"


def test_the_size_of_a_result_in_a_batch_is_its_own() -> None:
    talk = Conversation()
    talk.client(request(1, "tools/call"), request(2, "tools/call"))
    small, large = encoded(result(1)), encoded(result(2, text="x" * 1000))
    talk.server(b"[" + small + b"," + large + b"]")
    assert talk.telemetry.total("mcp_tool_result_bytes_sum") == len(small) + len(large)


def test_a_changed_list_of_tools_is_told() -> None:
    talk = Conversation()
    talk.server(notification(LIST_CHANGED))
    talk.server(notification("notifications/prompts/list_changed"))
    assert talk.telemetry.events.list_changes == 1


def test_an_http_refusal_with_a_json_rpc_error_is_its_reply() -> None:
    talk = Conversation()
    own = talk.client(request(1, "ping"), request(2, "ping"))
    talk.observer.error_reply(talk.exchange, encoded(error(None, -32601)), own, 2.0, 500)
    assert talk.outcomes == {"protocol_error": 2}
    errors = "mcp_protocol_errors_total"
    assert talk.telemetry.value(errors, method="ping", code="-32601") == 2


def test_an_http_refusal_in_an_array_is_a_reply_too() -> None:
    talk = Conversation()
    own = talk.client(request(1, "ping"), request(2, "tools/list"))
    talk.observer.error_reply(
        talk.exchange, encoded([error(2, -32601), error(1, -32602)]), own, 2.0, 500
    )
    errors = "mcp_protocol_errors_total"
    assert talk.telemetry.value(errors, method="ping", code="-32602") == 1
    assert talk.telemetry.value(errors, method="tools/list", code="-32601") == 1


@pytest.mark.parametrize(
    "body",
    [
        *(b"<html>", b"", b"{}", b'{"detail":"no"}', b"[]", b"5"),
        *(b'{"error":"no"}', b'{"error":{"code":5}}', b'{"id":"request-7","error":{"code":5}}'),
    ],
)
def test_an_http_refusal_without_a_json_rpc_error_is_a_fault_upstream(body: bytes) -> None:
    talk = Conversation()
    own = talk.client(request(1))
    talk.observer.error_reply(talk.exchange, body, own, 2.0, 500)
    assert talk.outcomes == {"upstream_error": 1}


def test_what_fails_in_observation_is_counted_and_goes_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Conversation()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    talk.client(request(1), request(2))
    monkeypatch.setattr(talk.telemetry.events, "alive", fail)
    talk.server(result(1))
    talk.observer.read(fail, b"", 1.0)
    monkeypatch.setattr(talk.telemetry.events, "lost", fail)
    talk.observer.upstream_lost("no")
    failed = "mcp_exporter_internal_errors_total"
    for where in ("server_sent", "read", "upstream_lost"):
        assert talk.telemetry.own(failed, where=where) == 1
    assert talk.telemetry.in_flight == 2


def test_what_has_begun_before_a_failure_is_known_to_the_one_who_relays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Conversation()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(talk.observer, "_client_notified", fail)
    begun = talk.client(request(1), notification("x"), request(2))
    talk.observer.settle(talk.exchange, begun, Outcome.UPSTREAM_ERROR, 2.0)
    assert (len(begun), talk.telemetry.in_flight, talk.internal_errors) == (1, 0, 1)
    assert talk.outcomes == {"upstream_error": 1}


def test_a_failure_to_count_one_call_leaves_no_other_in_flight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Conversation()
    own = talk.client(request(1, "tools/call"), request(2), request(3))

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(talk.telemetry.recorder, "_count_tool", fail)
    talk.observer.settle(talk.exchange, own, Outcome.TIMEOUT, 2.0)
    talk.observer.abandon(talk.exchange, Outcome.UPSTREAM_ERROR, 2.0)
    assert talk.internal_errors
    assert talk.telemetry.in_flight == 0
    assert len(talk.exchange) == 0

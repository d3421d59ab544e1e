"""The telemetry of an HTTP server's sessions: when they live, and what waits in them."""

from __future__ import annotations

from exporter.protocol.jsonrpc import Message
from exporter.relay.http.sessions import HttpSession, HttpSessions
from exporter.telemetry.exchange import Exchange
from tests.support.fakes import Telemetry, parsed, request

PARAMS = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "inspector"}}


class Sessions:
    """The sessions of a server, and their samples."""

    def __init__(
        self, timeout: float = 300.0, idle_timeout: float = 1800.0, most: int = 100
    ) -> None:
        self.telemetry = Telemetry()
        self.all = HttpSessions(self.telemetry.recorder, timeout, idle_timeout, most)

    def open(
        self, name: bytes = b"s", now: float = 0.0, message: Message | None = None
    ) -> HttpSession:
        session = self.all.open(name, Exchange(self.telemetry.recorder), message, now)
        assert session is not None
        return session

    @property
    def live(self) -> float | None:
        return self.telemetry.value("mcp_sessions")


def end_overdue(live: HttpSessions, now: float) -> None:
    for _ in live.expire(now):
        pass


def test_a_session_is_counted_from_its_beginning_to_its_end() -> None:
    sessions = Sessions()
    session = sessions.open(now=10.0, message=parsed(request(0, "initialize", **PARAMS)))
    assert sessions.all.find(b"s", 11.0) is session
    assert sessions.live == 1
    started = "mcp_sessions_started_total"
    assert sessions.telemetry.value(started, client="inspector", protocol_version="2025-11-25") == 1
    sessions.all.end(b"s", 70.0)
    assert sessions.all.find(b"s", 71.0) is None
    assert sessions.live == 0
    assert sessions.telemetry.value("mcp_session_duration_seconds_sum") == 60.0


def test_a_session_that_began_before_the_exporter_is_one_of_an_unknown_client() -> None:
    sessions = Sessions()
    sessions.open()
    labels = {"client": "_other", "protocol_version": "_other"}
    assert sessions.telemetry.value("mcp_sessions_started_total", **labels) == 1


def test_the_end_of_a_session_ends_what_waits_in_it() -> None:
    sessions = Sessions()
    session = sessions.open()
    session.exchange.begin(parsed(request(1)), 1.0)
    sessions.all.end(b"s", 2.0)
    sessions.all.end(b"s", 3.0)
    sessions.all.end(b"never", 3.0)
    assert sessions.telemetry.outcomes() == {"client_gone": 1}
    assert sessions.telemetry.in_flight == 0
    assert sessions.live == 0


def test_an_idle_session_is_over_and_one_in_use_is_not() -> None:
    sessions = Sessions(idle_timeout=100)
    sessions.open(b"idle")
    sessions.open(b"used")
    sessions.open(b"streaming").streams = 1
    sessions.all.find(b"used", 90.0)
    end_overdue(sessions.all, 100.0)
    assert sessions.live == 3
    end_overdue(sessions.all, 101.0)
    assert sessions.live == 2
    assert sessions.all.find(b"idle", 101.0) is None


def test_of_many_sessions_each_is_looked_at_in_a_step_of_its_own() -> None:
    sessions = Sessions(idle_timeout=100)
    for name in (b"a", b"b", b"c"):
        sessions.open(name)
    steps = sessions.all.expire(101.0)
    next(steps)
    assert sessions.live == 2
    sessions.all.end(b"b", 101.0)
    assert len(list(steps)) == 1, "one that has ended in the meantime is passed over"
    assert sessions.live == 0


def test_without_idle_timeout_no_session_is_ended() -> None:
    sessions = Sessions(idle_timeout=0)
    sessions.open()
    end_overdue(sessions.all, 1e9)
    assert sessions.live == 1


def test_a_request_that_nobody_carries_any_more_times_out() -> None:
    sessions = Sessions(timeout=30)
    session = sessions.open()
    session.exchange.begin(parsed(request(1)), 0.0)
    session.exchange.begin(parsed(request("s", "elicitation/create")), 0.0, to_server=False)
    end_overdue(sessions.all, 31.0)
    assert sessions.telemetry.in_flight == 1, "its stream has the first word"
    end_overdue(sessions.all, 40.0)
    assert sessions.telemetry.outcomes() == {"timeout": 1}
    assert sessions.telemetry.total("mcp_request_duration_seconds_sum") == 30.0
    assert len(session.exchange) == 1, "a person may take as long as it takes"


def test_without_timeout_a_request_waits_for_ever() -> None:
    sessions = Sessions(timeout=0, idle_timeout=0)
    sessions.open().exchange.begin(parsed(request(1)), 0.0)
    end_overdue(sessions.all, 1e9)
    assert sessions.telemetry.in_flight == 1


def test_the_end_of_the_exporter_ends_every_session() -> None:
    sessions = Sessions()
    for name in (b"a", b"b"):
        sessions.open(name).exchange.begin(parsed(request(1)), 0.0)
    sessions.all.close(5.0)
    assert sessions.live == 0
    assert sessions.telemetry.outcomes() == {"client_gone": 2}


def test_more_sessions_than_the_limit_forget_those_that_are_not_used() -> None:
    sessions = Sessions(most=10)
    sessions.open(b"streaming").streams = 1
    sessions.open(b"used")
    for number in range(100):
        sessions.all.find(b"used", number + 0.5)
        sessions.open(b"%d" % number, number + 1.0)
        assert sessions.live == min(number + 3, 10)
    assert sessions.all.find(b"used", 200.0)
    assert sessions.all.find(b"streaming", 200.0)


def test_sessions_that_are_all_in_use_are_bounded_too() -> None:
    sessions = Sessions(most=10)
    for number in range(100):
        sessions.open(b"%d" % number).streams = 1
    assert sessions.live == 10


def test_a_session_with_a_long_id_is_not_remembered() -> None:
    sessions = Sessions()
    assert sessions.all.open(b"x" * 257, Exchange(sessions.telemetry.recorder), None, 0.0) is None
    assert len(sessions.all) == 0

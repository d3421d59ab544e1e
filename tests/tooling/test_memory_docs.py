"""docs/configuration.md says how much may be held, and the code says the same."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from exporter.config.model import Limits
from exporter.probe import history, target, tool_inventory
from exporter.probe.replies import LONGEST
from exporter.protocol.jsonrpc import Message, Params
from exporter.relay.http import sessions
from exporter.relay.stdio import http_response, param_headers, session
from exporter.telemetry.exchange import LONGEST_TEXT, MOST_QUESTIONS, MOST_REQUESTS, Exchange
from exporter.telemetry.spans import sender, tracer
from exporter.transport.http import connection, head, server
from exporter.transport.process import child
from exporter.web.server import LIMITS
from exporter.wrap import receiver, report
from tests.support.fakes import Telemetry
from tests.support.paths import ROOT

KIB, MIB, GIB = 1024, 1024**2, 1024**3
RECORD = 2 * KIB
"""What a session, a request or a span costs at most."""
READ, BUFFER = 256 * KIB, 64 * KIB
"""What one read of the loop brings, and what a transport takes before it says that it is full."""
SCRAPE = 2 * MIB
PROCESSES_BESIDE = 3
"""The one that is shared, the one that is probed, and the one that is tried."""


def stores(limits: Limits) -> dict[str, int]:
    """What each row of the table comes to."""
    children = limits.children_per_server
    waiting = limits.requests_per_server + limits.streams_per_server
    # One that is over stays for as long as what was asked in it has its stream.
    sessions = limits.sessions_per_server + limits.requests_per_server
    replies = limits.requests_total + limits.streams_total
    return {
        "requests that are on their way": limits.connections
        * (limits.header_bytes + limits.request_bytes),
        "what is sent ahead": limits.connections * connection._BACKLOG,
        "responses that are not read": limits.connections * (READ + BUFFER),
        "remembered heads": server._KNOWN_HEADS * head.LONGEST,
        "replies that are being read": replies * limits.observed_bytes,
        "its tools, and listings under way": 2 * tool_inventory.MAX_KEPT,
        "a probe and its reply": target.MAX_LISTING + LONGEST,
        "sessions, each with an id": sessions * RECORD,
        "its requests and the server's questions": (MOST_REQUESTS + MOST_QUESTIONS) * RECORD,
        "messages that no stream takes": children * session.MAX_QUEUED,
        "events that 2026-07-28 clients do not read": waiting * http_response.MAX_UNREAD,
        "what processes do not read": (children + PROCESSES_BESIDE) * child.MAX_UNREAD,
        "lines that processes have begun": (children + PROCESSES_BESIDE) * child.MAX_LINE,
        "arguments that headers repeat": param_headers.MOST_KEPT,
        "requests, and slices that are not read": LIMITS.connections * SCRAPE,
        "transcripts": history.MAX_SIZE,
        "spans that wait": sender.MOST_SLICES * tracer.BATCH * RECORD,
        "reports that are not whole": receiver.MAX_CONNECTIONS * report.MAX_REPORT,
    }


def written(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / MIB:.1f} MiB"


def test_the_table_of_what_may_be_held_is_what_the_code_says() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    table = page.partition("| of | held | at most | by default |")[2].partition("\n\n")[0]
    rows = [line.strip("|").split(" | ") for line in table.splitlines() if "---" not in line]
    found = {row[1].strip(): row[-1].strip() for row in rows if len(row) > 1}
    assert found == {what: written(size) for what, size in stores(Limits()).items()}


def cost(make: Callable[[], object]) -> int:
    """Bytes of what is made."""
    make()  # what is made once for all
    tracemalloc.start()
    kept = make()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept
    return size


def test_a_session_costs_no_more_than_the_table_says() -> None:
    recorder = Telemetry().recorder

    def opened() -> object:
        live = sessions.HttpSessions(recorder, 300.0, 1800.0, 10_000)
        for number in range(1000):
            name = b"%0*d" % (sessions.LONGEST_ID, number)
            assert live.open(name, Exchange(recorder), None, 0.0)
        return live

    assert cost(opened) < 1000 * RECORD


def test_a_request_that_waits_costs_no_more_than_the_table_says() -> None:
    recorder, text = Telemetry().recorder, "x" * LONGEST_TEXT

    def begun() -> object:
        exchange = Exchange(recorder)
        for number in range(1000):
            params = Params(name=f"{text}{number}", cursor=f"{text}{number}")
            message = Message(id=f"{number:0256}", method="tools/call", params=params)
            exchange.begin(message, 0.0)
        return exchange

    assert cost(begun) < 1000 * RECORD

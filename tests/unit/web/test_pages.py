"""The landing page: servers with their states, and the last probes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from exporter.probe.history import Record
from exporter.probe.target import ProbeResult
from exporter.web.pages import ServerSummary, history, landing, log

EVIL = "<img src=x onerror=alert(1)>\"'&"


MCP = "http://127.0.0.1:6279"
NOW = 100_000.0


def row(name: str = "files", state: str = "ok", reason: str = "", **more: int) -> ServerSummary:
    return ServerSummary(name, "stdio", state, NOW - 725, reason, f"/{name}/mcp", **more)


def record(name: str = "files", result: str = "success", text: str = "", number: int = 7) -> Record:
    return Record(name, 0.0, ProbeResult(result, 0.0123, text), [], number=number)


def page_of(*rows: ServerSummary, records: Sequence[Record] = ()) -> str:
    return landing(rows, records, MCP, NOW)


def test_each_server_has_a_row_with_its_state_its_calls_and_its_full_address() -> None:
    page = page_of(row(calls=12345, failures=6), row("@scope/echo"))
    assert page.count("<tr><td>") == 2
    assert "<code>http://127.0.0.1:6279/files/mcp</code>" in page
    assert ">12,345<" in page
    assert ">6<" in page
    assert 'href="probe?target=%40scope%2Fecho&amp;debug=true"' in page


def test_a_server_in_error_comes_first_and_says_why_and_since_when() -> None:
    page = page_of(row("well"), row("ill", "error", "exited with code 1"))
    assert page.index("<b>ill</b>") < page.index("<b>well</b>")
    assert "<small>exited with code 1</small>" in page
    assert '<time datetime="1970-01-02 03:34:35">for 12m5s</time>' in page


def test_a_server_that_is_well_again_shows_no_old_reason() -> None:
    assert "exited" not in page_of(row(reason="exited with code 1"))


def test_twenty_probes_are_shown_and_failed_ones_first() -> None:
    records = [record(number=number) for number in range(99, 49, -1)]
    records[45] = record(result="timeout", text="no reply", number=54)
    page = page_of(records=records)
    found = [int(number) for number in re.findall(r"logs\?id=(\d+)", page)]
    assert found == [54, *range(99, 80, -1)]
    assert "All 50 that are kept" in page
    assert len(re.findall(r"logs\?id=", history(records))) == 50


def test_each_probe_has_a_row_with_a_way_to_its_log() -> None:
    page = page_of(records=[record(result="timeout", text="no reply")])
    assert "1970-01-01 00:00:00 UTC" in page
    assert '<span class="timeout">timeout</span><small>no reply</small>' in page
    assert "0.012 s" in page
    assert 'href="logs?id=7"' in page


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (725, "12m5s"),
        (7200, "2h"),
        (90_061, "1d1h"),
        (-5, "0s"),  # a clock was set back
    ],
)
def test_how_long_a_state_lasts_is_said_in_two_units(seconds: float, text: str) -> None:
    summary = ServerSummary("files", "stdio", "ok", NOW - seconds, "", "/files/mcp")
    assert f">for {text}<" in page_of(summary)


def test_pages_suit_small_screens_and_dark_ones_without_a_script() -> None:
    page = page_of(row())
    assert '<meta name=viewport content="width=device-width' in page
    assert "prefers-color-scheme:dark" in page
    assert "<script" not in page
    assert 'href="config"' in page


@pytest.mark.parametrize(
    "page",
    [
        page_of(row(EVIL, "error", EVIL), records=[record(EVIL, text=EVIL)]),
        log(record(EVIL, text=EVIL)),
    ],
)
def test_names_and_reasons_are_text_not_markup(page: str) -> None:
    assert "<img" not in page
    assert not re.search(r'title="[^"]*<', page)


def test_every_result_and_state_has_a_colour() -> None:
    style = page_of().partition("<style>")[2].partition("</style>")[0]
    for name in ("ok", "degraded", "error", "success", "unauthorized", "timeout",
                 "connect_error", "protocol_error", "process_exit"):  # fmt: skip
        assert f".{name}" in style

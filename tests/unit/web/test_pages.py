"""The landing page: servers with their states, and the last probes."""

from __future__ import annotations

import re

import pytest

from exporter.probe.history import Record
from exporter.probe.target import ProbeResult
from exporter.web.pages import ServerSummary, landing, log

EVIL = "<img src=x onerror=alert(1)>\"'&"


def row(name: str = "files", state: str = "ok", detail: str = "") -> ServerSummary:
    return ServerSummary(name, "stdio", state, detail, f"/{name}/mcp")


def record(name: str = "files", result: str = "success", text: str = "") -> Record:
    return Record(name, 0.0, ProbeResult(result, 0.0123, text), [], number=7)


def test_each_server_has_a_row_with_its_state_and_a_way_to_explain_it() -> None:
    page = landing([row(), row("@scope/echo", "error", "exited with code 1")], [])
    assert page.count("<tr><td>") == 2
    assert '<td class="ok" title="">ok' in page
    assert '<td class="error" title="exited with code 1">error' in page
    assert 'href="probe?target=%40scope%2Fecho&amp;debug=true"' in page


def test_a_server_that_is_well_again_shows_no_old_reason() -> None:
    assert "exited" not in landing([row(detail="exited with code 1")], [])


def test_each_probe_has_a_row_with_a_way_to_its_log() -> None:
    page = landing([], [record(result="timeout", text="no reply")])
    assert "1970-01-01 00:00:00 UTC" in page
    assert '<td class="timeout" title="no reply">timeout<td>0.012 s' in page
    assert 'href="logs?id=7"' in page


@pytest.mark.parametrize(
    "page",
    [
        landing([row(EVIL, "error", EVIL)], [record(EVIL, text=EVIL)]),
        log(record(EVIL, text=EVIL)),
    ],
)
def test_names_and_reasons_are_text_not_markup(page: str) -> None:
    assert "<img" not in page
    assert not re.search(r'title="[^"]*<', page)


def test_every_result_and_state_has_a_colour() -> None:
    style = landing([], []).partition("<style>")[2].partition("</style>")[0]
    for name in ("ok", "degraded", "error", "success", "unauthorized", "timeout",
                 "connect_error", "protocol_error", "process_exit"):  # fmt: skip
        assert f".{name}" in style

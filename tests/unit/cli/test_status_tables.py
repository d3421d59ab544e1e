"""The tables of ``status`` say what the facts say."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli import status_tables
from exporter.cli.status_source import StatusData

INF = math.inf
NOW = 1_000_000.0


def data() -> StatusData:
    return StatusData(
        "of the last 1h",
        states={"files": "ok", "idle": "error"},
        since={"files": NOW - 7200},
        seen={"files": NOW - 1, "idle": NOW - 1500},
        failed_probes={("idle", "timeout"): 2, ("idle", "connect_error"): 9},
        tools={"files": 2},
        calls={
            ("files", "read", "ok"): 97,
            ("files", "read", "tool_error"): 2,
            ("files", "read", "timeout"): 1,
            ("files", "read", "cancelled"): 10,
            ("files", "list", "ok"): 300,
            ("files", "never", "ok"): 0,
        },
        buckets={("files", "read"): {0.1: 50.0, 0.2: 100.0, INF: 110.0}},
        last={("files", "read"): NOW - 5, ("files", "list"): NOW - 90},
    )


def test_a_server_sums_up_its_tools() -> None:
    idle, files = status_tables.servers(data())
    assert (files.server, files.state, files.tools) == ("files", "ok", 2)
    assert (files.traffic.calls, files.traffic.failures) == (410, 3)
    assert files.traffic.success == 397 / 400
    assert files.reason is None
    assert files.traffic.last == NOW - 5
    assert (idle.state, idle.tools, idle.traffic.calls) == ("error", None, 0)
    assert (idle.traffic.success, idle.reason) == (None, "connect_error")


def test_the_busiest_tool_comes_first_and_the_worst_is_the_one_that_fails() -> None:
    rows = status_tables.tools(data())
    assert [row.tool for row in rows] == ["list", "read"]
    assert [row.tool for row in status_tables.worst(rows)] == ["read"]


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, {0.1: 50.0, 0.2: 100.0, INF: 100.0}, 0.1),
        (0.75, {0.1: 50.0, 0.2: 100.0, INF: 100.0}, 0.15),
        (0.25, {0.1: 50.0, INF: 50.0}, 0.025),
        (0.99, {0.1: 50.0, 0.2: 60.0, INF: 100.0}, 0.2),
        (0.5, {0.1: 0.0, INF: 0.0}, None),
        (0.5, {}, None),
    ],
)
def test_quantiles_are_even_within_a_bucket(
    share: float, buckets: dict[float, float], expected: float | None
) -> None:
    found = status_tables.quantile(share, buckets)
    assert found == (expected if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6), st.floats(0.01, 1))
def test_a_quantile_is_never_beyond_the_last_edge(counts: list[int], share: float) -> None:
    edges = [float(number) for number in range(1, len(counts) + 1)]
    totals = [float(sum(counts[: number + 1])) for number in range(len(counts))]
    found = status_tables.quantile(
        share, {**dict(zip(edges, totals, strict=True)), INF: totals[-1]}
    )
    assert found is None if not totals[-1] else 0 <= (found or 0) <= edges[-1]


def test_the_text_is_a_table_a_person_can_read() -> None:
    assert status_tables.as_text(data(), NOW).splitlines()[:6] == [
        "Calls of the last 1h",
        "",
        "SERVER  STATE  SINCE  TOOLS  CALLS  OK     P50    P90    P99    LAST",
        "idle    error  -      -      0      -      -      -      -      -",
        "  probes end with connect_error; last reply 25m ago",
        "files   ok     2h     2      410    99.2%  110ms  198ms  200ms  5s",
    ]


def test_the_worst_server_comes_first() -> None:
    states = {"a": "ok", "b": "unknown", "c": "degraded", "d": "error", "e": "ok", "f": "odd"}
    calls = {("a", "t", "ok"): 9.0, ("e", "t", "ok"): 1.0, ("e", "t", "timeout"): 1.0}
    rows = status_tables.servers(StatusData("", states=states, calls=calls))
    assert "".join(row.server for row in rows) == "dcbeaf"


@pytest.mark.parametrize(
    ("seen", "failed", "words"),
    [
        ({}, {}, "no probe failed; calls did"),
        ({"a": 0.0}, {("a", "timeout"): 1}, "probes end with timeout; it never replied"),
        ({"a": NOW - 60}, {}, "no probe failed; calls did; last reply 1m ago"),
        ({"a": NOW}, {("a", "\x1b[2J"): 1}, "probes end with \\x1b[2J; last reply 0s ago"),
    ],
)
def test_a_server_that_is_not_well_says_why_as_far_as_is_known(
    seen: dict[str, float], failed: dict[tuple[str, str], float], words: str
) -> None:
    ill = StatusData("", states={"a": "degraded"}, seen=seen, failed_probes=failed)
    assert status_tables.as_text(ill, NOW).splitlines()[4] == f"  {words}"


def test_eighty_columns_are_enough_for_long_names_and_large_numbers() -> None:
    name, tool = "a-very-long-server-name", "and-a-tool-with-an-even-longer-name"
    buckets = {"0.25": 1.0}
    wide = StatusData(
        "of the last 1h",
        states={name: "degraded"},
        since={name: NOW - 86_400 * 300},
        seen={name: NOW - 86_400 * 300},
        failed_probes={(name, "connect_error"): 1},
        tools={name: 1000},
        calls={(name, tool, "ok"): 999_999.0, (name, tool, "timeout"): 1.0},
        buckets={(name, tool): {float(edge): count for edge, count in buckets.items()}},
        last={(name, tool): NOW - 86_400 * 300},
    )
    lines = status_tables.as_text(wide, NOW, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[3].startswith("a-very-")
    assert "-name " in lines[3]
    assert "TOOLS" not in lines[2]
    assert name in status_tables.as_text(wide, NOW)
    wide.since.clear()
    lines = status_tables.as_text(wide, NOW, width=80).splitlines()
    assert lines[2].split()[:3] == ["SERVER", "STATE", "CALLS"]


def test_colour_marks_the_state() -> None:
    text = status_tables.as_text(data(), NOW, is_coloured=True)
    assert "\x1b[31merror\x1b[0m" in text
    assert "\x1b[32mok   \x1b[0m" in text


def test_a_name_cannot_steer_the_terminal() -> None:
    hostile = StatusData("of the last 1h", states={"\x1b[2Jx": "ok"})
    assert "\x1b" not in status_tables.as_text(hostile, NOW)


def test_scripts_get_everything_as_json() -> None:
    found = json.loads(json.dumps(status_tables.as_json(data())))
    assert found["servers"][1]["traffic"]["calls"] == 410
    assert [row["tool"] for row in found["tools"]] == ["list", "read"]

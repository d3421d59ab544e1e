"""What the demo makes of Prometheus' answers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from demo import report
from demo.report import Report, Sample, Server, Tool

CALLS = {"read_file": 10, "list_files": 5}
LATENCIES = {0.5: 0.0015, 0.9: 0.25, 0.99: 2.5}


class Answers(report.Prometheus):
    """A Prometheus that knows some answers, and none to other questions."""

    def __init__(self, answers: dict[str, list[Sample]]) -> None:
        super().__init__("http://127.0.0.1:9")
        self._answers = answers
        self.asked: list[str] = []

    def query(self, expression: str) -> list[Sample]:
        self.asked.append(expression)
        return self._answers.get(expression, [])


def _tool(name: str, calls: float, succeeded: float) -> Tool:
    return Tool("files", name, calls, succeeded, LATENCIES)


@pytest.fixture
def good() -> Report:
    return Report(
        tools=(_tool("list_files", 5, 5), _tool("read_file", 10, 10)),
        servers=(Server("echo", "ok", True), Server("files", "ok", True)),
        alerts=("MCPWatchdog",),
    )


def test_all_calls_and_both_servers_well_is_what_is_expected(good: Report) -> None:
    assert report.shortcomings(good, CALLS) == []


@pytest.mark.parametrize("calls", [9, 11])
def test_one_call_too_few_or_too_many_is_told(good: Report, calls: float) -> None:
    wrong = replace(good, tools=(good.tools[0], _tool("read_file", calls, calls)))
    (told,) = report.shortcomings(wrong, CALLS)
    assert "10 calls of read_file" in told
    assert f"{calls:g} as ok" in told


def test_a_failed_call_is_told(good: Report) -> None:
    wrong = replace(good, tools=(_tool("list_files", 5, 4), good.tools[1]))
    (told,) = report.shortcomings(wrong, CALLS)
    assert "list_files" in told


def test_calls_of_another_server_do_not_count(good: Report) -> None:
    elsewhere = tuple(replace(tool, server="echo") for tool in good.tools)
    assert len(report.shortcomings(replace(good, tools=elsewhere), CALLS)) == 2


@pytest.mark.parametrize("state", ["unknown", "degraded", "error"])
def test_a_server_in_any_other_state_than_ok_is_told(good: Report, state: str) -> None:
    ill = replace(good, servers=(Server("echo", state, state == "degraded"), good.servers[1]))
    assert report.shortcomings(ill, CALLS) == [f"the server echo is not healthy: {state}"]


def test_a_server_that_prometheus_does_not_know_is_told(good: Report) -> None:
    less = replace(good, servers=(good.servers[1],))
    assert report.shortcomings(less, CALLS) == ["the server echo is not healthy: no such series"]


def test_no_report_at_all_names_every_tool_and_server() -> None:
    assert len(report.shortcomings(Report(), CALLS)) == 4


def test_a_scrape_before_the_calls_is_not_taken_for_one_after_them() -> None:
    up = 'timestamp(up{job="mcp-exporter",instance="127.0.0.1:1"} == 1)'
    prometheus = Answers({up: [Sample({}, 100.0)]})
    assert report.has_scraped_since(prometheus, "127.0.0.1:1", 99.5)
    assert not report.has_scraped_since(prometheus, "127.0.0.1:1", 100.0)
    assert not report.has_scraped_since(prometheus, "127.0.0.1:2", 99.5)


def test_every_question_is_about_the_one_exporter_but_that_for_alerts() -> None:
    prometheus = Answers({})
    report.ask(prometheus, "127.0.0.1:1")
    others = [each for each in prometheus.asked if 'instance="127.0.0.1:1"' not in each]
    assert others == ['group by (alertname) (ALERTS{alertstate="firing"})']


def test_a_tool_that_was_not_called_is_left_out() -> None:
    calls = 'sum by (server, tool) (mcp_tool_calls_total{job="mcp-exporter",instance="a:1"})'
    samples = [
        Sample({"server": "files", "tool": "read_file"}, 2),
        Sample({"server": "echo", "tool": "echo"}, 0),
    ]
    seen = report.ask(Answers({calls: samples}), "a:1")
    assert [(tool.name, tool.calls, tool.succeeded) for tool in seen.tools] == [("read_file", 2, 0)]
    assert math.isnan(seen.tools[0].latencies[0.99])


def test_the_table_gives_totals_rates_and_readable_latencies(good: Report) -> None:
    text = report.shown(replace(good, tools=(good.tools[0], _tool("read_file", 10, 9))))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "server tool calls success p50 p90 p99" in lines
    assert "files read_file 10 90.0 % 1.50 ms 250.00 ms 2.50 s" in lines
    assert "all 15 93.3 % - - -" in lines
    assert "echo ok up" in lines
    assert "alerts firing: MCPWatchdog" in text


def test_an_empty_report_can_be_shown() -> None:
    assert "alerts firing: none" in report.shown(Report())

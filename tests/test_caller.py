"""``call`` and ``tools`` are a client of the exporter, and their exit code tells what happened."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest

from exporter.caller import Course
from exporter.cli import main
from tests.exporting import ROOT, Exporter, exporter

ECHO = {"command": sys.executable, "args": ["-m", "mcp_servers.echo"], "cwd": str(ROOT)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with exporter(tmp_path_factory.mktemp("exporter"), {"files": ECHO}) as found:
        yield found


def test_a_summary_has_the_percentiles_and_the_first_failure() -> None:
    course = Course()
    for number in range(100):
        course.note((number + 1) / 1000, "broken" if number in (7, 9) else None)
    lines = course.summary(elapsed=2.0).splitlines()
    assert lines[0] == "100 calls in 2.00 s (50/s), 2 failed"
    assert [line.split()[:2] for line in lines[1:6]] == [
        ["p50", "51.00"],
        ["p90", "91.00"],
        ["p95", "96.00"],
        ["p99", "100.00"],
        ["max", "100.00"],
    ]
    assert lines[6] == "first failure: broken"


@pytest.mark.e2e
def test_a_call_prints_what_the_tool_says(
    running: Exporter, capsys: pytest.CaptureFixture[str]
) -> None:
    before = running.scrape().total("mcp_tool_calls_total", server="files", outcome="ok")
    assert main(["call", "--mcp.url", running.mcp, "files", "echo", '{"text": "done"}']) == 0
    assert capsys.readouterr().out == "done\n"
    after = running.scrape().total("mcp_tool_calls_total", server="files", outcome="ok")
    assert after == before + 1


@pytest.mark.e2e
@pytest.mark.parametrize(("tool", "arguments"), [("echo", "{}"), ("invented", "{}")])
def test_a_call_that_fails_has_exit_code_one(
    running: Exporter, tool: str, arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["call", "--mcp.url", running.mcp, "files", tool, arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out + printed.err != ""
    often = ["--repeat", "3"]
    assert main(["call", "--mcp.url", running.mcp, "files", tool, arguments, *often]) == 1
    assert "3 failed\n" in capsys.readouterr().out


@pytest.mark.e2e
def test_many_calls_are_a_small_load_test(
    running: Exporter, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["call", "--mcp.url", running.mcp, "files", "echo", '{"text": "x"}', "--repeat", "30"]
    before = running.scrape().total("mcp_tool_calls_total", server="files", outcome="ok")
    assert main([*words, "--concurrency", "4"]) == 0
    assert capsys.readouterr().out.startswith("30 calls in ")
    after = running.scrape().total("mcp_tool_calls_total", server="files", outcome="ok")
    assert after == before + 30


@pytest.mark.e2e
def test_tools_are_listed(running: Exporter, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "--mcp.url", running.mcp, "files"]) == 0
    assert "echo   Say the text back.\n" in capsys.readouterr().out
    assert main(["tools", "--mcp.url", running.mcp, "files", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == [
        "echo",
        "count",
        "blob",
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("server", ["unknown", "a b"])
def test_a_server_that_is_not_there_is_one_clear_line(
    server: str, running: Exporter, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tools", "--mcp.url", running.mcp, server]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_exporter_that_is_not_there_is_one_clear_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["call", "--mcp.url", "http://127.0.0.1:9", "files", "act"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "is the exporter running" in error


@pytest.mark.parametrize("arguments", ["{", "[]", "5"])
def test_arguments_that_are_no_object_are_refused(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["call", "files", "act", arguments]) == 2
    assert "JSON" in capsys.readouterr().err

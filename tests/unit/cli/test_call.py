"""``call`` and ``tools`` are a client of the exporter, and their exit code tells what happened."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli.main import main
from tests.support.exporting import Exporter, exporter
from tests.support.paths import ROOT

ECHO = {"command": sys.executable, "args": ["-m", "mcp_servers.echo"], "cwd": str(ROOT)}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with exporter(tmp_path_factory.mktemp("exporter"), {"files": ECHO}) as found:
        yield found


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
    assert "3 calls, 3 failed;" in capsys.readouterr().out


@pytest.mark.e2e
def test_many_calls_are_a_small_load_test(
    running: Exporter, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["call", "--mcp.url", running.mcp, "files", "echo", '{"text": "x"}', "--repeat", "30"]
    before = running.scrape().total("mcp_tool_calls_total", server="files", outcome="ok")
    assert main([*words, "--concurrency", "4"]) == 0
    assert capsys.readouterr().out.startswith("30 calls, 0 failed; 29 timed, in ")
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


REGIONAL = """\
import json, sys

REPLIES = {
    "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}},
    "tools/list": {"tools": [{"name": "act", "inputSchema": {"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"}}}}]},
    "tools/call": {"content": [{"type": "text", "text": "done"}]},
}
for line in sys.stdin:
    asked = json.loads(line)
    result = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    result |= REPLIES.get(asked.get("method"), {})
    print(json.dumps({"jsonrpc": "2.0", "id": asked.get("id"), "result": result}), flush=True)
"""


@pytest.mark.e2e
def test_arguments_are_repeated_in_headers_where_the_tool_wants_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "regional.py"
    script.write_text(REGIONAL)
    server = {"command": sys.executable, "args": ["-I", "-S", str(script)]}
    with exporter(tmp_path, {"files": server}) as running:
        words = ["call", "--mcp.url", running.mcp, "files", "act", '{"region": "eu"}']
        assert main(words) == 0
        assert capsys.readouterr().out == "done\n"
        assert main([*words, "--repeat", "5"]) == 0
        assert capsys.readouterr().out.startswith("5 calls, 0 failed;")


ENDLESS = """\
import json, sys

TOOL = {"name": "act", "inputSchema": {"type": "object"}}
REPLIES = {
    "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                   "serverInfo": {"name": "s", "version": "1"}},
    "tools/list": {"tools": [TOOL], "nextCursor": "again"},
}
for line in sys.stdin:
    asked = json.loads(line)
    if asked.get("method") in REPLIES:
        reply = {"jsonrpc": "2.0", "id": asked["id"], "result": REPLIES[asked["method"]]}
    elif "id" in asked:
        reply = {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32601, "message": "no"}}
    else:
        continue
    print(json.dumps(reply), flush=True)
"""


@pytest.mark.e2e
def test_a_list_of_tools_that_goes_in_a_circle_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    server = {"command": sys.executable, "args": ["-I", "-S", str(script)]}
    with exporter(tmp_path, {"files": server}) as running:
        assert main(["tools", "--mcp.url", running.mcp, "files"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "TOOL  DESCRIPTION\nact\nact\n"
    assert "its list of tools does not end: page 2 is no new one" in shown.err
    assert shown.err.count("\n") == 1

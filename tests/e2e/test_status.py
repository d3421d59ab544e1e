"""``status`` agrees with Prometheus' own answers, and with the exporter's scrape."""

from __future__ import annotations

import json
import math
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.main import main
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.running import free_address, get, running, wait_for
from tests.support.tools import tool
from tests.support.wrapping import client, scripted_stdio_command, wrapped

GROUP = "mcp_tool_calls_total"
SECONDS = "mcp_tool_call_duration_seconds_bucket"


@pytest.fixture
def called(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter whose wrapped server was called."""
    socket = str(tmp_path / "s")
    broken = {
        "broken": {
            "command": "no-such-program",
            "probe": {"interval": "200ms", "timeout": "100ms", "enabled": True},
        }
    }
    with (
        exporter(tmp_path, {"other": scripted_stdio(), **broken}, "--wrap.socket", socket) as found,
        client(wrapped(scripted_stdio_command(), socket)) as desk,
    ):
        desk.greet()
        for _ in range(40):
            desk.call()
        for _ in range(10):
            desk.call(how="fail")
        wait_for(lambda: found.scrape().total(GROUP, tool="act") == 50, 60, "all is counted")
        yield found


def _is_down(found: Exporter) -> bool:
    labels = {"server": "broken", "state": "error"}
    return found.scrape().total("mcp_server_health_state", **labels) == 1


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = main(["status", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def row(found: Any, server: str) -> Any:
    (only,) = [each for each in found["servers"] if each["server"] == server]
    return only


def test_the_exporter_alone_is_enough(called: Exporter, capsys: pytest.CaptureFixture[str]) -> None:
    wait_for(lambda: _is_down(called), 60, "the broken server is in error")
    code, found = asked(capsys, "--web.url", called.web)
    assert code == 1
    assert row(found, "broken")["state"] == "error"
    files = row(found, "files")
    assert (files["state"], files["tools"]) == ("ok", 1)
    assert (files["traffic"]["calls"], files["traffic"]["success"]) == (50, 0.8)
    assert asked(capsys, "--web.url", called.web, "--server", "files")[0] == 0
    assert main(["status", "--web.url", called.web, "--server", "none"]) == 2
    assert "known: broken, files, other" in capsys.readouterr().err


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}])
def test_colours_are_for_terminals_that_want_them(
    called: Exporter, variables: dict[str, str]
) -> None:
    near, far = pty.openpty()
    command = [sys.executable, "-m", "exporter", "status", "--web.url", called.web]
    environ = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | variables
    try:
        subprocess.run(command, stdout=far, stderr=far, env=environ, cwd=ROOT, check=False)
        shown = os.read(near, 10_000)
    finally:
        os.close(near)
        os.close(far)
    assert b"files" in shown
    assert (b"\x1b[" in shown) == (not variables)


def test_prometheus_says_the_same_to_the_same_questions(
    called: Exporter, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = free_address()
    target = called.web.removeprefix("http://")
    jobs = f"[{{job_name: mcp-exporter, static_configs: [{{targets: ['{target}']}}]}}]"
    config = tmp_path / "prometheus.yml"
    config.write_text(f"global: {{scrape_interval: 1s}}\nscrape_configs: {jobs}\n")
    command = [tool("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/p"]
    command += [f"--web.listen-address={address}", "--log.level=error"]
    url = f"http://{address}"
    with running(command, f"{url}/-/ready", tmp_path / "prometheus.log"):

        def ask(question: str) -> float:
            answer = get(f"{url}/api/v1/query", query=question)["data"]["result"]
            return float(answer[0]["value"][1]) if answer else math.nan

        wait_for(lambda: ask(f'count_over_time({GROUP}{{tool="act"}}[1h])') >= 2, 60, "scraped")
        with client(wrapped(scripted_stdio_command(), tmp_path / "s")) as desk:
            desk.greet()
            for _ in range(30):
                desk.call()
            counted = f'sum(max_over_time({GROUP}{{tool="act",outcome="ok"}}[1h]))'
            wait_for(lambda: ask(counted) >= 70, 60, "the later calls are scraped")
        _, found = asked(capsys, "--prometheus.url", url, "--since", "1h")
        for each in found["servers"]:
            state = f'mcp_server_health_state{{server="{each["server"]}",state="{each["state"]}"}}'
            assert ask(state) == 1
            assert each["since"] is not None
        assert row(found, "files")["tools"] == ask('mcp_server_tools{server="files"}')
        called.process.terminate()  # nothing changes any more, whenever who is asked
        called.process.wait()
        _, found = asked(capsys, "--prometheus.url", url, "--since", "1h")
        traffic = row(found, "files")["traffic"]
        where = 'server="files"'
        assert traffic["calls"] == pytest.approx(
            ask(f"sum(increase({GROUP}{{{where}}}[1h]))"), rel=0.02
        )
        for share in (0.5, 0.9, 0.99):
            expected = ask(
                f"histogram_quantile({share}, sum by (le) (increase({SECONDS}{{{where}}}[1h])))"
            )
            assert traffic[f"p{share * 100:.0f}"] == pytest.approx(expected, rel=0.02)
        last = ask(f"max(max_over_time(mcp_tool_call_last_timestamp_seconds{{{where}}}[1h]))")
        assert traffic["last"] in (None, pytest.approx(last))


@pytest.mark.parametrize("flag", ["--prometheus.url", "--web.url"])
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "localhost:9090"])
def test_nobody_there_is_one_clear_line(
    flag: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", flag, url]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mcp-exporter: {flag}: ")
    assert error.count("\n") == 1

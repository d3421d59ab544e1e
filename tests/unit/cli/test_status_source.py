"""Who is asked, and how: a scrape, or Prometheus; one clear line where nobody replies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from exporter.cli import status_source
from exporter.cli.status_source import StatusData
from exporter.config.errors import ConfigError

SCRAPE = """\
mcp_exporter_build_info{version="1"} 1
mcp_server_health_state{server="files",state="ok"} 0
mcp_server_health_state{server="files",state="error"} 1
mcp_server_last_success_timestamp_seconds{server="files"} 1.5e9
mcp_server_tools{server="files"} 2
mcp_probes_total{server="files",result="success"} 7
mcp_probes_total{server="files",result="timeout"} 3
mcp_probes_total{server="files",result="connect_error"} 0
mcp_tool_calls_total{server="files",tool="read",outcome="ok"} 4
mcp_tool_call_duration_seconds_bucket{server="files",tool="read",le="0.1"} 3
mcp_tool_call_duration_seconds_bucket{server="files",tool="read",le="+Inf"} 4
mcp_tool_call_last_timestamp_seconds{server="files",tool="read"} 1.6e9
"""


class Asked(list[tuple[str, str | None]]):
    """The paths that were asked for, and with what credentials."""

    url = ""


@contextmanager
def replying(*replies: tuple[int, str]) -> Iterator[Asked]:
    """A server that gives these replies, the last again and again."""
    asked, left = Asked(), list(replies)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            status, text = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        asked.url = f"http://127.0.0.1:{server.server_port}"
        yield asked
        server.shutdown()


def test_a_scrape_is_all_that_the_exporter_counted() -> None:
    with replying((200, SCRAPE)) as asked:
        found = status_source.ask_exporter(f"{asked.url}/")
    assert asked == [("/metrics", None)]
    assert found == StatusData(
        "since the exporter started",
        states={"files": "error"},
        seen={"files": 1.5e9},
        failed_probes={("files", "timeout"): 3},
        tools={"files": 2},
        calls={("files", "read", "ok"): 4},
        buckets={("files", "read"): {0.1: 3.0, float("inf"): 4.0}},
        last={("files", "read"): 1.6e9},
    )
    assert found.only("files") == found
    assert found.only("f").states == {}


def vector(*series: tuple[dict[str, str], float]) -> tuple[int, str]:
    result = [{"metric": labels, "value": [0, str(value)]} for labels, value in series]
    return 200, json.dumps({"status": "success", "data": {"result": result}})


def test_prometheus_is_asked_for_the_window_and_for_when_the_state_came() -> None:
    labels = {"server": "files", "state": "error"}
    values = [[10, "0"], [20, "1"], [30, "0"], [40, "1"], [50, "1"]]
    history: dict[str, Any] = {"data": {"result": [{"metric": labels, "values": values}]}}
    calls = ({"server": "files", "tool": "read", "outcome": "ok"}, 4.5)
    not_known = ({"server": "files", "tool": "read"}, float("nan"))
    replies = [vector((labels, 1)), vector(), vector(), vector(), vector(calls), vector()]
    with replying(*replies, vector(not_known), (200, json.dumps(history))) as asked:
        found = status_source.ask_prometheus(asked.url, 5400)
    assert found == StatusData(
        "of the last 1h30m",
        states={"files": "error"},
        since={"files": 40.0},
        calls={("files", "read", "ok"): 4.5},
    )
    assert "%5B5400000ms%5D" in asked[4][0]
    assert "%5B300000ms%5D" in asked[3][0]
    assert asked[-1][0].startswith("/api/v1/query_range?")


def test_a_login_in_the_url_is_sent_and_never_shown() -> None:
    with replying((401, "")) as asked:
        url = asked.url.replace("//", "//ada:s%40cret@")
        with pytest.raises(ConfigError) as caught:
            status_source.ask_exporter(url)
        with pytest.raises(ConfigError) as other:
            status_source.ask_prometheus(url, 60)
    assert asked[0] == ("/metrics", "Basic YWRhOnNAY3JldA==")
    for problem in (caught, other):
        assert "replies 401; is it the right one?" in str(problem.value)
        assert "cret" not in str(problem.value)


def test_no_proxy_stands_between_this_machines_own_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with replying((200, SCRAPE)) as asked:
        assert status_source.ask_exporter(asked.url).states == {"files": "error"}
        with pytest.raises(ConfigError, match="cannot be reached"):
            status_source.ask_exporter("http://exporter.example")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [("<html>", "unreadable"), ("up 1\n", "is not mcp-exporter"), ("", "is not")],
)
def test_another_program_is_told_from_the_exporter(text: str, problem: str) -> None:
    with replying((200, text)) as asked, pytest.raises(ConfigError, match=problem):
        status_source.ask_exporter(asked.url)


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"data": 5}', "{}"])
def test_another_program_is_told_from_prometheus(text: str) -> None:
    with (
        replying((200, text)) as asked,
        pytest.raises(ConfigError, match="does not reply as Prometheus does"),
    ):
        status_source.ask_prometheus(asked.url, 60)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://127.0.0.1:9", r"cannot be reached: connection refused; is it running\?$"),
        ("localhost:9090", 'is no URL; start it with "http://"$'),
        ("http://[::1", "cannot be reached: "),
        ("http://", "cannot be reached: "),
    ],
)
def test_nobody_there_is_one_clear_line(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        status_source.ask_exporter(url)
    assert "\n" not in str(caught.value)
    assert "object at" not in str(caught.value)

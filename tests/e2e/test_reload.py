"""Reloading the configuration of a real exporter: whole, or not at all."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.support.certificates import Authority
from tests.support.demo_servers import command
from tests.support.running import free_address, running, wait_for

SECONDS = 30.0
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


@dataclass
class Exporter:
    """A running exporter and its configuration."""

    config: Path
    mcp: str
    web: str
    pid: int

    def configure(self, **servers: object) -> None:
        """Write another configuration."""
        self.config.write_text(json.dumps({"mcpServers": servers, "probe": {"enabled": False}}))

    def reload(self) -> requests.Response:
        """Ask for a reload."""
        return requests.post(f"http://{self.web}/-/reload", timeout=60)

    def metrics(self) -> str:
        """A scrape."""
        return requests.get(f"http://{self.web}/metrics", timeout=60).text

    def post(self, server: str, body: object, **headers: str) -> requests.Response:
        """A POST to a server."""
        url = f"http://{self.mcp}/{server}/mcp"
        return requests.post(url, json=body, headers={**ACCEPT, **headers}, timeout=30)


def echo(**more: object) -> dict[str, object]:
    program, *arguments = command("echo")
    return {"command": program, "args": arguments, **more}


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    mcp, web = free_address(), free_address()
    found = Exporter(tmp_path / "mcp.json", mcp, web, 0)
    found.configure(kept=echo(), leaving=echo())
    words = [sys.executable, "-m", "exporter", "serve", "--config.file", str(found.config)]
    words += ["--mcp.listen-address", mcp, "--web.listen-address", web]
    log = tmp_path / "log"
    with running(words, f"http://{web}/-/ready", log) as process:
        found.pid = process.pid
        yield found
    assert "Traceback" not in log.read_text()


def test_unchanged_servers_keep_their_sessions_and_removed_ones_their_series_lose(
    exporter: Exporter,
) -> None:
    begun = exporter.post("kept", INITIALIZE)
    session = begun.headers["Mcp-Session-Id"]
    assert 'mcp_server_up{server="leaving"}' in exporter.metrics()
    exporter.configure(kept=echo(), added=echo())
    answer = exporter.reload()
    assert (answer.status_code, answer.text) == (
        200,
        "The configuration was reloaded: 1 added, 0 changed, 1 removed\n",
    )
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert exporter.post("kept", ping, **{"Mcp-Session-Id": session}).status_code == 200
    assert exporter.post("added", INITIALIZE).status_code == 200
    assert exporter.post("leaving", INITIALIZE).status_code == 404
    wait_for(lambda: 'server="leaving"' not in exporter.metrics(), SECONDS, "its series go")


def test_a_changed_server_is_started_anew(exporter: Exporter) -> None:
    session = exporter.post("kept", INITIALIZE).headers["Mcp-Session-Id"]
    exporter.configure(kept=echo(env={"GREETING": "hello"}), leaving=echo())
    assert "1 changed" in exporter.reload().text
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert exporter.post("kept", ping, **{"Mcp-Session-Id": session}).status_code == 404
    assert exporter.post("kept", INITIALIZE).status_code == 200


def test_a_bad_configuration_changes_nothing_and_says_why(exporter: Exporter) -> None:
    exporter.config.write_text('{"mcpServers": {"kept": {"command": "x", "url": "http://x"}}}')
    answer = exporter.reload()
    assert answer.status_code == 500
    assert str(exporter.config) in answer.text
    assert answer.text.count("\n") == 1
    assert "mcp_exporter_config_last_reload_successful 0.0" in exporter.metrics()
    assert exporter.post("leaving", INITIALIZE).status_code == 200
    exporter.configure(kept=echo())
    assert exporter.reload().status_code == 200
    assert "mcp_exporter_config_last_reload_successful 1.0" in exporter.metrics()


def test_a_broken_file_of_a_servers_tls_changes_nothing_and_says_why(exporter: Exporter) -> None:
    authority = Authority(exporter.config.parent)
    secure = {"url": "https://127.0.0.1:1/mcp", "tls": {"ca_file": str(authority.file)}}
    exporter.configure(kept=echo(), secure=secure)
    assert exporter.reload().status_code == 200
    session = exporter.post("kept", INITIALIZE).headers["Mcp-Session-Id"]
    exporter.configure(kept=echo(env={"GREETING": "hello"}), secure=secure, added=echo())
    authority.file.write_text("-----BEGIN CERTIFICATE-----\nhalf")
    answer = exporter.reload()
    assert (answer.status_code, answer.text.count("\n")) == (500, 1)
    assert f"{authority.file}: holds no certificate in PEM" in answer.text
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert exporter.post("kept", ping, **{"Mcp-Session-Id": session}).status_code == 200
    assert exporter.post("secure", ping).status_code == 502  # there, and nothing listens
    assert exporter.post("added", ping).status_code == 404


def test_the_hang_up_signal_reloads(exporter: Exporter) -> None:
    exporter.configure(other=echo())
    os.kill(exporter.pid, signal.SIGHUP)
    wait_for(lambda: 'mcp_server_up{server="other"}' in exporter.metrics(), SECONDS, "it reloads")


def test_only_post_reloads(exporter: Exporter) -> None:
    answer = requests.get(f"http://{exporter.web}/-/reload", timeout=60)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


def test_the_configuration_is_shown_without_secrets(exporter: Exporter) -> None:
    secret = "planted-7f3a"
    exporter.configure(
        kept=echo(env={"API_KEY": secret}),
        remote={"url": f"http://user:{secret}@127.0.0.1:1/mcp?key={secret}",
                "headers": {"Authorization": f"Bearer {secret}"}},
    )  # fmt: skip
    assert exporter.reload().status_code == 200
    shown = requests.get(f"http://{exporter.web}/config", timeout=60).text
    assert secret not in shown
    assert "API_KEY: <secret>" in shown
    assert "Authorization: <secret>" in shown


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[Exporter]:
    """An exporter that looks into a directory by itself, beside a configuration file."""
    mcp, web = free_address(), free_address()
    found = Exporter(tmp_path / "mcp.json", mcp, web, 0)
    found.configure(kept=echo())
    folder = tmp_path / "servers.d"
    folder.mkdir()
    words = [sys.executable, "-m", "exporter", "serve", "--config.file", str(found.config)]
    words += ["--config.directory", str(folder), "--config.reload-interval", "200ms"]
    words += ["--mcp.listen-address", mcp, "--web.listen-address", web]
    log = tmp_path / "log"
    with running(words, f"http://{web}/-/ready", log) as process:
        found.pid = process.pid
        yield found
    assert "Traceback" not in log.read_text()


def test_servers_come_and_go_with_the_files_of_a_directory(registered: Exporter) -> None:
    folder = registered.config.parent / "servers.d"

    def is_served(name: str) -> bool:
        return f'mcp_server_up{{server="{name}"}}' in registered.metrics()

    session = registered.post("kept", INITIALIZE).headers["Mcp-Session-Id"]
    fresh = folder / ".a.yml.new"
    fresh.write_text(json.dumps({"servers": {"@team/added": echo()}}))
    fresh.rename(folder / "a.yml")
    wait_for(lambda: is_served("@team/added"), SECONDS, "it is served")
    assert registered.post("@team/added", INITIALIZE).status_code == 200

    # A wrong file changes nothing, and is counted.
    (folder / "a.yml").write_text("servers: {'@team/added': {comand: x}}\n")
    failed = "mcp_exporter_config_files_failed 1.0"
    wait_for(lambda: failed in registered.metrics(), SECONDS, "it is counted")
    assert registered.post("@team/added", INITIALIZE).status_code == 200

    (folder / "a.yml").unlink()
    wait_for(lambda: not is_served("@team/added"), SECONDS, "its series are gone")
    assert registered.post("@team/added", INITIALIZE).status_code == 404
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert registered.post("kept", ping, **{"Mcp-Session-Id": session}).status_code == 200

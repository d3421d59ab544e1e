"""The configuration as it may be shown: nothing secret in it."""

from __future__ import annotations

import pytest
import yaml

from exporter.config import redacted
from exporter.config.load import parse_config
from exporter.config.model import HIDDEN

SECRET = "s3cr3t-value"
TEXT = f"""
servers:
  shell:
    command: npx
    args: [-y, server, --api-key={SECRET}, --token, {SECRET}]
    env: {{API_KEY: {SECRET}, PATH: /usr/bin}}
    cwd: /srv
    timeout: 90s
  web:
    url: https://user:{SECRET}@mcp.example:8443/mcp?key={SECRET}
    headers: {{Authorization: Bearer {SECRET}, X-Other: {SECRET}}}
    probe: {{interval: 10s, timeout: 2s}}
limits: {{clients: 7}}
"""


def shown() -> str:
    return redacted.render(parse_config(TEXT, "mcp.yml", {}))


def test_no_secret_is_shown() -> None:
    text = shown()
    assert SECRET not in text
    assert "API_KEY" in text
    assert "Authorization" in text


def test_what_is_not_secret_is_shown() -> None:
    whole = yaml.safe_load(shown())
    shell, web = whole["mcpServers"]["shell"], whole["mcpServers"]["web"]
    assert (shell["type"], shell["command"], shell["cwd"]) == ("stdio", "npx", "/srv")
    assert shell["args"][:2] == ["-y", "server"]
    assert shell["timeout"] == "1m30s"
    assert web["type"] == "http"
    assert "mcp.example:8443/mcp" in web["url"]
    assert web["probe"]["interval"] == "10s"
    assert whole["limits"]["clients"] == 7


ARGUMENTS = (
    "command: x, args: ['--pat', '${S}']",
    "command: x, args: ['--dsn=${S}', '-p', '${S}', '-e', 'AWS_KEY=${S}']",
    "command: x, args: ['{\"key\": \"${S}\"}', 'X-Key: ${env:S}', '${file:s}']",
    "command: x, args: ['${input:s}', '${S:-other}']",
)
OTHERS = ("command: 'run-${S}', cwd: '/srv/${S}'", "url: 'http://h/${S}/mcp'")


@pytest.mark.parametrize(
    ("settings", "secret"),
    [
        *((settings, "hunter2") for settings in (*ARGUMENTS, *OTHERS)),
        *((settings, "7") for settings in ARGUMENTS),
    ],
)
def test_what_came_from_a_variable_or_a_file_is_not_shown(settings: str, secret: str) -> None:
    environ = {"S": secret, "MCP_EXPORTER_INPUT_S": secret}
    text = f"servers: {{a: {{{settings}}}}}"
    config = parse_config(text, "mcp.yml", environ, lambda _: f"{secret}\n")
    entry = yaml.safe_load(redacted.render(config))["mcpServers"]["a"]
    shown = {key: entry.get(key) for key in ("command", "args", "url", "cwd")}
    assert secret not in str(shown)
    assert HIDDEN in str(shown)


def test_what_every_process_has_is_no_secret() -> None:
    text = "servers: {a: {command: x, args: ['${HOME}/a', '${userHome}', '${workspaceFolder}']}}"
    config = parse_config(text, "/srv/mcp.yml", {"HOME": "/home/user"})
    entry = yaml.safe_load(redacted.render(config))["mcpServers"]["a"]
    assert entry["args"] == ["/home/user/a", "/home/user", "/srv"]


def test_what_a_server_does_not_have_is_not_shown() -> None:
    whole = yaml.safe_load(shown())
    assert "url" not in whole["mcpServers"]["shell"]
    assert not {"command", "args", "env", "cwd"} & set(whole["mcpServers"]["web"])


def test_every_time_is_written_as_the_file_has_it() -> None:
    whole = yaml.safe_load(shown())
    assert whole["limits"]["read_timeout"] == "30s"
    assert whole["limits"]["request_bytes"] == 4 * 1024 * 1024
    shell = whole["mcpServers"]["shell"]
    times = (shell["timeout"], shell["idle_timeout"], shell["probe"]["list_interval"])
    assert times == ("1m30s", "30m", "5m")
    given = {"servers": {"a": {"command": "x", "probe": shell["probe"]}}, "limits": whole["limits"]}
    assert parse_config(yaml.safe_dump(given), "mcp.yml", {}).limits.clients == 7


def test_a_timeout_that_progress_renews_is_shown_as_it_is_written() -> None:
    text = "servers: {a: {command: x, timeout: {idle: 60s, total: 30m}}}"
    shown = yaml.safe_load(redacted.render(parse_config(text, "c.yaml", {})))
    assert shown["mcpServers"]["a"]["timeout"] == {"idle": "1m", "total": "30m"}

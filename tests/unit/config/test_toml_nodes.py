"""TOML says the same as YAML, and complaints name the line."""

from __future__ import annotations

import pytest

from exporter.config.errors import ConfigError
from exporter.config.load import parse_config

TOML = """
timeout = "1m"

[servers.files]
command = "cat"
args = ["-u", "x"]
env = { KEY = "value", NUMBER = 5 }

[servers."@scope/web"]   # a comment
url = "http://127.0.0.1/mcp"

[servers."@scope/web".probe]
enabled = false
interval = "1m"
"""
YAML = """
timeout: 1m
servers:
  files: {command: cat, args: ["-u", x], env: {KEY: value, NUMBER: 5}}
  "@scope/web": {url: "http://127.0.0.1/mcp", probe: {enabled: false, interval: 1m}}
"""


def test_it_means_what_the_same_in_yaml_means() -> None:
    assert parse_config(TOML, "mcp.toml", {}) == parse_config(YAML, "mcp.yml", {})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", 'mcp.toml: is empty; add a "servers" mapping'),
        ("# nothing\n", 'mcp.toml: is empty; add a "servers" mapping'),
        ("[servers.a\n", "mcp.toml:1: not valid TOML: Expected ']' at the end of a table"),
        ("[servers.a]\nurl = \n", "mcp.toml:2: not valid TOML: Invalid value"),
        ('[servers.a]\ncommand = "', "mcp.toml:2: not valid TOML: Unterminated string"),
        ('[servers.a]\ncommand = "x"\nfoo = 1\n', "mcp.toml:3: servers.a.foo: unknown key"),
        ('[servers]\na.command = "x"\na.foo = 1\n', "mcp.toml:3: servers.a.foo: unknown key"),
        ('\n[servers]\na = {comand = "x"}\n', "mcp.toml:3: servers.a.comand: unknown key"),
        ('[servers.a]\ncommand = "x"\n[servers.a.env]\nB = 1979-05-27\n', "mcp.toml:4: "),
        ("[servers.'a b']\ncommand = 5\n", 'mcp.toml:2: servers."a b".command: must be a string'),
        ("[[servers]]\na = 1\n", "mcp.toml:1: servers: must be a mapping, not a list"),
        ("a = " + "[" * 3000 + "]" * 3000, "mcp.toml:1: not valid TOML: nested too deeply"),
    ],
)
def test_a_complaint_names_the_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_config(text, "mcp.toml", {})
    assert str(raised.value).startswith(complaint)

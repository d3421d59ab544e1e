"""What import tells the exporter of remote servers, and how it reads it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from exporter.cli.desktop import own_config
from exporter.cli.desktop.own_config import OwnConfig
from exporter.config.errors import ConfigError
from exporter.config.load import load_config

BASE = "http://127.0.0.1:6279"


@pytest.fixture
def own(tmp_path: Path) -> OwnConfig:
    return OwnConfig(tmp_path / "exporter.yml", f"{BASE}/")


def test_what_was_written_is_served_under_urls_of_our_own(
    own: OwnConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST", "mcp.example")
    said = own.write(
        {
            "@scope/a b": {"url": "https://${HOST}/mcp", "headers": {"X-Key": "k"}},
            "old": {"url": "https://y.example/sse", "type": "sse"},
        }
    )
    assert list(said) == [
        f"{tmp_path / 'exporter.yml'}: written for the exporter, with @scope/a b, old"
    ]
    assert own.remotes() == {
        "@scope/a b": ("https://mcp.example/mcp", f"{BASE}/%40scope/a%20b/mcp"),
        "old": ("https://y.example/sse", f"{BASE}/old/sse"),
    }
    assert "${HOST}" in (tmp_path / "exporter.yml").read_text()


def test_what_cannot_be_used_is_said_and_keeps_no_other_from_it(own: OwnConfig) -> None:
    bad, written = own.write({"bad": {"url": "ftp://x"}, "good": {"url": "https://x/mcp"}})
    assert bad.startswith("bad: left alone, for the exporter could not use it: ")
    assert written.endswith("with good")


def test_nothing_usable_writes_nothing(own: OwnConfig, tmp_path: Path) -> None:
    assert len(list(own.write({"bad": {"url": "ftp://x"}}))) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_link_that_leads_nowhere_is_not_written_through(own: OwnConfig, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    (tmp_path / "exporter.yml").symlink_to(target)
    assert own.is_there
    assert own.remotes() == {}
    with pytest.raises(ConfigError, match="cannot be written: file exists"):
        list(own.write({"good": {"url": "https://x/mcp"}}))
    assert not target.exists()


def test_our_own_servers_are_no_remote_ones(own: OwnConfig, tmp_path: Path) -> None:
    assert own.entry({"url": f"{BASE}/a/mcp"}, tmp_path / "mcp.json") == {}
    assert own.entry({}, tmp_path / "mcp.json") == {}


def test_a_file_gets_no_more_of_the_exporter_than_of_its_client(
    own: OwnConfig, tmp_path: Path
) -> None:
    (tmp_path / "vault").write_text("hunter2")
    entry = {
        "url": "https://x/mcp",
        "headers": {"A": "${file:vault}", "B": "x${file:vault}${LEVEL:-b}", "C": "$${file:vault}"},
    }
    list(own.write({"a": own.entry(entry, tmp_path / "mcp.json")}))
    headers = load_config(tmp_path / "exporter.yml", {}).servers["a"].headers
    assert headers == {"A": "${file:vault}", "B": "x${file:vault}b", "C": "${file:vault}"}


def test_gemini_writes_variables_without_braces(
    own: OwnConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_HOST", "x.example")
    path = tmp_path / ".gemini" / "settings.json"
    entry = own.entry({"url": "https://$MCP_HOST/mcp", "headers": {"P": "5$"}}, path)
    assert entry == {"url": "https://${MCP_HOST}/mcp", "headers": {"P": "5$"}}
    assert own_config.expander(path)("https://$MCP_HOST/mcp") == "https://x.example/mcp"
    assert own_config.expander(tmp_path / "mcp.json")("$MCP_HOST") == "$MCP_HOST"
    assert own_config.expander(tmp_path / "mcp.json")("${NOT_SET}") == "${NOT_SET}"


def test_the_file_is_for_its_owner_alone(own: OwnConfig, tmp_path: Path) -> None:
    list(own.write({"a": {"url": "https://x/mcp"}}))
    assert (tmp_path / "exporter.yml").stat().st_mode & 0o777 == 0o600
    assert list(json.loads((tmp_path / "exporter.yml").read_text())["servers"]) == ["a"]

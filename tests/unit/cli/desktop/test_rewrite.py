"""A client's file is changed where it must be, and nowhere else."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest

from exporter.cli.desktop import rewrite
from exporter.cli.desktop.rewrite import ExporterRoute
from exporter.cli.desktop.syntax import JSON, TOML, Syntax, syntax_of
from tests.support.paths import TESTDATA

FOLDER = TESTDATA / "clients"
FILES = sorted(FOLDER.iterdir())
PROGRAM = "/opt/bin/mcp-exporter"
REMOTES = {
    name: (url, f"http://127.0.0.1:6279/{name}/{place}")
    for name, url, place in (
        ("github", "https://api.githubcopilot.com/mcp/", "mcp"),
        ("linear", "https://mcp.linear.app/sse", "sse"),
        ("docs", "https://learn.microsoft.com/api/mcp", "mcp"),
        ("figma", "https://mcp.figma.com/mcp", "mcp"),
        ("events", "https://events.example.com/sse", "sse"),
        ("remote", "http://localhost:7000/mcp", "mcp"),
    )
}
ISOLATED = ("/opt/bin/python", "-E", "-P", "-m", "exporter")
ROUTE = ExporterRoute([PROGRAM], REMOTES, ISOLATED)


def text_of(path: Path) -> str:
    return path.read_bytes().decode()


def rewritten(text: str, route: ExporterRoute = ROUTE, syntax: Syntax = JSON) -> str:
    return rewrite.apply(text, rewrite.find(text, route, syntax))


def decoded(text: str, path: Path) -> Any:
    value = syntax_of(path).read(text)
    return value.decoded() if value is not None else {}


def entries(value: Any) -> dict[str, dict[str, Any]]:
    """Every server of a decoded file."""
    projects = [each.get("mcpServers", {}) for each in value.get("projects", {}).values()]
    listed = [value.get("mcpServers", {}), value.get("servers", {}), *projects]
    listed.append(value.get("mcp_servers", {}))
    listed += [value.get("mcp", {}).get("servers", {}), value.get("mcp.servers", {})]
    return {name: entry for servers in listed for name, entry in servers.items()}


def unwrapped(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """What the entry of a wrapped server was, if it is one."""
    if "command" not in entry:
        ours = {new: url for url, new in REMOTES.values()}
        return {
            key: ours.get(value, value) if key in ("url", "serverUrl") else value
            for key, value in entry.items()
        }
    is_free = "PYTHONPATH" not in entry.get("env", {}) and "envFile" not in entry
    own = [*([PROGRAM] if is_free else ISOLATED), "wrap", name, "--"]
    words = [entry["command"], *entry["args"]]
    assert words[: len(own)] == own
    command, *arguments = words[len(own) :]
    return {**entry, "command": command, "args": arguments}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_server_runs_as_before_behind_the_exporter(path: Path) -> None:
    before = decoded(text_of(path), path)
    after = decoded(rewritten(text_of(path), syntax=syntax_of(path)), path)
    found = {name: unwrapped(entry, name) for name, entry in entries(after).items()}
    expected = {
        name: {**entry, "args": entry.get("args", [])} if "command" in entry else entry
        for name, entry in entries(before).items()
    }
    assert found == expected
    assert expected


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_second_time_changes_nothing(path: Path) -> None:
    syntax = syntax_of(path)
    once = rewritten(text_of(path), syntax=syntax)
    assert once != text_of(path)
    assert rewritten(once, syntax=syntax) == once
    assert rewritten(once, ExporterRoute(["/elsewhere/mcp-exporter"], REMOTES), syntax) == once


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_but_commands_arguments_and_addresses_is_touched(path: Path) -> None:
    before, after = text_of(path), rewritten(text_of(path), syntax=syntax_of(path))
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    kept = sum(size for _, _, size in matcher.get_matching_blocks())
    servers = entries(decoded(before, path)).values()
    exchanged = [
        entry.get("command") or entry.get("url") or entry["serverUrl"] for entry in servers
    ]
    assert len(before) - kept <= sum(len(json.dumps(each)) for each in exchanged)


def test_comments_and_the_shape_of_lists_stay() -> None:
    after = rewritten(text_of(FOLDER / "vscode.json"))
    for comment in ("// Servers of", '/* "old"', "// from PyPI", '// "--ignore', "/* none */"):
        assert comment in after
    assert f'"command": "{ISOLATED[0]}", // from PyPI\n' in after
    assert (
        '\t\t\t\t"wrap",\n\t\t\t\t"fetch",\n\t\t\t\t"--",\n\t\t\t\t"uvx",\n\t\t\t\t"mcp-' in after
    )


def test_line_ends_stay_those_of_the_file() -> None:
    after = rewritten(text_of(FOLDER / "cursor.json"))
    assert after.count("\n") == after.count("\r\n") > 10


def fate(entry: dict[str, Any], name: str = "x") -> str:
    (found,) = rewrite.find(json.dumps({"mcpServers": {name: entry}}), ROUTE)
    return found.fate


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"command": "x", "args": "y"}, "its args are not a list"),
        ({"type": "stdio"}, "neither a command nor a URL"),
        ({"command": "npx -y server", "args": []}, "its command holds arguments"),
        ({"command": "node", "args": ["x.js"], "dev": {"debug": {"type": "node"}}}, "debugs it"),
        ({"command": ["npx", "server"]}, "neither a command nor a URL"),
        ({"url": "https://unknown.example"}, "does not serve it"),
        ({"command": "mcp-exporter", "args": ["wrap", "x", "--", "y"]}, "already"),
        ({"command": "C:\\bin\\mcp-exporter.exe", "args": ["wrap", "--", "y"]}, "already"),
        ({"command": "py", "args": ["-m", "exporter", "wrap", "--", "y"]}, "already"),
        ({"command": "py", "args": ["-E", "-P", "-m", "exporter", "wrap", "--", "y"]}, "already"),
        ({"url": REMOTES["docs"][1]}, "already"),
    ],
)
def test_what_cannot_or_need_not_be_changed_is_left_alone(
    entry: dict[str, Any], expected: str
) -> None:
    assert expected in fate(entry)
    text = json.dumps({"mcpServers": {"x": entry}})
    assert rewritten(text) == text


def test_a_remote_server_that_the_exporter_knows_by_another_url_is_left_alone() -> None:
    assert "another URL" in fate({"url": "https://unknown.example"}, "docs")


def test_half_a_character_in_a_name_can_be_written() -> None:
    text = '{"mcpServers": {"\\ud800": {"command": "x"}}}'
    assert rewritten(text).encode()


def test_a_name_that_looks_like_a_flag_is_left_alone() -> None:
    assert "flag" in fate({"command": "x"}, "--help")


@pytest.mark.parametrize(
    "command", ["C:\\Program Files\\x.exe", "/opt/my tools/x", "${workspaceFolder}/x y", "./a b/c"]
)
def test_a_path_with_spaces_is_one_command(command: str) -> None:
    assert fate({"command": command}) == rewrite.WRAPPED


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "// nothing yet\n", "/* */ \r\n"])
def test_a_file_that_is_still_empty_has_no_servers(text: str) -> None:
    assert rewrite.find(text, ROUTE) == []


TOML_FORMS = {
    "table": ('[mcp_servers.x]\ncommand = "a" # why\n', '\nargs = ["wrap", "x", "--", "a"]\n'),
    "end of file": ('[mcp_servers.x]\ncommand="a"', '\nargs = ["wrap", "x", "--", "a"]'),
    "windows": ('[mcp_servers.x]\r\ncommand = "a"\r\n', '\r\nargs = ["wrap", "x", "--", "a"]\r\n'),
    "indented": ('[mcp_servers.x]\n\tcommand = "a"\n', '\n\targs = ["wrap", "x", "--", "a"]\n'),
    "quoted key": ("[mcp_servers.x]\n'command' = 'a'\n", '\nargs = ["wrap", "x", "--", "a"]\n'),
    "dotted": (
        'mcp_servers.x.command = "a"\n',
        '\nmcp_servers.x.args = ["wrap", "x", "--", "a"]\n',
    ),
    "inline": ('mcp_servers.x = {command = "a"}\n', ', args = ["wrap", "x", "--", "a"]}\n'),
    "dotted inline": (
        'mcp_servers = {x.command = "a"}\n',
        ', x.args = ["wrap", "x", "--", "a"]}\n',
    ),
    "many lines": (
        '[mcp_servers.x]\ncommand = """\\\n  a"""\n',
        '\nargs = ["wrap", "x", "--", "a"]\n',
    ),
}


@pytest.mark.parametrize(("text", "end"), TOML_FORMS.values(), ids=TOML_FORMS)
def test_arguments_are_added_in_the_form_that_the_table_has(text: str, end: str) -> None:
    after = rewritten(text, syntax=TOML)
    assert after.endswith(end)
    assert ("# why" in after) is ("# why" in text)
    entry = decoded(after, Path("config.toml"))["mcp_servers"]["x"]
    assert entry == {"command": PROGRAM, "args": ["wrap", "x", "--", "a"]}
    assert rewritten(after, syntax=TOML) == after


def test_a_file_that_is_not_toml_is_left_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"^line 2: "):
        rewrite.find('[mcp_servers.x]\ncommand = "', ROUTE, TOML)

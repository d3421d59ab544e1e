"""``import`` writes only when it is told to, keeps what was, and brings it back."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.main import main
from exporter.config.load import load_config
from tests.support.paths import TESTDATA

FILES = sorted((TESTDATA / "clients").iterdir())


@pytest.fixture
def told(tmp_path: Path) -> list[str]:
    """Flags that keep the test in its own folder."""
    return ["--config.file", str(tmp_path / "exporter.yml")]


def backups(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.bak"))


@pytest.mark.parametrize("original", FILES, ids=lambda path: path.stem)
def test_undo_brings_every_file_back_byte_for_byte(
    original: Path, tmp_path: Path, told: list[str]
) -> None:
    path = tmp_path / original.name
    shutil.copy(original, path)
    path.chmod(0o640)
    assert main(["import", str(path), "--write", *told]) == 0
    written = path.read_bytes()
    assert written != original.read_bytes()
    assert [each.read_bytes() for each in backups(path)] == [original.read_bytes()]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert main(["import", str(path), "--write", *told]) == 0
    assert path.read_bytes() == written
    assert len(backups(path)) == 1
    assert main(["import", str(path), "--undo", *told]) == 0
    assert path.read_bytes() == original.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert backups(path) == []


def test_without_write_nothing_is_written(
    tmp_path: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"time": {"command": "uvx"}}}')
    assert main(["import", str(path), *told]) == 0
    assert [each.name for each in tmp_path.iterdir()] == ["mcp.json"]
    printed = capsys.readouterr().out
    assert "time  stdio  runs through wrap" in printed
    assert "--write" in printed


def test_a_name_in_a_file_cannot_steer_the_terminal(
    tmp_path: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"\x1b[2Jtime\r": {"command": "uvx"}}}))
    assert main(["import", str(path), *told]) == 0
    assert "  \\x1b[2Jtime\\r  stdio  runs through wrap\n" in capsys.readouterr().out


def test_undo_keeps_what_was_changed_since(tmp_path: Path, told: list[str]) -> None:
    path = tmp_path / "mcp.json"
    before = '{"mcpServers": {"time": {"command": "uvx", "args": ["mcp-server-time"]}}, "runs": 1}'
    path.write_text(before)
    path.chmod(0o640)
    main(["import", str(path), "--write", *told])
    path.write_text(path.read_text().replace('"runs": 1', '"runs": 2'))
    assert main(["import", str(path), "--undo", *told]) == 0
    assert path.read_text() == before.replace('"runs": 1', '"runs": 2')
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert backups(path) == []
    assert [each.read_text() for each in tmp_path.glob("*.kept")] == [before]
    assert main(["import", str(path), "--undo", *told]) == 0
    assert path.read_text() == before.replace('"runs": 1', '"runs": 2')


def test_undo_by_force_brings_back_what_was(tmp_path: Path, told: list[str]) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"time": {"command": "uvx"}}}')
    main(["import", str(path), "--write", *told])
    path.write_text(path.read_text() + "\n")
    assert main(["import", str(path), "--undo", "--force", *told]) == 0
    assert path.read_text() == '{"mcpServers": {"time": {"command": "uvx"}}}'


def test_undo_spares_what_is_no_longer_json(
    tmp_path: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"time": {"command": "uvx"}}}')
    main(["import", str(path), "--write", *told])
    path.write_text("{")
    assert main(["import", str(path), "--undo", *told]) == 1
    assert path.read_text() == "{"
    assert "--force brings back" in capsys.readouterr().out


def test_a_link_stays_a_link(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "dotfiles").mkdir()
    real, link = tmp_path / "dotfiles" / "mcp.json", tmp_path / "mcp.json"
    real.write_text('{"mcpServers": {"time": {"command": "uvx"}}}')
    link.symlink_to(real)
    main(["import", str(link), "--write", *told])
    assert link.is_symlink()
    assert "wrap" in real.read_text()
    main(["import", str(link), "--undo", *told])
    assert real.read_text() == '{"mcpServers": {"time": {"command": "uvx"}}}'


def test_a_link_in_the_way_is_neither_followed_nor_trusted(tmp_path: Path, told: list[str]) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    victim = home / "authorized_keys"
    victim.write_text("owner")
    path = project / "mcp.json"
    before = '{"mcpServers": {"time": {"command": "uvx"}}}'
    path.write_text(before)
    (project / "mcp.json.mcp-exporter-new").symlink_to(victim)
    (project / "mcp.json.mcp-exporter-99999999-0-0.bak").symlink_to(victim)
    assert main(["import", str(path), "--write", *told]) == 0
    assert main(["import", str(path), "--undo", *told]) == 0
    assert path.read_text() == before
    assert not path.is_symlink()
    assert victim.read_text() == "owner"


def test_a_backup_is_never_open_to_more_than_the_file_is(tmp_path: Path, told: list[str]) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"time": {"command": "uvx"}}}')
    path.chmod(0o600)
    before = os.umask(0)
    try:
        main(["import", str(path), "--write", *told])
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
    assert modes == {0o600}


def test_a_projects_file_is_rewritten_only_where_it_is_named(
    tmp_path: Path,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    for folder in (home / ".cursor", project):
        folder.mkdir(parents=True)
    entry = {"type": "http", "url": "https://x.example/mcp", "headers": {"X": "${HUNTER_ENV}"}}
    before = json.dumps({"mcpServers": {"docs": entry, "time": {"command": "uvx"}}})
    (project / ".mcp.json").write_text(before)
    (home / ".cursor" / "mcp.json").write_text('{"mcpServers": {"own": {"command": "uvx"}}}')
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HUNTER_ENV", "hunter2")
    monkeypatch.chdir(project)
    assert main(["import", "--write", *told]) == 0
    assert (project / ".mcp.json").read_text() == before
    assert "name it to have it rewritten" in capsys.readouterr().out
    assert "wrap" in (home / ".cursor" / "mcp.json").read_text()
    assert not (tmp_path / "exporter.yml").exists()
    assert main(["import", ".mcp.json", "--write", *told]) == 0
    assert "wrap" in (project / ".mcp.json").read_text()
    assert list(load_config(tmp_path / "exporter.yml", dict(os.environ)).servers) == ["docs"]


def test_a_url_with_a_variable_is_served_and_comes_back_as_it_was(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_HOST", "https://x.example")
    path = tmp_path / "mcp.json"
    before = '{"mcpServers": {"d": {"url": "${env:MCP_HOST}/x/mcp"}}, "runs": 1}'
    path.write_text(before)
    assert main(["import", str(path), "--write", *told]) == 0
    assert '"http://127.0.0.1:6279/d/mcp"' in path.read_text()
    server = load_config(tmp_path / "exporter.yml", {"MCP_HOST": "https://x.example"}).servers["d"]
    assert server.url == "https://x.example/x/mcp"
    path.write_text(path.read_text().replace("1}", "2}"))
    assert main(["import", str(path), "--undo", *told]) == 0
    assert path.read_text() == before.replace("1}", "2}")


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        (["--mcp.listen-address", "0.0.0.0:7000"], "http://127.0.0.1:7000/d/mcp"),
        (["--mcp.listen-address", "[::]:7000"], "http://127.0.0.1:7000/d/mcp"),
        (["--mcp.listen-address", "[::1]:7000"], "http://[::1]:7000/d/mcp"),
        (["--mcp.listen-address", "localhost:7000"], "http://localhost:7000/d/mcp"),
        (["--web.external-url", "https://mcp.example.com/"], "https://mcp.example.com/d/mcp"),
    ],
)
def test_the_url_is_one_that_a_client_can_reach(
    flags: list[str], url: str, tmp_path: Path, told: list[str]
) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {"d": {"url": "https://x.example/mcp"}}}')
    for _ in range(2):
        assert main(["import", str(path), "--write", *told, *flags]) == 0
        assert json.loads(path.read_text())["mcpServers"]["d"]["url"] == url


def test_of_toml_that_changed_since_the_servers_are_brought_back(
    tmp_path: Path, told: list[str]
) -> None:
    path = tmp_path / "config.toml"
    before = (
        '# mine\n[mcp_servers.time]\ncommand = "uvx"\nargs = ["mcp-server-time"] # it\n'
        "[mcp_servers.docs]\nurl = 'https://docs.example/mcp'\nhttp_headers = {A = \"b\"}\n"
    )
    path.write_text(before)
    assert main(["import", str(path), "--write", *told]) == 0
    servers = load_config(tmp_path / "exporter.yml", {}).servers
    assert {name: dict(each.headers) for name, each in servers.items()} == {"docs": {"A": "b"}}
    path.write_text(path.read_text() + '[tui]\ntheme = "dark"\n')
    assert main(["import", str(path), "--undo", *told]) == 0
    expected = before.replace("'https://docs.example/mcp'", '"https://docs.example/mcp"')
    assert path.read_text() == expected + '[tui]\ntheme = "dark"\n'


def test_what_is_not_toml_is_left_alone_with_its_line(
    tmp_path: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[mcp_servers.time]\ncommand = "uvx\n')
    assert main(["import", str(path), *told]) == 1
    assert "left alone: line 2: " in capsys.readouterr().out


def test_the_exporter_is_told_of_remote_servers_once(tmp_path: Path, told: list[str]) -> None:
    path, own = tmp_path / "mcp.json", tmp_path / "exporter.yml"
    entry = {"type": "http", "url": "https://x.example/mcp", "headers": {"Authorization": "B c"}}
    path.write_text(json.dumps({"servers": {"a b": entry}}))
    main(["import", str(path), "--write", *told])
    server = load_config(own, {}).servers["a b"]
    assert (server.url, dict(server.headers)) == (entry["url"], entry["headers"])
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    changed = json.loads(path.read_text())["servers"]["a b"]
    assert changed == {**entry, "url": "http://127.0.0.1:6279/a%20b/mcp"}


def test_a_configuration_that_exists_is_not_touched(tmp_path: Path, told: list[str]) -> None:
    path, own = tmp_path / "mcp.json", tmp_path / "exporter.yml"
    own.write_text("servers: {other: {command: x}}\n")
    before = json.dumps({"servers": {"a": {"url": "https://x.example/mcp"}}})
    path.write_text(before)
    assert main(["import", str(path), "--write", *told]) == 0
    assert own.read_text() == "servers: {other: {command: x}}\n"
    assert path.read_text() == before


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe{}", b'{"mcpServers": '])
def test_a_file_that_cannot_be_read_is_left_alone_and_named(
    content: bytes, tmp_path: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(content)
    assert main(["import", str(path), "--write", *told]) == 1
    assert path.read_bytes() == content
    assert "left alone" in capsys.readouterr().out


def test_a_path_that_is_not_there_is_one_clear_line(
    tmp_path: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(tmp_path / "no.json"), *told]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_remote_server_that_cannot_be_relayed_keeps_no_other_from_it(
    tmp_path: Path, told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path, own = tmp_path / "mcp.json", tmp_path / "exporter.yml"
    asked = {"url": "https://x.example/mcp", "headers": {"X-Key": "${input:key}"}}
    good = {"url": "https://y.example/mcp"}
    path.write_text(json.dumps({"servers": {"asked": asked, "good": good}}))
    assert main(["import", str(path), "--write", *told]) == 0
    assert list(load_config(own, {}).servers) == ["good"]
    changed = json.loads(path.read_text())["servers"]
    assert changed["asked"] == asked
    assert changed["good"]["url"] == "http://127.0.0.1:6279/good/mcp"
    assert "asked: left alone" in capsys.readouterr().out


def test_a_server_with_a_python_path_of_its_own_is_wrapped_all_the_same(
    tmp_path: Path, told: list[str]
) -> None:
    path, project = tmp_path / "mcp.json", tmp_path / "project"
    for module in ("exporter", "select", "threading"):
        (project / module).mkdir(parents=True)
        (project / module / "__init__.py").write_text("raise SystemExit('the wrong module')")
    (project / "served.py").write_text("print('served')")
    entry = {"command": "served", "args": [], "env": {"PYTHONPATH": str(project)}}
    path.write_text(json.dumps({"mcpServers": {"own": entry}}))
    assert main(["import", str(path), "--write", *told]) == 0
    changed = json.loads(path.read_text())["mcpServers"]["own"]
    at = changed["args"].index("--")
    program = [changed["command"], *changed["args"][: at + 1]]
    served = [sys.executable, "-c", "import os; print(os.environ['PYTHONPATH'])"]
    done = subprocess.run(
        [*program, *served[:1], "-S", "-I", *served[1:]],
        env=os.environ | changed["env"] | {"MCP_EXPORTER_WRAP_SOCKET": ""},
        capture_output=True,
        text=True,
        cwd=project,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{project}\n", "", 0)

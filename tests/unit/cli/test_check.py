"""``check`` and ``probe``: what a configuration says, in words and exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli.main import main
from tests.unit.cli.conftest import complaint


def test_check_says_what_a_configuration_holds(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(config)]) == 0
    assert (
        capsys.readouterr().out == f"{config}: 2 servers, all valid\n  demo: stdio\n  other: http\n"
    )


def test_check_of_a_bad_configuration_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yml"
    path.write_text("servers: {demo: {comand: cat}}\n")
    line = complaint(capsys, "check", str(path))
    assert str(path) in line
    assert 'did you mean "command"?' in line


@pytest.mark.parametrize("command", ["check", "probe"])
def test_a_file_that_is_not_there_is_said_so(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.yml"
    line = complaint(capsys, command, str(path))
    assert line == f"{path}: cannot be read: no such file or directory; check the path"


def test_a_probe_of_an_unknown_server_names_those_that_are_known(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, "probe", str(config), "nobody")
    assert line == f"{config}: there is no server 'nobody'; it has: demo, other"


def test_a_server_that_is_lost_makes_probe_fail(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", str(config), "other"]) == 1
    assert "connect_error" in capsys.readouterr().out


def test_check_needs_none_of_what_serve_needs(config: Path) -> None:
    script = (
        "import sys; from exporter.cli.main import main; main(['check', sys.argv[1]]);"
        "print([name for name in ('httptools', 'mcp', 'prometheus_client', 'uvloop')"
        " if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(config)], check=True, capture_output=True, text=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_check_takes_a_directory_and_names_everything_that_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yml").write_text("servers: {one: {command: cat}}\n")
    (tmp_path / "b.toml").write_text('[servers.two]\ncommand = "cat"\n')
    assert main(["check", str(tmp_path)]) == 0
    expected = f"{tmp_path}: 2 servers, all valid\n  one: stdio\n  two: stdio\n"
    assert capsys.readouterr().out == expected
    (tmp_path / "c.json").write_text('{"servers": {"two": {"command": "cat"}}}')
    (tmp_path / "d.yml").write_text("servers: {three: {comand: cat}}\n")
    assert main(["check", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"mcp-exporter: {tmp_path / 'd.yml'}:1: servers.three.comand: unknown")
    assert second == (
        f"mcp-exporter: {tmp_path / 'c.json'}: two: {tmp_path / 'b.toml'} has a server of this name"
    )


def test_check_takes_a_file_of_settings_with_the_directory_of_its_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "mcp.yml", tmp_path / "servers.d"
    file.write_text("limits: {servers: 2}\n")
    folder.mkdir()
    (folder / "a.yml").write_text("servers: {one: {command: cat}}\n")
    assert main(["check", str(file), "--config.directory", str(folder)]) == 0
    assert capsys.readouterr().out == f"{file}: 1 server, all valid\n  one: stdio\n"
    assert main(["check", str(file)]) == 2
    assert "no servers; add" in capsys.readouterr().err

"""How the command line of ``wrap`` is read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from exporter.wrap import process as wrap


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["uvx", "mcp-server-time"], "mcp-server-time"),
        (
            ["npx", "-y", "@modelcontextprotocol/server-filesystem@2025.8.1", "/srv"],
            "server-filesystem",
        ),
        (["npx", "-y", "@scope/name"], "name"),
        (["/usr/bin/python3", "-m", "mcp_server_git"], "mcp_server_git"),
        (["node", "C:\\tools\\index.js"], "index"),
        (["C:\\tools\\server.exe"], "server"),
        (["python"], "python"),
    ],
)
def test_a_server_without_a_name_is_called_as_its_program(command: list[str], name: str) -> None:
    assert wrap.name_of(command) == name


@pytest.mark.parametrize(
    "words", [[], ["files"], ["files", "--"], ["a", "b", "--", "x"], ["--bad", "--", "x"]]
)
def test_a_wrong_command_line_is_explained_in_one_line(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert wrap.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert wrap.main(["--help"]) == 0
    assert "uvx" in capsys.readouterr().out


def test_nothing_heavy_is_loaded_before_the_server_starts() -> None:
    script = (
        'import sys; sys.path.insert(0, ".");from exporter.wrap import process; print(*sys.modules)'
    )
    loaded = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"asyncio", "msgspec", "prometheus_client", "logging", "typing", "socket", "uvloop"}
    assert not heavy & set(loaded)


def test_what_reads_the_copy_loads_no_metrics() -> None:
    script = "import sys; from exporter.wrap import reader; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"asyncio", "prometheus_client", "uvloop", "yaml", "mcp"} & set(loaded)

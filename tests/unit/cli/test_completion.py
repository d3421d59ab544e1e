"""Shells complete the words of the command line: asked of the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.cli.main import EXAMPLES, SHELLS, main

BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMP_LINE="$*"
COMP_POINT=${#COMP_LINE}
found=$(complete -p mcp-exporter)
[[ "$found" =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" mcp-exporter
printf '%s\\n' "${COMPREPLY[@]}"
"""

ZSH = ("zsh", "-f", "-i")
FISH = 'source "$argv[1]"; complete --do-complete "$argv[2]"'


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The completion of a shell, as the command prints it."""
    capsys: pytest.CaptureFixture[str] = request.getfixturevalue("capsys")
    shell = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    assert main(["completion", shell]) == 0
    path = tmp_path / f"mcp-exporter.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def run(folder: Path, *command: str) -> list[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


def bash(script: Path, *words: str) -> set[str]:
    """What bash offers in place of the last word."""
    command = ("bash", "--norc", "-c", BASH, "bash", str(script), "mcp-exporter", *words)
    return {word.strip() for word in run(script.parent, *command)} - {""}


@pytest.mark.parametrize("script", ["bash"], indirect=True)
def test_bash_offers_commands_flags_choices_and_files(script: Path) -> None:
    (script.parent / "own.yml").touch()
    assert set(EXAMPLES) <= bash(script, "")
    assert bash(script, "st") == {"status"}
    assert bash(script, "serve", "--web.") == {
        "--web.allowed-hosts",
        "--web.config.file",
        "--web.external-url",
        "--web.listen-address",
    }
    assert bash(script, "serve", "--log.level", "") >= {"debug", "info", "warning", "error"}
    assert bash(script, "completion", "") >= set(SHELLS)
    assert bash(script, "check", "ow") == {"own.yml"}
    assert bash(script, "serve", "--config.file", "ow") == {"own.yml"}
    assert bash(script, "status", "--repeat") == set()


@pytest.mark.parametrize("script", ["fish"], indirect=True)
def test_fish_offers_commands_flags_and_choices(script: Path) -> None:
    def offered(line: str) -> set[str]:
        found = run(script.parent, "fish", "--no-config", "-c", FISH, str(script), line)
        return {each.partition("\t")[0] for each in found}

    assert set(EXAMPLES) <= offered("mcp-exporter ")
    assert offered("mcp-exporter call --rep") == {"--repeat"}
    assert {"debug", "info"} <= offered("mcp-exporter serve --log.level ")


@pytest.mark.parametrize("script", ["zsh"], indirect=True)
def test_zsh_completes_commands_and_choices(script: Path) -> None:
    near, far = pty.openpty()
    environ = os.environ | {"TERM": "dumb", "PS1": "> "}
    with subprocess.Popen(
        ZSH,
        stdin=far,
        stdout=far,
        stderr=far,
        env=environ,
        start_new_session=True,
    ) as shell:
        try:
            type_in(
                near, f'autoload -U compinit && compinit -D; eval "$(<{script})"; print re""ady'
            )
            type_in(near, "\n", until="ready")
            type_in(near, "mcp-exporter stat\t", until="status ")
            type_in(near, "\x15mcp-exporter serve --log.level de\t", until="debug ")
        finally:
            shell.kill()
    os.close(near)
    os.close(far)


def type_in(terminal: int, keys: str, until: str = "") -> None:
    """Press keys, and read until the shell has written this."""
    os.write(terminal, keys.encode())
    seen = b""
    while until.encode() not in seen:
        assert select.select([terminal], [], [], 20)[0], seen
        seen += os.read(terminal, 4096)


def test_a_shell_that_is_not_known_is_one_line_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["completion", "tcsh"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert all(shell in line for shell in SHELLS)

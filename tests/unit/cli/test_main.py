"""Words, help and exit codes of the command line."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import exporter.cli
from exporter import __version__
from exporter.cli import check
from exporter.cli.main import EXAMPLES, main, parser


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["serve", "--nonsense"], ["check"], ["serve", "--log.level=x"]]
)
def test_arguments_that_are_none_are_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mcp-exporter: ")
    assert "--help" in line


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mcp-exporter {__version__}\n"


def test_help_names_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    text = capsys.readouterr().out
    for flag in ("--config.file", "--mcp.listen-address", "--web.listen-address", "--log.format"):
        assert flag in text
    assert "127.0.0.1:6279" in text


@pytest.mark.parametrize("command", EXAMPLES)
def test_help_has_a_word_for_everything_and_no_default_that_is_nothing(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert "(default: )" not in text
    assert not re.search(r"--([a-z]+) \1(?i:\b)", text, re.IGNORECASE)
    options = text.partition("options:")[2].partition("examples:")[0]
    arguments = text.partition("positional arguments:")[2].partition("options:")[0]
    for block in (options, arguments):
        entries = re.findall(r"^  (\S.*(?:\n {3,}.*)*)", block, re.M)
        assert [entry for entry in entries if not re.search(r"\s{2,}\S", entry)] == []


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_command_has_a_help_whose_examples_are_its_own_words(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for example in EXAMPLES[command]:
        said = re.search(r"mcp-exporter ([^>)]*)", example)
        assert said
        words = shlex.split(said[1])
        assert words[0] == command
        assert parser().parse_args(words)
    if command != "wrap":  # it has its own, which test_wrap.py knows
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        printed = capsys.readouterr().out
        assert all(f"\n  {example}\n" in printed for example in EXAMPLES[command])


def test_ctrl_c_is_code_130(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "ConfigSource", interrupt)
    assert main(["check", str(config)]) == 130


DISCOVER = (
    *("discover", "kubernetes", "--kubernetes.url=https://a:1", "--kubernetes.namespaces=a"),
    *("--kubernetes.token-file=", "--kubernetes.ca-file=", "--web.listen-address=127.0.0.1:0"),
)


@pytest.mark.parametrize(
    ("words", "package", "extra"),
    [
        (["call", "files", "read_file"], "mcp", "client"),
        (["tools", "files"], "httpx2", "client"),
        ([*DISCOVER, "--output=a.yml"], "httpx2", "kubernetes"),
    ],
)
def test_a_command_whose_package_is_lacking_names_the_extra(
    words: list[str],
    package: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for loaded in ("exporter.cli.call", "exporter.cli.discover.api"):
        monkeypatch.delitem(sys.modules, loaded, raising=False)
    monkeypatch.delattr(exporter.cli, "call", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"mcp-exporter: this command needs the package {package}, which is not installed; "
        f"run: pip install 'mcp-exporter[{extra}]'\n"
    )

"""Variables: what `${…}` stands for, and environment files."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.errors import ConfigError
from exporter.config.variables import Variables, workspace

FILES = {Path("/srv/project/secret"): "s3cret\r\n\n", Path("/etc/token"): "t0ken"}
VARIABLES = Variables(
    environ={"HOME": "/home/user", "A": "1", "EMPTY": "", "MCP_EXPORTER_INPUT_API_KEY_2": "key"},
    workspace=Path("/srv/project"),
    read_file=FILES.__getitem__,
)


def env_file(text: str) -> dict[str, str]:
    return Variables(
        {}, Path("/srv/project"), {Path("/srv/project/.env"): text}.__getitem__
    ).read_env_file(".env")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("plain", "plain"),
        ("${A}", "1"),
        ("${env:A}", "1"),
        ("x${A}y${A}z", "x1y1z"),
        ("${EMPTY}", ""),
        ("${A:-b}", "1"),
        ("${B:-b}", "b"),
        ("${B:-}", ""),
        ("${env:B:-b:-c}", "b:-c"),
        ("${EMPTY:-b}", "b"),
        ("${B:-two\nlines}", "two\nlines"),
        ("${workspaceFolder}/x", "/srv/project/x"),
        ("${workspaceFolderBasename}", "project"),
        ("${userHome}", "/home/user"),
        ("a${pathSeparator}b${/}c", "a/b/c"),
        ("${input:api-key 2}", "key"),
        ("${file:secret}", "s3cret"),
        ("${file:/etc/token}", "t0ken"),
        ("$A $$A $", "$A $$A $"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("a}b{c", "a}b{c"),
    ],
)
def test_a_reference_stands_for(written: str, meant: str) -> None:
    assert VARIABLES.expand(written) == meant


def test_what_a_variable_stands_for_is_not_expanded_again() -> None:
    variables = Variables({"A": "${B}", "B": "no"}, Path("/"), FILES.__getitem__)
    assert variables.expand("${A} ${C:-$B}") == "${B} $B"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("${B}", "${B} is not set; set it, or write ${B:-default}"),
        ("${env:B}", "${B} is not set; set it, or write ${B:-default}"),
        (
            "${input:github-token}",
            "${input:github-token} cannot be asked for here; set MCP_EXPORTER_INPUT_GITHUB_TOKEN",
        ),
        ("${", 'has a "${" without its "}"'),
        ("${A", 'has a "${" without its "}"'),
        ("${A:-${B}}", 'has a "${" without its "}" (or one inside another)'),
        ("${}", 'has a "${…}" that is no variable; write "${NAME}", or "$${"'),
        ("${1A}", "no variable"),
        ("${A-b}", "no variable"),
        ("${config:x}", "no variable"),
        ("${größe}", "no variable"),
    ],
)
def test_a_reference_without_a_value_is_rejected(written: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VARIABLES.expand(written)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("A=b", {"A": "b"}),
        ("export A = b ", {"A": "b"}),
        ("A=", {"A": ""}),
        ("A=b c # note", {"A": "b c"}),
        ("A=b#c", {"A": "b#c"}),
        ("A=b=c", {"A": "b=c"}),
        ("A='b # $C \\n' # note", {"A": "b # $C \\n"}),
        ('A="b\\n\\"c\\"\\\\d # e" # note', {"A": 'b\n"c"\\d # e'}),
        ('A="${B}"', {"A": "${B}"}),
        ("# A=b", {}),
        ("  \t", {}),
        ("A=b\n\n#\nC=d\r\nA=e", {"A": "e", "C": "d"}),
    ],
)
def test_an_env_file_says(line: str, values: dict[str, str]) -> None:
    assert env_file(line) == values


@pytest.mark.parametrize("line", ["A", "=b", "1A=b", 'A="b', "A='b", 'A="b"c', "A b=c"])
def test_a_line_that_is_no_assignment_is_named_but_not_shown(line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        env_file(f"# first\n{line}")
    assert str(caught.value) == ".env:2: not NAME=VALUE; mend or comment out the line"


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/srv/mcp.yaml", "/srv"),
        ("/srv/.vscode/mcp.json", "/srv"),
        ("/srv/.cursor/mcp.json", "/srv"),
        ("/srv/.config/mcp.json", "/srv/.config"),
        ("/srv/.vscode/deeper/mcp.json", "/srv/.vscode/deeper"),
    ],
)
def test_the_workspace_is_where_the_file_is_or_the_editors_folder(path: str, folder: str) -> None:
    assert workspace(Path(path)) == Path(folder)


def test_a_relative_path_gives_an_absolute_workspace() -> None:
    assert workspace(Path("mcp.yaml")) == Path.cwd()

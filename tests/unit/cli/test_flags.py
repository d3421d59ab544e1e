"""Flags take their defaults from the environment, which may be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exporter.cli.main import main
from tests.unit.cli.conftest import complaint


@pytest.mark.parametrize(
    ("value", "allowed"), [("true", True), ("1", True), ("YES", True), ("no", False), ("", False)]
)
def test_a_switch_may_be_set_by_the_environment(
    config: Path,
    served: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    allowed: bool,
) -> None:
    monkeypatch.setenv("MCP_EXPORTER_MCP_ALLOW_UNAUTHENTICATED", value)
    arguments = ["serve", f"--config.file={config}", "--mcp.listen-address=0.0.0.0:1"]
    assert main(arguments) == (0 if allowed else 2)
    assert len(served) == (2 if allowed else 1)


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("LOG_LEVEL", "loud", "is not one of debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "is not one of text, json"),
        ("MCP_ALLOW_UNAUTHENTICATED", "perhaps", "is neither true nor false"),
    ],
)
def test_a_bad_value_in_the_environment_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    mend: str,
) -> None:
    monkeypatch.setenv(f"MCP_EXPORTER_{name}", value)
    line = complaint(capsys, "serve")
    assert line == f"MCP_EXPORTER_{name}: {value!r} {mend}"


@pytest.mark.parametrize("name", ["LOG_LEVEL", "LOG_CALLS"])
def test_a_bad_value_in_the_environment_is_of_no_concern_to_other_commands(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(f"MCP_EXPORTER_{name}", "perhaps")
    line = complaint(capsys, "check", str(tmp_path / "gone.json"))
    assert "no such file or directory" in line
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    assert ended.value.code == 0

"""What the tests of the command line share."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import flags, serve
from exporter.cli.main import main
from exporter.telemetry import logs

CONFIG = "servers: {demo: {command: cat}, other: {url: 'http://127.0.0.1:1/mcp'}}\n"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(flags.ENVIRONMENT):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """A command sends the log to the stderr of its own test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.yml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """With what settings the exporter would have run."""
    settings: list[Any] = []

    async def run(_: object, given: object) -> None:
        settings.append(given)

    monkeypatch.setattr(serve, "_run", run)
    monkeypatch.setattr(logs, "configure", lambda *given: settings.append(given))
    return settings


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command ends with."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("mcp-exporter: ")
    return line.removeprefix("mcp-exporter: ")

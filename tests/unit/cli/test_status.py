"""``status`` draws in place, and says what is wrong instead of ending."""

from __future__ import annotations

import pytest

from exporter.cli import status, status_source
from exporter.cli.main import main
from exporter.cli.status import screen
from exporter.cli.status_source import StatusData
from exporter.config.errors import ConfigError


def test_a_screen_takes_the_place_of_the_one_before() -> None:
    assert screen("a\nb\n", 5) == "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"


def test_what_does_not_fit_is_said_and_nothing_scrolls() -> None:
    lines = screen("".join(f"{number}\n" for number in range(30)), 24).splitlines()
    assert len(lines) == 24
    assert lines[0] == "\x1b[H0\x1b[K"
    assert lines[-2] == "… 8 more lines\x1b[K"


def test_a_watch_goes_on_while_nobody_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def ask(url: str) -> StatusData:
        asked.append(url)
        if len(asked) == 1:
            raise ConfigError("--web.url: cannot be reached")
        return StatusData("since the exporter started", states={"files": "error"})

    def sleep(_: float) -> None:
        if len(asked) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(status_source, "ask_exporter", ask)
    monkeypatch.setattr(status, "sleep", sleep)
    assert main(["status", "--watch", "--web.url", "http://a:1"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("--web.url: cannot be reached\nCalls since the exporter started\n")
    assert asked == ["http://a:1"] * 2

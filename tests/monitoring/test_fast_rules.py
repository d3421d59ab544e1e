"""The faster rules of the end-to-end tests differ from the committed ones in time alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.alert_rules import FILES, PROMETHEUS
from tests.support.fast_rules import shorter, speed_up, speed_up_routes
from tests.support.tools import succeeds


def test_a_minute_lasts_three_seconds() -> None:
    assert [shorter(text) for text in ("0s", "15s", "1m", "1h")] == ["0s", "750ms", "3s", "180s"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_duration_of_the_rules_is_shorter(path: Path, tmp_path: Path) -> None:
    committed = path.read_text(encoding="utf-8")
    made = speed_up(committed)
    (tmp_path / path.name).write_text(made)
    succeeds("promtool", "check", "rules", tmp_path / path.name)
    for line in made.splitlines():
        assert not re.search(r"[\[:]\d+[mhd][\]:]|offset \d+[mhd]|(for|interval): \d+[mhd]$", line)
    changed = zip(committed.splitlines(), made.splitlines(), strict=True)
    for before, after in changed:
        assert re.sub(r"\d+(ms|[smhd])?", "#", before) == re.sub(r"\d+(ms|[smhd])?", "#", after)


def test_at_their_own_pace_the_rules_say_the_same(tmp_path: Path) -> None:
    for path in FILES:
        committed = path.read_text(encoding="utf-8")
        (tmp_path / path.name).write_text(speed_up(committed, 1))
        succeeds("promtool", "check", "rules", tmp_path / path.name)
    assert shorter("1d", 1) == "86400s"


def test_the_routes_are_faster_and_their_comments_stay() -> None:
    committed = (PROMETHEUS / "alertmanager.yml").read_text(encoding="utf-8")
    made = speed_up_routes(committed)
    assert "  group_interval: 15s\n  repeat_interval: 4320s" in made
    assert made.count("#slack_url#") == committed.count("#slack_url#")

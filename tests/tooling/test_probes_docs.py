"""docs/probes.md says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from exporter.config.model import ProbeSettings
from exporter.config.validators import parse_duration
from exporter.probe import history, http_client, schedule, stdio, target
from exporter.protocol.label_values import PROBE_RESULTS, TOOL_CHANGES
from exporter.telemetry import health_tracker
from exporter.telemetry.health import FAILURES_TO_ERROR, State
from exporter.web import probe_pages
from tests.support.paths import ROOT

TEXT = (ROOT / "docs" / "probes.md").read_text()


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> dict[str, list[str]]:
    """The rows of a section's table, by what their first cell has in backticks."""
    lines = [line for line in section(title).splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_result_is_there_and_counts_as_it_does() -> None:
    found = {result: row[-1] == "alive" for result, row in rows("Results").items()}
    assert found == {result: target.ProbeResult(result, 0.0).is_alive for result in PROBE_RESULTS}


def test_every_state_is_there() -> None:
    assert list(rows("States")) == [state.value for state in State]


def test_every_setting_is_there_with_its_default() -> None:
    documented = rows("Settings")
    assert set(documented) == {each.name for each in fields(ProbeSettings)}
    for name, row in documented.items():
        default = getattr(ProbeSettings(), name)
        given = row[0].strip("`")
        expected = default if not isinstance(default, bool) else str(default).lower()
        assert (given if isinstance(default, bool) else parse_duration(given)) == expected


@pytest.mark.parametrize(
    ("words", "value"),
    [
        ("for 40 % of the timeout", target.DISCOVER_SHARE == 0.4),
        ("take a tenth", schedule.JITTER == 0.1),
        ("after a quarter of the interval", schedule.URGENT_SHARE == 0.25),
        ("failed three times in a row or more", FAILURES_TO_ERROR == 3),
        ("at most 5 minutes", http_client.MAX_RETRY_AFTER == 300),
        ("Failures within a second count once", health_tracker.CALL_INTERVAL == 1),
        ("once 5 seconds have passed", health_tracker.QUIET_TIME == 5),
        ("last 100 probes", history.KEPT == 100),
        ("At most 4 such probes", probe_pages.AT_ONCE == 4),
        ("says nothing for two minutes is replaced", stdio.SILENCE == 120),
        ("added|removed|modified", TOOL_CHANGES == ("added", "removed", "modified")),
    ],
)
def test_numbers_are_the_codes(words: str, value: bool) -> None:
    assert words in " ".join(TEXT.split())
    assert value


def test_links_lead_to_headings_and_files() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, anchor = link.partition("#")
        assert not file or (ROOT / "docs" / file).exists()
        assert not anchor or anchor in headings

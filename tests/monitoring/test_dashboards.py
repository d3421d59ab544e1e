"""The committed dashboards: drawn anew they are the same, sound by the linter's rules, readable."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.build.output import documents
from tests.support.dashboard_rules import RULES
from tests.support.dashboards import FOLDER, Json, load, panels
from tests.support.panel_queries import CHOSEN
from tests.support.paths import ROOT

BOARDS = load()
OVERVIEW = BOARDS["mcp-overview"]
SETTINGS = yaml.safe_load((ROOT / "prometheus" / "objectives.yml").read_text())
EXPLANATION = 'http://${__data.fields["Exporter"]}/probe?target='
CHOSEN_BOARD = '${__data.fields["Board"]:percentencode}'
"""The dashboard of what an alert is about, which its query knows."""
EVERY_BOARD = pytest.mark.parametrize("uid", BOARDS)
EVERY_RULE = pytest.mark.parametrize("rule", RULES)

COLUMNS = 24
# A row of Grafana's grid is 30 pixels high, with 8 between two; its header and the variables take
# less than 200 pixels of a window.
ROW_PIXELS = 38
WINDOW_PIXELS = 900
HEADER_PIXELS = 200

RED = re.compile(r"(?:dark-|semi-dark-|light-|super-light-)?red|#ff5286")
FAILURES = {
    *("tool_error", "protocol_error", "timeout", "upstream_error"),
    *("connect_error", "process_exit", "signal", "killed"),
    *("Failures", "Most failing"),
    *("error", "critical", "no"),
    *("attained", "spent"),
}


def query(expr: str) -> Json:
    """A query as a panel has it."""
    source = {"type": "prometheus", "uid": "$datasource"}
    return {"datasource": source, "expr": expr, "refId": "A"}


def ask(expr: str) -> Callable[[Json], None]:
    """Damage a dashboard: let its first panel ask this."""

    def damage(board: Json) -> None:
        board["panels"][0]["targets"] = [query(expr)]

    return damage


def change(path: str, value: Any) -> Callable[[Json], None]:
    """Damage a dashboard: put a value at a path such as ``panels.0.title``."""
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]

    def damage(board: Json) -> None:
        place: Any = board
        for step in parents:
            place = place[step]
        place[last] = value

    return damage


CHOICE = 'job=~"$job",instance=~"$instance"'
DAMAGE: dict[str, list[Callable[[Json], None]]] = {
    "template-datasource-rule": [change("templating.list.0.name", "source")],
    "template-job-rule": [
        change("templating.list.1.multi", False),
        change("templating.list.1.name", "jobs"),
        change("templating.list.1.datasource", {"uid": "prometheus"}),
    ],
    "template-instance-rule": [change("templating.list.2.allValue", ".*")],
    "template-label-promql-rule": [
        change("templating.list.3.query.query", "label_values(up{server=}, server)")
    ],
    "template-on-time-change-reload-rule": [change("templating.list.3.refresh", 1)],
    "panel-datasource-rule": [
        change("panels.8.datasource", {"type": "prometheus", "uid": "prometheus"}),
        change("annotations.list.0.datasource", None),
    ],
    "panel-title-description-rule": [
        change("panels.0.title", ""),
        change("panels.0.description", ""),
    ],
    "panel-units-rule": [
        change("panels.0.fieldConfig.defaults.unit", "furlong"),
        change("panels.0.fieldConfig.defaults.unit", None),
    ],
    "panel-no-targets-rule": [change("panels.0.targets", [])],
    "target-logql-rule": [change("panels.0.targets.0.datasource", {"type": "loki", "uid": "x"})],
    "target-logql-auto-rule": [ask(f"sum(rate(x_total{{{CHOICE}}}[$__auto]))")],
    "target-promql-rule": [ask("sum(rate(up)"), ask("sum by server (up)")],
    "target-rate-interval-rule": [ask(f"sum(rate(x_total{{{CHOICE}}}[5m]))")],
    "target-job-rule": [
        ask('up{instance=~"$instance"}'),
        ask(f'up{{{CHOICE}}} / up{{job="$job",instance=~"$instance"}}'),
    ],
    "target-instance-rule": [ask('sum(rate(x_total{job=~"$job"}[$__rate_interval]))')],
    "target-counter-agg-rule": [
        ask(f"x_total{{{CHOICE}}}"),
        ask(f"max_over_time(x_total{{{CHOICE}}}[$__range])"),
    ],
    "uneditable-dashboard": [change("editable", True)],
}


def test_the_committed_dashboards_are_those_that_the_code_builds() -> None:
    committed = {path.stem: path.read_text() for path in FOLDER.glob("*")}
    assert committed == documents(), "run `python -m grafana.build` and commit"


def test_all_rules_of_the_linter_are_applied() -> None:
    assert len(RULES) == 17
    assert DAMAGE.keys() == RULES.keys()


@EVERY_RULE
@EVERY_BOARD
def test_the_dashboard_keeps_the_rule(uid: str, rule: str) -> None:
    assert list(RULES[rule](BOARDS[uid])) == []


@pytest.mark.parametrize(
    ("rule", "number"), [(rule, n) for rule, found in DAMAGE.items() for n in range(len(found))]
)
def test_the_rule_notices_a_dashboard_that_breaks_it(rule: str, number: int) -> None:
    damaged = deepcopy(OVERVIEW)
    DAMAGE[rule][number](damaged)
    assert list(RULES[rule](damaged)) != []


def test_uids_are_those_that_links_and_alerts_know() -> None:
    known = ["mcp-exporter", "mcp-objectives", "mcp-overview", "mcp-servers", "mcp-tools"]
    assert [board["uid"] for board in BOARDS.values()] == known == list(BOARDS)
    assert len({board["title"] for board in BOARDS.values()}) == len(BOARDS)


@EVERY_BOARD
def test_the_schema_is_one_that_grafana_11_to_13_load_from_a_file(uid: str) -> None:
    assert BOARDS[uid]["schemaVersion"] <= 42
    assert "apiVersion" not in BOARDS[uid]
    assert "spec" not in BOARDS[uid]


@EVERY_BOARD
def test_panels_lie_within_the_grid_and_do_not_overlap(uid: str) -> None:
    cells = [(panel["id"], _cells(panel)) for panel in BOARDS[uid]["panels"]]
    assert all(x < COLUMNS for _, taken in cells for x, _ in taken)
    overlaps = [(a, b) for (a, here), (b, there) in combinations(cells, 2) if here & there]
    assert overlaps == []


@EVERY_BOARD
def test_panels_are_numbered_uniquely(uid: str) -> None:
    numbers = Counter(panel["id"] for panel in BOARDS[uid]["panels"])
    assert set(numbers.values()) == {1}


def test_the_overview_decides_without_scrolling() -> None:
    fold = (WINDOW_PIXELS - HEADER_PIXELS) // ROW_PIXELS
    titles = {panel["title"] for panel in panels(OVERVIEW) if _bottom(panel) <= fold}
    assert titles == {
        *("Servers down", "Firing alerts", "Failed calls", "Tool calls"),
        *("Error budget left", "Availability, 30 days", "Latency, 30 days"),
        *("Servers", "Health", "Tool calls a minute", "Alerts"),
    }


@EVERY_BOARD
def test_every_panel_asks_a_question_and_says_when_it_is_empty(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        assert "?" in panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"], panel["title"]


@EVERY_BOARD
def test_every_drawing_has_a_legend_that_names_its_series(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        if panel["type"] in {"timeseries", "heatmap", "bargauge", "stat", "state-timeline"}:
            assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
        if panel["type"] == "timeseries":
            legend = panel["options"]["legend"]
            assert legend["showLegend"], panel["title"]
            # A table below a narrow drawing shows two of its rows, and hides the others.
            is_wide = panel["gridPos"]["w"] >= COLUMNS / 2
            assert legend["displayMode"] == ("table" if is_wide else "list"), panel["title"]
            assert bool(legend["calcs"]) == is_wide, panel["title"]


@EVERY_BOARD
def test_red_is_for_failures_alone(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        assert {name for name, colour in _colours(panel) if RED.fullmatch(colour)} <= FAILURES
        mode = panel["fieldConfig"]["defaults"].get("color", {}).get("mode", "thresholds")
        # Those that Grafana 11, 12 and 13 know, and that tell neighbours apart, as shades do not.
        assert mode in {"palette-classic", "fixed", "thresholds"}, panel["title"]


@EVERY_BOARD
def test_failures_are_red_wherever_they_are_a_series(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        colours = dict(_colours(panel))
        for failure in FAILURES & colours.keys():
            assert RED.fullmatch(colours[failure]), f"{panel['title']}: {failure}"


@EVERY_BOARD
def test_variables_start_at_the_exporters_and_are_those_that_links_carry(uid: str) -> None:
    """All jobs would be every job of that Prometheus, the exporter's or not."""
    found = BOARDS[uid]["templating"]["list"]
    assert [variable["name"] for variable in found] == ["datasource", *CHOSEN]
    for variable in found[1:]:
        assert variable["includeAll"]
        wanted = SETTINGS["job"] if variable["name"] == "job" else "$__all"
        assert variable["current"]["value"] == [wanted]


@EVERY_BOARD
def test_dashboards_link_to_each_other_with_variables_and_time(uid: str) -> None:
    (link,) = BOARDS[uid]["links"]
    assert set(link["tags"]) <= set(BOARDS[uid]["tags"])
    assert link["type"] == "dashboards"
    assert link["includeVars"]
    assert link["keepTime"]


@EVERY_BOARD
def test_every_data_link_leads_to_a_dashboard_and_keeps_time_and_source(uid: str) -> None:
    for link in _data_links(BOARDS[uid]):
        if link["url"].startswith(EXPLANATION):
            continue
        target, _, carried = link["url"].removeprefix("/d/").partition("?")
        assert target in {*BOARDS, CHOSEN_BOARD}, link
        for kept in ("${__url_time_range}", "${datasource:queryparam}", "${instance:queryparam}"):
            assert kept in carried.split("&"), link
        for variable in re.findall(r"var-(\w+)=", carried):
            assert variable in CHOSEN, link


@EVERY_BOARD
def test_links_of_rows_read_columns_that_the_table_has(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        titles = {override["matcher"]["options"] for override in _overrides(panel)}
        for column in re.findall(
            r'__data\.fields\["(.+?)"\]', str(_data_links({"panels": [panel]}))
        ):
            assert column in titles, f"{panel['title']}: {column}"


@EVERY_BOARD
def test_sparklines_are_made_of_their_own_query_alone(uid: str) -> None:
    """Else Grafana takes every table of a single row for a series, and its column is lost."""
    for panel in panels(BOARDS[uid]):
        for step in panel.get("transformations", []):
            if step["id"] == "timeSeriesTable":
                assert step["filter"] == {"id": "byRefId", "options": next(iter(step["options"]))}


@EVERY_BOARD
def test_tables_of_several_queries_are_joined_on_a_label(uid: str) -> None:
    """Merging them instead would lose the table when one query has no answer."""
    for panel in panels(BOARDS[uid]):
        if panel["type"] == "table":
            steps = [step["id"] for step in panel["transformations"]]
            assert ("joinByField" in steps) == (len(panel["targets"]) > 1), panel["title"]
            assert "merge" not in steps, panel["title"]


def test_every_table_row_and_series_of_the_overview_leads_on() -> None:
    for panel in panels(OVERVIEW):
        if panel["type"] == "table":
            leading = {
                override["matcher"]["options"]
                for override in _overrides(panel)
                if _set(override, "links")
            }
            assert leading in ({"Server", "State", "Failed"}, {"Alert"}), panel["title"]
        elif panel["type"] != "stat":
            assert _data_links({"panels": [panel]}), panel["title"]


@EVERY_BOARD
def test_alerts_starts_and_changed_tools_are_marked(uid: str) -> None:
    found = {a["name"]: a for a in BOARDS[uid]["annotations"]["list"]}
    assert found.keys() == {
        *("Critical alerts", "Warning alerts"),
        *("Exporter starts", "Tool definition changes"),
    }
    assert all(annotation["enable"] for annotation in found.values())
    # An alert that is a region for as long as it fires hides what is below it.
    at_their_start = {name for name, each in found.items() if each.get("useValueForTime")}
    assert at_their_start == {"Critical alerts", "Warning alerts", "Exporter starts"}


def test_latency_carries_exemplars() -> None:
    drawn = {panel["title"]: panel["targets"] for panel in panels(BOARDS["mcp-tools"])}
    assert drawn["Spread of latency"][0]["exemplar"]
    assert "_bucket" in drawn["Spread of latency"][0]["expr"]


def test_datasources_have_the_uids_and_the_scrape_interval_of_this_stack() -> None:
    provisioned = _yaml("grafana/provisioning/datasources/datasources.yml")["datasources"]
    by_uid = {source["uid"]: source for source in provisioned}
    assert {uid: source["type"] for uid, source in by_uid.items()} == {
        "prometheus": "prometheus",
        "alertmanager": "alertmanager",
        "jaeger": "jaeger",
    }
    scraped = _yaml("prometheus/prometheus.yml")["global"]["scrape_interval"]
    assert by_uid["prometheus"]["jsonData"]["timeInterval"] == scraped
    assert by_uid["prometheus"]["jsonData"]["alertmanagerUid"] == "alertmanager"
    (destination,) = by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination == {"name": "trace_id", "datasourceUid": "jaeger"}
    assert not any(source["editable"] for source in provisioned)


def test_one_provider_puts_all_dashboards_into_one_folder() -> None:
    (provider,) = _yaml("grafana/provisioning/dashboards/dashboards.yml")["providers"]
    assert (provider["type"], provider["folder"], provider["folderUid"]) == ("file", "MCP", "mcp")
    assert provider["allowUiUpdates"] is False
    assert provider["options"] == {"path": "${DASHBOARDS_PATH}"}


def test_compose_gives_grafana_what_provisioning_expands() -> None:
    provisioning = (ROOT / "grafana" / "provisioning").rglob("*.yml")
    text = "".join(_uncommented(path) for path in provisioning)
    service = _yaml("docker-compose.yml")["services"]["grafana"]
    assert set(re.findall(r"\$\{?(\w+)", text)) <= service["environment"].keys()
    home = service["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{service['environment']['DASHBOARDS_PATH']}/mcp-overview.json"
    mounts = dict(volume.split(":")[:2][::-1] for volume in service["volumes"])
    assert mounts[service["environment"]["DASHBOARDS_PATH"]] == "./grafana/dashboards"


def _uncommented(path: Path) -> str:
    return re.sub(r"(?m)#.*$", "", path.read_text())


def _yaml(path: str) -> Json:
    found: Json = yaml.safe_load((ROOT / path).read_text())
    return found


def _cells(panel: Json) -> set[tuple[int, int]]:
    position = panel["gridPos"]
    x, y = position["x"], position["y"]
    return {(x + a, y + b) for a in range(position["w"]) for b in range(position["h"])}


def _bottom(panel: Json) -> int:
    return int(panel["gridPos"]["y"] + panel["gridPos"]["h"])


def _overrides(panel: Json) -> list[Json]:
    found: list[Json] = panel["fieldConfig"]["overrides"]
    return found


def _set(override: Json, name: str) -> Any:
    return {found["id"]: found["value"] for found in override["properties"]}.get(name)


def _data_links(board: Json) -> list[Json]:
    return [
        link
        for panel in panels(board)
        for override in _overrides(panel)
        for link in _set(override, "links") or []
    ]


def _colours(panel: Json) -> list[tuple[str, str]]:
    """What is coloured, by its name: a series, a mapped word, or the panel as a whole."""
    found = []
    defaults = panel["fieldConfig"]["defaults"]
    whole = defaults.get("color", {}).get("fixedColor")
    mappings = defaults.get("mappings", [])
    legends = {target["refId"]: target.get("legendFormat", "") for target in panel["targets"]}
    for override in _overrides(panel):
        if colour := _set(override, "color"):
            name = override["matcher"]["options"]
            is_query = override["matcher"]["id"] == "byFrameRefID"
            found.append((legends[name] if is_query else name, colour["fixedColor"]))
        mappings = mappings + (_set(override, "mappings") or [])
    for mapping in mappings:
        options = mapping["options"]
        words = [options["result"]] if mapping["type"] == "range" else options.values()
        found += [(word["text"], word["color"]) for word in words]
    return [*found, (panel["title"], whole)] if whole else found


def test_the_source_of_every_dashboard_is_documented() -> None:
    text = (ROOT / "docs" / "dashboards.md").read_text()
    for uid, board in BOARDS.items():
        assert f"*{board['title']}* (`/d/{uid}`)" in text
    for module in (ROOT / "grafana" / "build").glob("[a-z]*.py"):
        assert f"`{module.name}`" in text or module.name == "output.py"

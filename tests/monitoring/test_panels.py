"""What Grafana makes of each panel: nothing is said that is not so, cut off, or out of sight.

Each test stands for a kind of fault that drawing the dashboards with Grafana's own code brought up.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from grafana.build.links import explain
from grafana.build.output import exports
from tests.support.dashboards import (
    FOLDER,
    Json,
    annotation_queries,
    load,
    panel_queries,
    panels,
    selectors,
)
from tests.support.paths import ROOT

BOARDS = load()
RULES = ROOT / "prometheus" / "rules"
EVERY_BOARD = pytest.mark.parametrize("uid", BOARDS)

WINDOW_PIXELS = 1440
BESIDE_PANELS = 32
GAP = 8
BORDERS = 18
"""What a panel takes for itself on both sides of a table."""
AUTOMATIC = 150
"""Pixels that Grafana gives a column at least that says nothing of its width."""
NARROW, WIDE, USUAL = 4.5, 12.0, 8.3
"""Pixels of a letter in Inter Medium at 14 pixels, which titles and headings are set in."""
BESIDE_HEADING = 12
ARROW = 16
"""Beside the heading of the column that a table is sorted by."""
BESIDE_TITLE = 62
"""Padding, and the sign that shows the description."""
BAR_GAP = 10
HEADER = 48
"""The title of a panel, and the padding below it."""
FROM_NOW = 140
"""Pixels for "a few seconds ago", the longest: with less, "25 minutes ago" said "5 minutes ago"."""

RATE = re.compile(r"\b(rate|increase)\(")
OBSERVED_AT_ALL = re.compile(r" and on \(\) \(sum\(.*_count\{.*\[\$__range\] @ end\(\).* > 0\)$")
OF_EVERY_TARGET = re.compile(r"up|process_.*|scrape_.*|python_.*")


def each(kind: str, uid: str) -> Iterator[Json]:
    """The panels of one type."""
    return (panel for panel in panels(BOARDS[uid]) if panel["type"] == kind)


def columns(table: Json) -> dict[str, dict[str, Any]]:
    """What is said of each column, by its title."""
    return {
        override["matcher"]["options"]: {
            each["id"]: each["value"] for each in override["properties"]
        }
        for override in table["fieldConfig"]["overrides"]
    }


def shown(table: Json) -> dict[str, dict[str, Any]]:
    return {title: said for title, said in columns(table).items() if not is_hidden(said)}


def is_hidden(said: dict[str, Any]) -> bool:
    return bool(said.get("custom.hidden"))


def pixels(panel: Json) -> float:
    """How wide a panel is in a window of 1440 pixels."""
    return float((WINDOW_PIXELS - BESIDE_PANELS) / 24 * panel["gridPos"]["w"] - GAP)


def letters(text: str) -> float:
    """How wide a title is, about."""
    narrow, wide = (sum(letter in kind for letter in text) for kind in (" fiIjlrt1,.", "mwMW%"))
    return NARROW * narrow + WIDE * wide + USUAL * (len(text) - narrow - wide)


def height(panel: Json) -> float:
    """In pixels: a row is 30, and 8 apart from the next."""
    return float(38 * panel["gridPos"]["h"] - GAP)


def name_pixels(options: Json) -> float:
    """What Grafana takes for the line of a bar's name."""
    return float(1.5 * options["text"]["titleSize"])


def expressions(panel: Json) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


@EVERY_BOARD
def test_an_empty_cell_does_not_say_what_an_empty_table_says(uid: str) -> None:
    for table in each("table", uid):
        for title, said in columns(table).items():
            assert said["noValue"] != table["fieldConfig"]["defaults"]["noValue"], title


@EVERY_BOARD
def test_a_number_is_a_number_to_grafana(uid: str) -> None:
    """What a table says of all columns is "string": of text no threshold colours anything."""
    for table in each("table", uid):
        assert table["fieldConfig"]["defaults"]["unit"] == "string"
        for title, said in columns(table).items():
            if "thresholds" in said:
                assert said.get("unit", "string") != "string", title


@EVERY_BOARD
def test_no_mark_becomes_a_region_that_hides_what_is_drawn(uid: str) -> None:
    """Grafana joins the points of a series that are a step apart."""
    for query in annotation_queries(BOARDS[uid]):
        marks = {each["name"]: each for each in BOARDS[uid]["annotations"]["list"]}
        if not marks[query.place.removeprefix("annotation ")].get("useValueForTime"):
            now, _, before = query.expr.partition(" unless ")
            assert before == now.replace(
                "[$__rate_interval]", "[$__rate_interval] offset $__interval"
            )


@EVERY_BOARD
def test_what_a_link_takes_from_a_row_is_fit_for_an_address(uid: str) -> None:
    text = json.dumps(BOARDS[uid]).replace('\\"', '"')
    found = re.findall(r'\$\{__(?:data\.fields\["[^"]+"\]|field\.labels\.\w+)(.*?)\}', text)
    # An instance is a host and a port, and stays what it is.
    assert set(found) <= {":percentencode", ""}
    assert text.count('${__data.fields["Exporter"]}') == found.count("")


def test_a_state_leads_to_its_exporter_or_to_the_gateway_in_front_of_it() -> None:
    asked = '/probe?target=${__data.fields["Server"]:percentencode}&debug=true'
    own = explain("http://{instance}")
    assert own["url"] == 'http://${__data.fields["Exporter"]}' + asked
    assert explain("https://mcp.example.com")["url"] == "https://mcp.example.com" + asked
    for uid in ("mcp-overview", "mcp-servers"):
        (table,) = (p for p in each("table", uid) if p["title"] == "Servers")
        assert columns(table)["State"]["links"] == [own]
        assert is_hidden(columns(table)["Exporter"])


def test_an_alert_leads_to_what_it_is_about_whatever_labels_it_has() -> None:
    """A link made of an empty cell would lead to a server called "-"."""
    (table,) = (p for p in each("table", "mcp-overview") if p["title"] == "Alerts")
    (link,) = columns(table)["Alert"]["links"]
    read = set(re.findall(r'fields\["(.+?)"\]', link["url"]))
    assert read == {"Board", "Of server", "Of tool"}
    (expr,) = expressions(table)
    for label, otherwise in (("board", "mcp-exporter"), ("of_server", "All"), ("of_tool", "All")):
        assert f'"{label}", "{otherwise}", "", ""' in expr
    assert all(is_hidden(columns(table)[title]) for title in read)


def test_an_alert_is_listed_once_and_the_worst_first() -> None:
    (table,) = (p for p in each("table", "mcp-overview") if p["title"] == "Alerts")
    assert "min by (alertname, severity, server, tool) (ALERTS_FOR_STATE" in expressions(table)[0]
    assert table["options"]["sortBy"] == [{"displayName": "Severity", "desc": False}]


@EVERY_BOARD
def test_of_several_numbers_each_has_its_name(uid: str) -> None:
    """Else the only one that has an answer passes for the other."""
    for stat in each("stat", uid):
        several = len(stat["targets"]) > 1
        assert (stat["options"].get("textMode") == "value_and_name") == several, stat["title"]
        # As it comes, in a panel of three rows, it is half as large.
        assert not several or stat["options"]["text"]["titleSize"] >= 12, stat["title"]


@EVERY_BOARD
def test_no_number_is_made_of_as_many_as_there_are(uid: str) -> None:
    """From five servers on nobody can read them: that is what tables are for."""
    for stat in each("stat", uid):
        assert not any("{{" in target["legendFormat"] for target in stat["targets"]), stat["title"]


@EVERY_BOARD
def test_a_share_is_not_rounded_to_what_is_aimed_at(uid: str) -> None:
    for stat in each("stat", uid):
        if stat["fieldConfig"]["defaults"]["unit"] == "percentunit":
            least = 2 if "_target:ratio" in str(expressions(stat)) else 1
            assert stat["fieldConfig"]["defaults"]["decimals"] >= least, stat["title"]


def test_what_was_attained_without_traffic_is_said_to_be_nothing() -> None:
    for uid in ("mcp-overview", "mcp-objectives"):
        found = [stat for stat in each("stat", uid) if stat["title"].endswith(", 30 days")]
        assert len(found) == 2
        for stat in found:
            assert "vector(-1)" in expressions(stat)[0]
            (mapping,) = stat["fieldConfig"]["defaults"]["mappings"]
            assert mapping["options"]["-1"]["text"] == "no traffic"


@EVERY_BOARD
def test_a_budget_that_is_spent_is_no_number(uid: str) -> None:
    for stat in each("stat", uid):
        if "budget" in stat["title"].lower():
            (mapping,) = stat["fieldConfig"]["defaults"]["mappings"]
            assert mapping["options"]["to"] == 0
            assert mapping["options"]["result"]["text"] == "spent"


@EVERY_BOARD
def test_what_every_target_has_is_read_of_the_exporters_alone(uid: str) -> None:
    board = BOARDS[uid]
    for query in (*panel_queries(board), *annotation_queries(board)):
        read = [selector.metric for selector in selectors(query.expr)]
        if any(OF_EVERY_TARGET.fullmatch(metric) for metric in read):
            assert "and on (job, instance) last_over_time(mcp_exporter_build_info" in query.expr


def test_the_name_of_an_alert_is_whole() -> None:
    rules = [yaml.safe_load(path.read_text()) for path in RULES.glob("*.alerts.yml")]
    names = [rule["alert"] for file in rules for group in file["groups"] for rule in group["rules"]]
    alerts = next(table for table in each("table", "mcp-overview") if table["title"] == "Alerts")
    width = columns(alerts)["Alert"]["custom.minWidth"]
    assert max(letters(name) for name in names) + BESIDE_HEADING <= width


@EVERY_BOARD
def test_alerts_of_other_rules_stay_out(uid: str) -> None:
    board = BOARDS[uid]
    for query in (*panel_queries(board), *annotation_queries(board)):
        for selector in selectors(query.expr):
            if selector.metric.startswith("ALERTS"):
                assert 'alertname=~"MCP.+"' in selector.matchers, str(query)


@EVERY_BOARD
def test_all_columns_of_a_table_are_in_sight(uid: str) -> None:
    for table in each("table", uid):
        least = table["fieldConfig"]["defaults"]["custom"].get("minWidth", AUTOMATIC)
        widths = [
            said.get("custom.width", said.get("custom.minWidth", least))
            for said in shown(table).values()
        ]
        assert sum(widths) <= pixels(table) - BORDERS, table["title"]


@EVERY_BOARD
def test_the_heading_of_a_column_is_not_cut(uid: str) -> None:
    for table in each("table", uid):
        sorted_by = {order["displayName"] for order in table["options"].get("sortBy", [])}
        for title, said in shown(table).items():
            if width := said.get("custom.width"):
                arrow = ARROW if title in sorted_by else 0
                assert letters(title) + BESIDE_HEADING + arrow <= width, (table["title"], title)


@EVERY_BOARD
def test_no_time_from_now_loses_its_first_digits(uid: str) -> None:
    for table in each("table", uid):
        for title, said in shown(table).items():
            if said.get("unit") == "dateTimeFromNow":
                assert said["custom.width"] >= FROM_NOW, title


@EVERY_BOARD
def test_a_title_fits_above_its_panel(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        assert letters(panel["title"]) + BESIDE_TITLE <= pixels(panel), panel["title"]


@EVERY_BOARD
def test_no_two_panels_of_a_dashboard_have_one_name(uid: str) -> None:
    titles = Counter(panel["title"] for panel in panels(BOARDS[uid]))
    assert set(titles.values()) == {1}


def test_what_falls_into_the_first_bucket_is_not_said_to_take_no_time() -> None:
    (stat,) = (p for p in each("stat", "mcp-tools") if p["title"] == "Latency of all calls")
    (mapping,) = stat["fieldConfig"]["defaults"]["mappings"]
    assert mapping["options"]["to"] == 0.001
    assert mapping["options"]["result"]["text"] == "< 1 ms"


@EVERY_BOARD
def test_events_are_whole_numbers_a_bar_a_step_and_nothing_where_none_happened(uid: str) -> None:
    """Windows that overlap would count one event in each of them."""
    for panel in each("timeseries", uid):
        is_bars = panel["fieldConfig"]["defaults"]["custom"].get("drawStyle") == "bars"
        for expr in expressions(panel):
            assert "increase(" not in expr, panel["title"]
            # Whatever words are put in the place of labels around it.
            counted = re.search(r"(^|\()round\(.* \* \$__interval_ms / 1000\) > 0", expr)
            assert bool(counted) == is_bars, panel["title"]
        if is_bars:
            assert panel["interval"] == "1m"
            assert panel["fieldConfig"]["defaults"]["decimals"] == 0


@EVERY_BOARD
def test_rates_are_a_minute_and_bytes_are_counted_in_one_way(uid: str) -> None:
    for panel in panels(BOARDS[uid]):
        said = [panel["fieldConfig"]["defaults"], *(columns(panel).values())]
        units = {each.get("unit") for each in said}
        assert not units & {"reqps", "ops", "cps", "Bps", "decbytes"}, panel["title"]
        for expr in expressions(panel):
            if "mcp_tool_calls:rate5m" in expr or "mcp_requests:rate5m" in expr:
                assert "[$__rate_interval])) * 60" in expr, panel["title"]


@EVERY_BOARD
def test_bars_are_as_high_with_one_of_them_as_with_many_and_all_are_in_sight(uid: str) -> None:
    for bars in each("bargauge", uid):
        options = bars["options"]
        assert options["sizing"] == "manual"
        assert options["minVizHeight"] == options["maxVizHeight"]
        assert options["minVizHeight"] - name_pixels(options) <= 24
        (expr,) = expressions(bars)
        most = int(expr.removeprefix("topk(").partition(",")[0])
        assert most * (options["minVizHeight"] + BAR_GAP) <= height(bars) - HEADER, bars["title"]


@EVERY_BOARD
def test_the_name_of_a_bar_has_the_whole_width(uid: str) -> None:
    """Beside its bar it would get what smaller letters than its own need, and lose its end."""
    for bars in each("bargauge", uid):
        assert bars["options"]["namePlacement"] == "top", bars["title"]
        assert bars["options"]["minVizHeight"] > name_pixels(bars["options"]) + 12


@EVERY_BOARD
def test_what_each_replica_counts_is_taken_once(uid: str) -> None:
    """A target with two labels more is scraped twice: its series are told apart by those alone."""
    for query in panel_queries(BOARDS[uid]):
        assert not re.search(r"sum[^(]*(\([^()]*\))? \((rate|increase)\(", query.expr), str(query)


@EVERY_BOARD
def test_a_line_keeps_its_zeros(uid: str) -> None:
    """Else it goes straight from one time that something failed to the next."""
    for panel in each("timeseries", uid):
        if panel["fieldConfig"]["defaults"]["custom"].get("drawStyle") != "bars":
            assert not any(expr.endswith(" > 0") for expr in expressions(panel)), panel["title"]


@EVERY_BOARD
def test_a_quantile_of_nothing_is_nothing(uid: str) -> None:
    """Else a drawing has a legend and no line, and does not say that there were no calls."""
    for query in panel_queries(BOARDS[uid]):
        if "histogram_quantile" in query.expr:
            assert ") >= 0" in query.expr, str(query)


def test_what_one_scrape_shows_is_not_denied_for_want_of_a_second() -> None:
    """A rate needs two: until then its panel must not say what others say of what is not there."""
    by_rates, by_one_scrape = set(), set()
    for panel in (panel for board in BOARDS.values() for panel in panels(board)):
        said = panel["fieldConfig"]["defaults"]["noValue"]
        rates = [RATE.search(expr) for expr in expressions(panel)]
        if all(rates):
            by_rates.add(said)
        elif not any(rates) and not any(":" in expr for expr in expressions(panel)):
            by_one_scrape.add(said)
    assert by_rates & by_one_scrape == {"no data"}


@EVERY_BOARD
def test_a_heatmap_without_observations_says_so(uid: str) -> None:
    """Buckets of zeros are an axis without cells."""
    for panel in each("heatmap", uid):
        for expr in expressions(panel):
            assert OBSERVED_AT_ALL.search(expr), expr


def test_a_fresh_install_is_no_sliver_at_the_edge() -> None:
    ranges = {uid: board["time"]["from"] for uid, board in BOARDS.items()}
    assert ranges.pop("mcp-objectives") == "now-7d"
    assert set(ranges.values()) == {"now-1h"}


@EVERY_BOARD
def test_panels_are_of_the_version_of_grafana_that_is_started(uid: str) -> None:
    """From none Grafana would migrate each panel at each start."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    image, _, _ = services["grafana"]["image"].partition("@")
    version = image.rpartition(":")[2]
    for panel in panels(BOARDS[uid]):
        assert panel["pluginVersion"] == version, panel["title"]
        assert "footer" not in panel["options"], panel["title"]


def test_the_dashboards_to_import_are_those_that_the_code_builds() -> None:
    folder = FOLDER.with_name("export")
    committed = {path.stem: path.read_text() for path in folder.glob("*")}
    assert committed == exports(), "run `make dashboards` and commit"


@EVERY_BOARD
def test_an_import_asks_for_the_data_source_and_says_what_it_needs(uid: str) -> None:
    board = json.loads(exports()[uid])
    (asked,) = board["__inputs"]
    assert (asked["name"], asked["type"], asked["pluginId"]) == (
        "DS_PROMETHEUS",
        "datasource",
        "prometheus",
    )
    (source,) = (v for v in board["templating"]["list"] if v["type"] == "datasource")
    assert source["current"]["value"] == "${DS_PROMETHEUS}"
    needed = {(each["type"], each["id"]) for each in board["__requires"]}
    kinds = {("panel", panel["type"]) for panel in panels(BOARDS[uid])}
    assert needed == {("grafana", "grafana"), ("datasource", "prometheus"), *kinds}
    assert {**board, "templating": 0} == {
        **BOARDS[uid],
        **{key: board[key] for key in ("__inputs", "__elements", "__requires", "id")},
        "templating": 0,
    }

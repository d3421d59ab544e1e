"""Recording and alert rules: generated, tested, explained, and true to the metrics.

That they are valid and do what their tests say is told by promtool itself: ``make rules``.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Counter, Gauge

from exporter.cli.discover.metrics import DiscoveryMetrics
from exporter.telemetry.metrics import DURATION_BUCKETS
from prometheus.build.__main__ import generate, groups, main
from prometheus.build.settings import SettingsError, load, parse, seconds
from scripts.metric_docs import documented
from tests.support import alert_rules
from tests.support.alert_rules import PROMETHEUS, RULES, TESTS
from tests.support.paths import TESTDATA
from tests.support.tools import run, succeeds

SETTINGS = PROMETHEUS / "objectives.yml"
ANNOTATIONS = {"summary", "description", "value", "runbook_url", "dashboard_url"}
DASHBOARDS = {"mcp-overview", "mcp-servers", "mcp-tools", "mcp-objectives", "mcp-exporter"}
NEVER_SILENT = {"Watchdog"}
"""It fires always; that is what it is for."""


def test_what_is_committed_is_what_the_settings_and_the_runbook_make() -> None:
    made = generate(load(SETTINGS))
    committed = {name: (PROMETHEUS / name).read_text(encoding="utf-8") for name in made}
    assert committed == made, "run python -m prometheus.build"


def test_no_rule_file_is_written_by_hand() -> None:
    assert {path.name for path in alert_rules.FILES} == set(groups(load(SETTINGS)))


def test_check_tells_a_rule_file_that_differs_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path)]) == 0
    changed = tmp_path / "rules" / "tools.alerts.yml"
    changed.write_text("groups: []\n")
    assert main(["--output", str(tmp_path), "--check"]) == 1
    assert (
        "rules/tools.alerts.yml differs: run python -m prometheus.build" in capsys.readouterr().err
    )
    assert changed.read_text() == "groups: []\n"


@pytest.mark.parametrize("alert", alert_rules.alert_names())
def test_every_alert_has_a_firing_and_a_silent_case(alert: str) -> None:
    cases = [case for case in alert_rules.cases() if case.alert == alert]
    assert any(case.expected for case in cases), f"no promtool test sees {alert} fire"
    silent = any(not case.expected for case in cases)
    assert silent or alert in NEVER_SILENT, f"no promtool test sees {alert} stay silent"


def test_every_alert_has_its_heading_in_the_runbook_and_no_heading_is_left_over() -> None:
    text = (PROMETHEUS / "runbook.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^## (\w+)$", text, re.MULTILINE)) == alert_rules.alert_names()


@pytest.mark.parametrize("alert", alert_rules.alert_names())
def test_the_runbook_says_what_an_alert_means_how_to_look_and_what_to_do(alert: str) -> None:
    text = (PROMETHEUS / "runbook.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {alert}\n")[1].split("\n## ")[0]
    for part in ("**Meaning.**", "**Look.**", "**Act.**"):
        assert len(section.split(part)) == 2, f"{alert}: {part}"
        assert len(section.split(part)[1].split("**")[0].split()) >= 5, f"{alert}: {part} is empty"


QUERY = re.compile(r"`([^`]*(?:mcp_|:mcp_|alertmanager_|process_|scrape_)[^`]*)`", re.DOTALL)


def test_the_queries_of_the_runbook_are_valid(tmp_path: Path) -> None:
    text = (PROMETHEUS / "runbook.md").read_text(encoding="utf-8")
    queries = [query for query in QUERY.findall(text) if re.search(r"[{(\[]", query)]
    assert len(queries) > 20
    rules = [{"record": f"runbook:query:{n}", "expr": query} for n, query in enumerate(queries)]
    path = tmp_path / "runbook.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": rules}]}))
    succeeds("promtool", "check", "rules", path)


def test_the_runbook_page_has_an_anchor_for_every_alert_and_is_no_template() -> None:
    page = (PROMETHEUS / "consoles" / "runbook.html").read_text(encoding="utf-8")
    for name in alert_rules.alert_names():
        assert f'<h2 id="{name.lower()}">{name}</h2>' in page
    links = set(re.findall(r'href="#([^"]+)"', page))
    assert links <= {name.lower() for name in alert_rules.alert_names()}
    assert "{{" not in page
    assert "**" not in page
    assert "`" not in page


@pytest.mark.parametrize("rule", alert_rules.alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_has_severity_scope_texts_and_links(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    assert rule["labels"]["scope"] in {"exporter", "server", "tool", "monitoring"}
    assert set(rule["annotations"]) == ANNOTATIONS
    assert all(text.strip() for text in rule["annotations"].values())
    assert rule["annotations"]["runbook_url"].endswith(f"#{rule['alert'].lower()}")
    dashboard = re.search(r"/d/([a-z-]+)(?:\?|$)", rule["annotations"]["dashboard_url"])
    assert dashboard is not None
    assert dashboard[1] in DASHBOARDS


@pytest.mark.parametrize("alert", alert_rules.alert_names())
def test_no_alert_speaks_of_a_label_that_its_expression_does_not_give(alert: str) -> None:
    """promtool compares labels exactly, so an expected label is one that came out of the rule."""
    used = {
        label
        for rule in alert_rules.alerts()
        if rule["alert"] == alert
        for text in rule["annotations"].values()
        for label in re.findall(r"\$labels\.(\w+)", text)
    }
    for name, labels in alert_rules.firing():
        if name == alert:
            assert used <= labels.keys(), f"{alert} uses {used - labels.keys()}"


@pytest.mark.parametrize(("name", "labels"), alert_rules.firing(), ids=lambda x: str(x)[:40])
def test_an_alert_about_a_server_or_a_tool_names_no_replica(
    name: str, labels: dict[str, str]
) -> None:
    about = labels["scope"] in {"server", "tool"}
    assert not (about and "instance" in labels), name


def _families() -> dict[str, set[str]]:
    """The labels of every series that the exporter serves and these files may speak of."""
    found: dict[str, set[str]] = {}
    for name, kind, labels, _ in documented():
        if kind == "histogram":
            found[f"{name}_bucket"] = {*labels, "le"}
            found[f"{name}_count"] = set(labels)
        else:
            found[name] = set(labels)
    for family in DiscoveryMetrics().registry._collector_to_names:
        assert isinstance(family, Gauge | Counter)
        suffix = "_total" if isinstance(family, Counter) else ""
        found[family._name + suffix] = set(family._labelnames)
    return found


def _selectors(text: str) -> list[tuple[str, set[str]]]:
    """Name and matched labels of every selector of the exporter's own series."""
    found = re.findall(r"(?<![:\w])(mcp_\w+)(?:\{([^}]*)\})?(?![\w:])", text)
    return [(name, set(re.findall(r"(\w+)(?:=|!=|=~|!~)\"", labels))) for name, labels in found]


def test_the_series_of_the_tests_are_those_that_the_exporter_serves() -> None:
    families = _families()
    given = [found for found in alert_rules.series() if found[0].startswith("mcp_")]
    assert len(given) > 100
    for name, labels in given:
        assert labels.keys() == families[name] | {"job", "instance"}, name


def test_rules_and_runbook_speak_of_nothing_that_the_exporter_does_not_serve() -> None:
    families = _families()
    runbook = (PROMETHEUS / "runbook.md").read_text(encoding="utf-8")
    texts = [*(rule["expr"] for rule in alert_rules.rules()), *QUERY.findall(runbook)]
    selectors = [found for text in texts for found in _selectors(text)]
    assert len(selectors) > 50
    for name, labels in selectors:
        assert labels <= families[name] | {"job", "instance"}, name


def test_the_documentation_has_every_alert_with_its_severity_and_every_recorded_series() -> None:
    text = (PROMETHEUS.parent / "docs" / "alerting.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| ([a-z, ]+?) \|", text, re.MULTILINE))
    severities: dict[str, set[str]] = {}
    for rule in alert_rules.alerts():
        severities.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    assert {name: set(words.split(", ")) for name, words in listed.items()} == severities
    for rule in alert_rules.rules():
        assert "alert" in rule or f":{rule['record'].split(':')[1]}:" in text


def test_the_runbook_reads_recorded_series_that_exist() -> None:
    records = {rule["record"] for rule in alert_rules.rules() if "record" in rule}
    runbook = (PROMETHEUS / "runbook.md").read_text(encoding="utf-8")
    found = set(re.findall(r"(?:instance_)?server\w*:\w+:\w+", runbook))
    assert found
    assert found <= records


WITHOUT_GUARDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "objectives: few failures": (
        "objectives",
        lambda text: re.sub(r"\n +and\n +round\(\d+ \* [^\n]*", "", text),
    ),
    "objectives: idle": ("objectives", lambda text: text.replace(" > 0)", ")")),
    "objectives: restart": ("objectives", lambda text: text.replace("rate(mcp", "deriv(mcp")),
    "objectives: short window": (
        "objectives",
        lambda text: re.sub(r"\n +and\n +server_objective[^\n]* > [^\n]*", "", text),
    ),
    "tools: few failures": (
        "tools",
        lambda text: re.sub(r"\n +and\n +round\(900 \* [^\n]*", "", text),
    ),
    "tools: short window": (
        "tools",
        lambda text: re.sub(r"\n +and\n +server_tool[^\n]*ratio_rate5m[^\n]*", "", text),
    ),
    "tools: idle": ("tools", lambda text: text.replace(" > 0)", ")")),
    "tools: restart": ("tools", lambda text: text.replace("rate(mcp", "-deriv(mcp")),
    "tools: restart, timeouts": ("tools", lambda text: text.replace("increase(", "-delta(")),
    "tools: unknown names": ("tools", lambda text: text.replace('{tool!="_other"}', "")),
}


@pytest.mark.parametrize("guard", WITHOUT_GUARDS)
def test_the_tests_catch_a_rule_that_lost_a_guard(guard: str, tmp_path: Path) -> None:
    area, without = WITHOUT_GUARDS[guard]
    rules = [*RULES.glob(f"{area}.*.yml"), RULES / "traffic.rules.yml"]
    changed = 0
    for path in rules:
        text = path.read_text(encoding="utf-8")
        made = text if path in TESTS else without(text)
        changed += made != text
        (tmp_path / path.name).write_text(made, encoding="utf-8")
    assert changed, "the guard is not in the rules"
    valid = [path for path in tmp_path.iterdir() if not path.name.endswith(".test.yml")]
    succeeds("promtool", "check", "rules", *valid)
    ended = run("promtool", "test", "rules", tmp_path / f"{area}.test.yml")
    assert ended.returncode != 0, "no test noticed"


def test_servers_have_objectives_of_their_own(tmp_path: Path) -> None:
    document = alert_rules.read(SETTINGS)
    document["servers"] = {
        "research": {"latency": {"threshold": "60s", "target": 0.9}},
        "batch": {"latency": False, "availability": "off"},
        "beta": {"availability": {"target": 0.9}},
    }
    (tmp_path / "objectives.yml").write_text(yaml.safe_dump(document))
    arguments = ["--settings", str(tmp_path / "objectives.yml"), "--output", str(tmp_path)]
    assert main(arguments) == 0
    shutil.copy(TESTDATA / "overrides.test.yml", tmp_path / "rules")
    rules = sorted((tmp_path / "rules").glob("*.rules.yml"))
    succeeds("promtool", "check", "rules", "--lint=all", "--lint-fatal", *rules)
    succeeds("promtool", "test", "rules", tmp_path / "rules" / "overrides.test.yml")


def test_links_are_set_in_one_place() -> None:
    document = alert_rules.read(SETTINGS)
    document["links"] |= {"grafana": "https://grafana.test/", "runbook": "https://wiki.test/run"}
    made = generate(parse(document))
    text = "".join(text for name, text in made.items() if name.startswith("rules/"))
    assert "127.0.0.1" not in text
    assert "runbook_url: https://wiki.test/run#mcpserverdown" in text
    assert "dashboard_url: https://grafana.test/d/mcp-servers?" in text


def test_a_deployment_is_told_by_the_labels_of_its_identity(tmp_path: Path) -> None:
    document = alert_rules.read(SETTINGS) | {"identity": ["cluster", "job"]}
    (tmp_path / "objectives.yml").write_text(yaml.safe_dump(document))
    arguments = ["--settings", str(tmp_path / "objectives.yml"), "--output", str(tmp_path)]
    assert main(arguments) == 0
    shutil.copy(TESTDATA / "identity.test.yml", tmp_path / "rules")
    made = [path for path in (tmp_path / "rules").iterdir() if ".test." not in path.name]
    succeeds("promtool", "check", "rules", "--lint=all", "--lint-fatal", *made)
    succeeds("promtool", "test", "rules", tmp_path / "rules" / "identity.test.yml")


def test_a_name_in_the_settings_is_no_placeholder() -> None:
    document = alert_rules.read(SETTINGS)
    document["servers"] = {'a<job>"\\': {"latency": {"target": 0.9}}}
    expected = 'server="a\\x3cjob>\\"\\\\"'
    assert expected in generate(parse(document))["rules/objectives.rules.yml"]


def _changed(path: str, value: Any) -> Any:
    document = alert_rules.read(SETTINGS)
    at = document
    *parents, last = path.split("/")
    for key in parents:
        at = at[key]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return document


BAD_SETTINGS: list[tuple[str, Any, str]] = [
    ("job", None, "top level: 'job' is missing"),
    (
        "jobs",
        "x",
        "top level: 'jobs' is unknown; use alerts, identity, job, links, objectives, servers",
    ),
    ("identity", "the job", "identity: 'the job' is no label; write a list such as [job]"),
    (
        "identity",
        ["job", "instance"],
        "identity: must have job, and not instance, in which replicas differ",
    ),
    ("links", "x", "links: expected a mapping with exporter, grafana, runbook"),
    (
        "links/exporter",
        "{instance}",
        "links.exporter: '{instance}' is no address; write one such as http://{instance}",
    ),
    (
        "objectives/availability/target",
        99.9,
        "objectives.availability.target: 99.9 must lie between 0 and 1, as 0.999 does",
    ),
    (
        "objectives/latency/target",
        "99%",
        "objectives.latency.target: '99%' must lie between 0 and 1, as 0.999 does",
    ),
    (
        "objectives/latency/threshold",
        "3s",
        "objectives.latency.threshold: '3s' is no bucket boundary; use one of "
        + ", ".join(f"{bucket:g}s" for bucket in DURATION_BUCKETS),
    ),
    (
        "objectives/burn_rates",
        [{"long": "1h", "short": "2h", "factor": 1, "for": "1m", "severity": "critical"}],
        "objectives.burn_rates: short 2h must be below long 1h",
    ),
    (
        "objectives/burn_rates",
        [{"long": "1 hour", "short": "5m", "factor": 1, "for": "1m", "severity": "critical"}],
        "objectives.burn_rates.long: '1 hour' is no duration; write one such as 30s or 5m",
    ),
    (
        "servers",
        {"files": {"speed": {}}},
        "servers.files: 'speed' is unknown; use availability, latency",
    ),
    (
        "servers",
        {"files": {"availability": {"threshold": "1s"}}},
        "servers.files.availability: 'threshold' is unknown; use target",
    ),
    ("servers", ["files"], "servers: expected a mapping of server names to objectives"),
    (
        "alerts/server_down/for",
        60,
        "alerts.server_down.for: 60 is no duration; write one such as 30s or 5m",
    ),
    ("alerts/tool_error_ratio/ratio", "many", "alerts.tool_error_ratio.ratio: 'many' is no number"),
    ("alerts/exporter_down/until", "1m", "alerts.exporter_down: 'until' is unknown; use for"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_SETTINGS)
def test_bad_settings_get_one_clear_line(path: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as raised:
        parse(_changed(path, value))
    assert str(raised.value) == message


def test_a_bad_settings_file_is_named_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "objectives.yml"
    settings.write_text("job: [")
    assert main(["--settings", str(settings), "--output", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"{settings}: ")
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == [settings]


def test_durations_are_of_one_unit() -> None:
    assert [seconds(text) for text in ("15s", "30m", "6h", "3d")] == [15, 1800, 21600, 259200]

"""The demo's configurations are the project's own, with other addresses, folders and fast_rules."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo import configuration
from exporter.config.load import load_config
from tests.support.paths import ROOT

FOLDER = ROOT / "prometheus"
ADDRESSES = {
    "exporter": "127.0.0.1:1001",
    "prometheus": "127.0.0.1:1002",
    "alertmanager": "127.0.0.1:1003",
    "grafana": "127.0.0.1:1004",
    "traces": "127.0.0.1:1005",
    "echo": "127.0.0.1:1006",
}


@pytest.fixture
def prometheus_source() -> Any:
    return yaml.safe_load((FOLDER / "prometheus.yml").read_text())


@pytest.fixture
def alertmanager_source() -> Any:
    return yaml.safe_load((FOLDER / "alertmanager.yml").read_text())


def test_each_job_is_scraped_where_its_part_listens(prometheus_source: Any) -> None:
    made = configuration.prometheus(prometheus_source, FOLDER, ADDRESSES)
    targets = {job["job_name"]: job["static_configs"] for job in made["scrape_configs"]}
    assert targets == {
        "mcp-exporter": [{"targets": ["127.0.0.1:1001"]}],
        "prometheus": [{"targets": ["127.0.0.1:1002"]}],
        "alertmanager": [{"targets": ["127.0.0.1:1003"]}],
    }


def test_what_a_job_says_besides_is_kept_but_its_pace() -> None:
    job = {"job_name": "mcp-exporter", "scrape_interval": "1m", "honor_labels": True}
    source = {"global": {}, "rule_files": [], "scrape_configs": [job]}
    (made,) = configuration.prometheus(source, FOLDER, ADDRESSES)["scrape_configs"]
    assert made["honor_labels"] is True
    assert "scrape_interval" not in made


def test_every_rule_file_is_found_from_the_demos_folder(prometheus_source: Any) -> None:
    made = configuration.prometheus(prometheus_source, FOLDER, ADDRESSES)
    patterns = [Path(pattern) for pattern in made["rule_files"]]
    assert patterns
    for pattern in patterns:
        assert pattern.is_absolute()
        assert list(pattern.parent.glob(pattern.name))


def test_without_an_alertmanager_there_is_neither_a_job_nor_a_receiver(
    prometheus_source: Any,
) -> None:
    without = {name: where for name, where in ADDRESSES.items() if name != "alertmanager"}
    made = configuration.prometheus(prometheus_source, FOLDER, without)
    assert made["alerting"] == {"alertmanagers": []}
    assert "alertmanager" not in [job["job_name"] for job in made["scrape_configs"]]


def test_alerts_go_to_the_demos_alertmanager(prometheus_source: Any) -> None:
    made = configuration.prometheus(prometheus_source, FOLDER, ADDRESSES)
    assert made["alerting"]["alertmanagers"] == [
        {"static_configs": [{"targets": ["127.0.0.1:1003"]}]}
    ]


def test_mail_goes_to_the_local_inbox_in_plain_text(alertmanager_source: Any) -> None:
    made = configuration.alertmanager(alertmanager_source, "127.0.0.1:1005")
    assert made["global"]["smtp_smarthost"] == "127.0.0.1:1005"
    assert made["global"]["smtp_require_tls"] is False


def test_a_persons_own_mail_server_stays(alertmanager_source: Any) -> None:
    own = {"smtp_smarthost": "mail.example.com:587", "smtp_require_tls": True}
    source = {**alertmanager_source, "global": own}
    assert configuration.alertmanager(source, "127.0.0.1:1005")["global"] == own


def test_receivers_routes_and_inhibition_stay_as_the_project_has_them(
    alertmanager_source: Any,
) -> None:
    made = configuration.alertmanager(alertmanager_source, "127.0.0.1:1005")
    assert made["receivers"] == alertmanager_source["receivers"]
    assert made["inhibit_rules"] == alertmanager_source["inhibit_rules"]
    assert [r["receiver"] for r in made["route"]["routes"]] == [
        r["receiver"] for r in alertmanager_source["route"]["routes"]
    ]


def test_notifications_leave_sooner_at_every_depth_of_the_routes() -> None:
    child = {"receiver": "b", "group_wait": "15s"}
    route = {"receiver": "a", "group_interval": "5m", "repeat_interval": "4h", "routes": [child]}
    source = {"global": {"smtp_smarthost": "mailpit:1025"}, "route": route}
    made = configuration.alertmanager(source, "127.0.0.1:1005")["route"]
    assert made["group_interval"] == "30s"
    assert made["repeat_interval"] == "4h"
    assert made["routes"] == [{"receiver": "b", "group_wait": "5s"}]


def test_the_sources_are_left_as_they_were(
    prometheus_source: Any, alertmanager_source: Any
) -> None:
    before = copy.deepcopy((prometheus_source, alertmanager_source))
    configuration.prometheus(prometheus_source, FOLDER, ADDRESSES)
    configuration.alertmanager(alertmanager_source, "127.0.0.1:1005")
    assert (prometheus_source, alertmanager_source) == before


def test_the_exporter_accepts_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "exporter.yml"
    made = configuration.exporter("python", ROOT, ADDRESSES, tmp_path / "mode")
    file.write_text(yaml.safe_dump(made))
    loaded = load_config(file, {})
    assert loaded.tracing is not None
    assert loaded.tracing.endpoint == "http://127.0.0.1:1005/v1/traces"
    assert sorted(loaded.servers) == ["echo", "files", "flaky"]


def test_grafana_listens_on_loopback_and_reads_the_projects_dashboards(tmp_path: Path) -> None:
    settings = configuration.grafana(ROOT, tmp_path, ADDRESSES)
    assert settings["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert settings["GF_SERVER_HTTP_PORT"] == "1004"
    assert settings["PROMETHEUS_URL"] == "http://127.0.0.1:1002"
    assert Path(settings["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).is_file()
    assert settings["GF_PATHS_PROVISIONING"] == str(tmp_path / "provisioning")


def test_an_exemplar_in_grafana_leads_to_the_demos_own_page() -> None:
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/datasources.yml").read_text())
    made = configuration.data_sources(source, "127.0.0.1:1005")["datasources"]
    by_uid = {each["uid"]: each for each in made}
    (page,) = by_uid["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert page["name"] == "trace_id"
    # Grafana makes one dollar of two.
    assert page["url"] == "http://127.0.0.1:1005/trace/$${__value.raw}"
    assert by_uid.keys() == {"prometheus", "alertmanager"}

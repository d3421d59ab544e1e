"""What docker-compose.yml and the Dockerfile say; `scripts.compose_check` tries it on an engine."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from exporter.config.load import load_config
from scripts import compose_check
from scripts.compose_stack import CheckError
from tests.support.paths import ROOT

EXACT_TAG = re.compile(r"[a-z0-9./-]+:v?\d+\.\d+\.\d+(-[a-z0-9.-]+)?(@sha256:[0-9a-f]{64})?")
OBJECTIVE_DAYS = 30
STATE_FLAGS = {"prometheus": "--storage.tsdb.path=", "alertmanager": "--storage.path="}


def with_defaults(text: str) -> str:
    """The compose file as it is where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


COMPOSE: dict[str, Any] = yaml.safe_load(with_defaults((ROOT / "docker-compose.yml").read_text()))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EVERY_SERVICE = pytest.mark.parametrize("name", SERVICES)


def dockerfile_stages() -> list[list[tuple[str, str]]]:
    """For each stage its instructions with their arguments; the first of them is FROM."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    stages: list[list[tuple[str, str]]] = []
    for line in filter(None, re.sub(r"\\\n\s*", "", text).splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages


def final_stage() -> dict[str, str]:
    return dict(dockerfile_stages()[-1])


def volumes(name: str) -> dict[str, tuple[str, bool]]:
    """Path in the container to what is mounted there and whether it is read-only."""
    parts = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return {part[1]: (part[0], part[2:] == ["ro"]) for part in parts}


def addresses_of_prometheus() -> set[str]:
    loaded = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    groups = [*loaded["scrape_configs"], *loaded["alerting"]["alertmanagers"]]
    return {t for group in groups for s in group["static_configs"] for t in s["targets"]}


def addresses_of_alertmanager() -> set[str]:
    return {
        yaml.safe_load((ROOT / "prometheus/alertmanager.yml").read_text())["global"][
            "smtp_smarthost"
        ]
    }


def addresses_of_grafana() -> set[str]:
    told = SERVICES["grafana"]["environment"]
    names = ("PROMETHEUS_URL", "ALERTMANAGER_URL", "JAEGER_URL")
    return {urlsplit(told[name]).netloc for name in names}


def addresses_of_exporter() -> set[str]:
    tracing = load_config(ROOT / "deploy/compose.exporter.yml", {}).tracing
    assert tracing is not None
    return {urlsplit(tracing.endpoint).netloc}


@EVERY_SERVICE
def test_every_image_is_built_here_or_has_an_exact_tag(name: str) -> None:
    assert "build" in SERVICES[name] or EXACT_TAG.fullmatch(SERVICES[name]["image"])


@EVERY_SERVICE
def test_every_image_from_elsewhere_is_held_by_its_digest(name: str) -> None:
    assert "build" in SERVICES[name] or "@sha256:" in SERVICES[name]["image"]


@EVERY_SERVICE
def test_no_service_takes_all_memory_or_all_processes(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 1024


def reachable_from(name: str) -> set[str]:
    """The services that share a network with one."""
    own = set(SERVICES[name]["networks"])
    return {other for other, service in SERVICES.items() if own & set(service["networks"])} - {name}


def test_only_those_reach_the_exporter_whom_it_talks_to_and_so_everywhere() -> None:
    assert reachable_from("exporter") == {"prometheus", "jaeger"}
    assert reachable_from("jaeger") == {"exporter", "grafana"}
    assert reachable_from("prometheus") == {"exporter", "alertmanager", "grafana"}
    assert reachable_from("mailpit") == {"alertmanager"}
    named = [network for service in SERVICES.values() for network in service["networks"]]
    assert set(named) == set(COMPOSE["networks"])
    assert named.count("clients") == 1, "whoever calls tools there reaches the exporter alone"


def test_prometheus_may_name_the_exporter_as_it_does() -> None:
    allowed = SERVICES["exporter"]["environment"]["MCP_EXPORTER_WEB_ALLOWED_HOSTS"]
    assert any(address.startswith(f"{allowed}:") for address in addresses_of_prometheus())


def test_nobody_can_guess_grafanas_password_or_reach_it_by_another_name() -> None:
    told = SERVICES["grafana"]["environment"]
    assert told["GF_SECURITY_ADMIN_PASSWORD"] in ("", None)
    assert "/dev/urandom" in SERVICES["grafana"]["entrypoint"][-1]
    assert told["GF_SERVER_ENFORCE_DOMAIN"] == "true"
    assert urlsplit(told["GF_SERVER_ROOT_URL"]).hostname == told["GF_SERVER_DOMAIN"]


@EVERY_SERVICE
def test_every_port_is_published_on_loopback_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_publish_the_same_port() -> None:
    published = [p.split(":")[1] for s in SERVICES.values() for p in s.get("ports", [])]
    assert len(published) == len(set(published))


@EVERY_SERVICE
def test_no_service_runs_as_root_or_can_become_it(name: str) -> None:
    service = SERVICES[name]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is True


@EVERY_SERVICE
def test_no_service_has_a_part_of_the_host(name: str) -> None:
    forbidden = {"privileged", "cap_add", "devices", "network_mode", "pid", "ipc", "userns_mode"}
    assert not forbidden & SERVICES[name].keys()
    assert not [source for source, _ in volumes(name).values() if source.startswith(("/", "~"))]


@EVERY_SERVICE
def test_every_service_has_a_health_check_and_comes_back(name: str) -> None:
    built = "build" in SERVICES[name]
    check = final_stage()["HEALTHCHECK"] if built else SERVICES[name]["healthcheck"]["test"]
    assert "CMD" in check
    assert SERVICES[name]["restart"] == "unless-stopped"


@EVERY_SERVICE
def test_dependencies_are_conditions_that_both_generations_of_compose_know(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how["condition"] in {"service_started", "service_healthy"}


@EVERY_SERVICE
def test_what_is_mounted_from_the_repository_exists_and_is_read_only(name: str) -> None:
    for source, read_only in volumes(name).values():
        assert source in COMPOSE["volumes"] or (read_only and (ROOT / source).exists())


def test_every_named_volume_is_used() -> None:
    used = {source for name in SERVICES for source, _ in volumes(name).values()}
    assert set(COMPOSE["volumes"]) <= used


@pytest.mark.parametrize("name", STATE_FLAGS)
def test_what_a_flag_says_is_stored_is_stored_on_a_named_volume(name: str) -> None:
    flag = next(f for f in SERVICES[name]["command"] if f.startswith(STATE_FLAGS[name]))
    assert volumes(name)[flag.partition("=")[2]][0] in COMPOSE["volumes"]


def test_the_mails_and_grafanas_database_are_stored_on_named_volumes() -> None:
    database = Path(SERVICES["mailpit"]["environment"]["MP_DATABASE"])
    assert volumes("mailpit")[str(database.parent)][0] in COMPOSE["volumes"]
    assert volumes("grafana")["/var/lib/grafana"][0] in COMPOSE["volumes"]


def test_samples_are_kept_for_longer_than_the_objectives_look_back() -> None:
    flags = dict(flag.partition("=")[::2] for flag in SERVICES["prometheus"]["command"])
    assert int(flags["--storage.tsdb.retention.time"].removesuffix("d")) > OBJECTIVE_DAYS


def test_the_links_of_an_alert_lead_to_a_published_port_and_to_a_page_that_is_there() -> None:
    links = yaml.safe_load((ROOT / "prometheus/objectives.yml").read_text())["links"]
    published = {port.rpartition(":")[0] for port in SERVICES["grafana"]["ports"]}
    assert urlsplit(links["grafana"]).netloc in published
    flags = dict(flag.partition("=")[::2] for flag in SERVICES["prometheus"]["command"])
    folder, _ = volumes("prometheus")[flags["--web.console.templates"]]
    assert (ROOT / folder / links["runbook"].rpartition("/consoles/")[2]).exists()


def test_prometheus_is_started_without_the_doors_to_its_administration() -> None:
    flags = " ".join(SERVICES["prometheus"]["command"])
    assert "--web.enable" not in flags


def test_grafana_is_told_every_variable_that_its_provisioning_names() -> None:
    files = (ROOT / "grafana/provisioning").glob("*/*.yml")
    lines = [
        ln for f in files for ln in f.read_text().splitlines() if not ln.lstrip().startswith("#")
    ]
    named = set(re.findall(r"\$\{(\w+)\}", "\n".join(lines)))
    assert named
    assert named <= SERVICES["grafana"]["environment"].keys()


def test_the_dot_of_a_call_leads_to_the_store_that_has_its_span() -> None:
    path = ROOT / "grafana/provisioning/datasources/datasources.yml"
    sources = {each["uid"]: each for each in yaml.safe_load(path.read_text())["datasources"]}
    (link,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    store = sources[link["datasourceUid"]]
    (exporters,) = addresses_of_exporter()
    asked = urlsplit(SERVICES["grafana"]["environment"][store["url"].strip("${}")])
    assert asked.hostname == exporters.partition(":")[0]
    assert link["name"] == "trace_id"
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_grafana_keeps_the_plugins_that_its_image_brings() -> None:
    told = SERVICES["grafana"]["environment"]
    assert told["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert told["GF_PLUGINS_PREINSTALL_AUTO_UPDATE"] == "false"


def test_grafana_finds_the_dashboards_where_its_provider_looks() -> None:
    path = SERVICES["grafana"]["environment"]["DASHBOARDS_PATH"]
    assert volumes("grafana")[path][0] == "./grafana/dashboards"


@pytest.mark.parametrize(
    "addresses",
    [
        addresses_of_prometheus(),
        addresses_of_alertmanager(),
        addresses_of_grafana(),
        addresses_of_exporter(),
    ],
    ids=["prometheus", "alertmanager", "grafana", "exporter"],
)
def test_every_address_in_a_configuration_is_a_service(addresses: set[str]) -> None:
    hosts = {address.partition(":")[0] for address in addresses} - {"localhost"}
    assert hosts
    assert hosts <= SERVICES.keys()


def test_prometheus_scrapes_the_port_on_which_the_exporter_listens() -> None:
    listens = SERVICES["exporter"]["environment"]["MCP_EXPORTER_WEB_LISTEN_ADDRESS"]
    assert f"exporter:{listens.partition(':')[2]}" in addresses_of_prometheus()


def test_what_prometheus_calls_the_exporter_is_where_a_browser_reaches_it() -> None:
    """A server's state in Grafana links there, and "exporter" is a name of the containers alone."""
    loaded = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())
    (job,) = (each for each in loaded["scrape_configs"] if each["job_name"] == "mcp-exporter")
    (group,) = job["static_configs"]
    (target,) = group["targets"]
    published = [port.rpartition(":") for port in SERVICES["exporter"]["ports"]]
    outside = {inside: address for address, _, inside in published}
    assert group["labels"]["instance"] == outside[target.partition(":")[2]]


def test_the_check_knows_every_service_and_every_port() -> None:
    published = {int(p.split(":")[1]) for s in SERVICES.values() for p in s.get("ports", [])}
    assert set(compose_check.SERVICES) == set(SERVICES)
    assert set(compose_check.PORTS.values()) == published


def test_the_check_expects_the_servers_of_the_configuration() -> None:
    configured = load_config(ROOT / "deploy/compose.exporter.yml", {}).servers
    assert set(configured) == compose_check.MCP_SERVERS


def test_both_stages_of_the_image_start_from_the_same_exact_tag() -> None:
    bases = {stage[0][1].partition(" ")[0] for stage in dockerfile_stages()}
    assert len(bases) == 1
    assert EXACT_TAG.fullmatch(bases.pop())


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    user, _, group = final_stage()["USER"].partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_the_image_starts_the_command_without_a_shell_so_that_it_gets_sigterm() -> None:
    stage = final_stage()
    assert json.loads(stage["ENTRYPOINT"]) == ["mcp-exporter"]
    assert json.loads(stage["CMD"]) == ["serve"]
    assert json.loads(stage["HEALTHCHECK"].partition("CMD ")[2])[0] == "python"


def test_the_configuration_is_mounted_where_the_image_looks_for_it() -> None:
    assert "MCP_EXPORTER_CONFIG_FILE=/etc/mcp-exporter/config.yml" in final_stage()["ENV"]
    assert "/etc/mcp-exporter/config.yml" in volumes("exporter")


def test_every_package_of_the_image_is_held_by_its_hash() -> None:
    runs = " && ".join(
        rest for stage in dockerfile_stages() for word, rest in stage if word == "RUN"
    )
    installs = [step for step in runs.split("&&") if "pip install" in step]
    assert installs
    for step in installs:
        assert "--require-hashes" in step or "--no-deps --no-index /dist/*.whl" in step


def test_what_the_image_is_made_of_exists_and_is_let_into_the_build() -> None:
    let_in = {
        line[1:].rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copies = [r for s in dockerfile_stages() for w, r in s if w == "COPY" and "--from" not in r]
    sources = {source for copy in copies for source in copy.split()[:-1]}
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


CONTAINER: dict[str, Any] = {
    "Config": {"User": "65534:65534"},
    "HostConfig": {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "PortBindings": {"9090/tcp": [{"HostIp": "127.0.0.1", "HostPort": "9090"}]},
    },
}


@pytest.mark.parametrize(
    ("part", "weak", "complaint"),
    [
        ("Config", {"User": ""}, "prometheus runs as root"),
        ("Config", {"User": "0:0"}, "prometheus runs as root"),
        ("HostConfig", {"CapDrop": None}, "prometheus keeps capabilities"),
        ("HostConfig", {"SecurityOpt": None}, "prometheus may gain privileges"),
        ("HostConfig", {"ReadonlyRootfs": False}, "prometheus can write to its image"),
        (
            "HostConfig",
            {"PortBindings": {"9090/tcp": [{"HostIp": "", "HostPort": "9090"}]}},
            "prometheus is open to the network",
        ),
    ],
)
def test_the_check_refuses_a_container_that_is_not_confined(
    part: str, weak: dict[str, Any], complaint: str
) -> None:
    compose_check.confined("prometheus", CONTAINER)
    container = deepcopy(CONTAINER)
    container[part].update(weak)
    with pytest.raises(CheckError, match=complaint):
        compose_check.confined("prometheus", container)

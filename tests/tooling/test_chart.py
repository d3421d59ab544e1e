"""The Helm chart: what it renders is valid, is ours, and bad values are one clear line."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import HelmError, lint, package
from jsonschema import Draft202012Validator

from exporter.cli import serve
from exporter.cli.main import parser
from exporter.config.load import load_config
from scripts import crds
from tests.support import chart
from tests.support.paths import ROOT
from tests.support.tools import succeeds

TOKENS = {"tokens": {"laptop": "0123456789abcdef"}}
VERSIONS = ("1.29", "1.37")
CUSTOM = ("monitoring.coreos.com/v1", "gateway.networking.k8s.io/v1")
"""Kinds that Kubernetes itself does not have."""
RULES = sorted(
    set((ROOT / "prometheus/rules").glob("*.yml"))
    - set((ROOT / "prometheus/rules").glob("*.test.yml"))
)
SIDECAR = chart.KUBERNETES / "sidecar.yaml"


def _rendered(given: Any) -> list[chart.Document]:
    return chart.documents(chart.render(given))


def _example(case: str) -> list[chart.Document]:
    if case == "sidecar":
        return list(yaml.safe_load_all(SIDECAR.read_text()))
    return _rendered(chart.values(case))


def _exporter(found: list[chart.Document]) -> Any:
    (deployment,) = chart.of_kind("Deployment", found)
    pod = deployment["spec"]["template"]["spec"]
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    (container,) = (each for each in containers if each["name"] == "mcp-exporter")
    return pod, container


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", chart.CASES)
def test_helm_finds_nothing_to_complain_of(case: str, version: str) -> None:
    report = lint(
        chart.CHART,
        chart.values(case),
        strict=True,
        namespace="team-a",
        kube_version=f"v{version}.0",
    )
    worst = [found for found in report["messages"] if found["severity"] > 1]
    assert (worst, report["errors"]) == ([], [])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", [*chart.CASES, "sidecar"])
def test_kubernetes_knows_every_key(case: str, version: str) -> None:
    builtin = [each for each in _example(case) if each["apiVersion"] not in CUSTOM]
    assert builtin
    for document in builtin:
        kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_key_would_be_noticed() -> None:
    (service,) = chart.of_kind("Service", _rendered(TOKENS))
    service["spec"]["slector"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.37", strict=True)


@pytest.mark.parametrize(
    "case", ["everything", "replicas", "discovery", "everywhere", "gateway", "sidecar"]
)
def test_the_operator_knows_every_key(case: str) -> None:
    if not crds.CRDS.is_dir():
        pytest.skip(
            "the Prometheus operator's schemas are not here: `make crds` fetches them with Go"
        )
    custom = [each for each in _example(case) if each["apiVersion"] == CUSTOM[0]]
    assert custom
    for document in custom:
        _schema(document["kind"]).validate(document)


def _schema(kind: str) -> Draft202012Validator:
    path = crds.CRDS / f"monitoring.coreos.com_{kind.lower()}s.yaml"
    versions = yaml.safe_load(path.read_text())["spec"]["versions"]
    (schema,) = (each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == "v1")
    metadata = schema["properties"].pop("metadata")  # the API server's own
    closed = _closed(schema)
    closed["properties"]["metadata"] = metadata
    return Draft202012Validator(closed)


def _closed(schema: Any) -> Any:
    """The same, refusing keys that it does not name, without patterns that Go alone can read."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _closed(value) for key, value in schema.items()}
    if isinstance(made.get("pattern"), str) and "(?i)" in made["pattern"]:
        del made["pattern"]
    if "properties" in made and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made


@pytest.mark.parametrize("case", chart.CASES)
def test_an_upgrade_changes_what_it_is_known_to_change(case: str) -> None:
    kept = (chart.GOLDEN / f"{case}.txt").read_text()
    assert chart.golden(chart.render(chart.values(case))) == kept, "python -m tests.support.chart"


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in chart.GOLDEN.iterdir()} == set(chart.CASES)


@pytest.mark.parametrize("case", [*chart.CASES, "sidecar"])
def test_the_exporter_takes_every_flag(case: str) -> None:
    _, container = _exporter(_example(case))
    arguments = parser().parse_args(container["args"])
    assert arguments.run is serve.run


@pytest.mark.parametrize("case", ["discovery", "everywhere"])
def test_the_discovery_takes_every_flag_and_writes_where_the_exporter_reads(case: str) -> None:
    pod, exporter = _exporter(_example(case))
    (discovery,) = (each for each in pod["containers"] if each["name"] == "discovery")
    found = vars(parser().parse_args(discovery["args"]))
    serving = vars(parser().parse_args(exporter["args"]))
    read, written = _mounts(exporter), _mounts(discovery)
    assert read[serving["config.directory"]] == written[str(Path(found["output"]).parent)]
    assert exporter["securityContext"] == discovery["securityContext"]


def _mounts(container: Any) -> dict[str, str]:
    return {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}


def test_the_discovery_alone_holds_a_token() -> None:
    pod, exporter = _exporter(_example("discovery"))
    tokens = {each["name"] for each in pod["volumes"] if "projected" in each}
    assert tokens == {"api"}
    assert not tokens & set(_mounts(exporter).values())


def test_the_discovery_may_list_and_watch_services_where_it_is_told_to() -> None:
    roles = chart.of_kind("Role", _example("discovery"))
    assert [each["metadata"]["namespace"] for each in roles] == ["team-a", "team-b"]
    (everywhere,) = chart.of_kind("ClusterRole", _example("everywhere"))
    for role in (*roles, everywhere):
        assert role["rules"] == [
            {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]}
        ]
    assert not chart.of_kind("ClusterRole", _example("discovery"))
    bound = chart.of_kind("RoleBinding", _example("discovery"))
    assert {each["subjects"][0]["namespace"] for each in bound} == {"team-a"}


@pytest.mark.parametrize("case", ["everything", "gateway", "stdio", "sidecar"])
def test_the_exporter_reads_the_configuration(case: str, tmp_path: Path) -> None:
    maps = chart.of_kind("ConfigMap", _example(case))
    (text,) = (each["data"]["config.yml"] for each in maps if "config.yml" in each["data"])
    secrets = "/etc/mcp-exporter/secrets"
    (tmp_path / "search-api").mkdir()
    (tmp_path / "search-api" / "token").write_text("a secret that is mounted")
    path = tmp_path / "config.yml"
    path.write_text(text.replace(secrets, str(tmp_path)))
    assert load_config(path, {}).servers


@pytest.mark.parametrize("case", [*chart.CASES, "sidecar"])
def test_the_pod_is_restricted_and_needs_no_api(case: str) -> None:
    pod, container = _exporter(_example(case))
    security = container["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert "cpu" not in container["resources"]["limits"]
    assert not [mount for mount in container["volumeMounts"] if "subPath" in mount]


@pytest.mark.parametrize("case", [*chart.CASES, "sidecar"])
def test_probes_ask_the_exporter_alone(case: str) -> None:
    _, container = _exporter(_example(case))
    asked = {name: container[name]["httpGet"]["path"] for name in container if "Probe" in name}
    assert asked == {
        "startupProbe": "/-/ready",
        "readinessProbe": "/-/ready",
        "livenessProbe": "/-/healthy",
    }


@pytest.mark.parametrize("case", chart.CASES)
def test_a_pod_may_take_as_long_as_its_stop(case: str) -> None:
    pod, container = _exporter(_example(case))
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    given = vars(parser().parse_args(container["args"]))
    delay, timeout = (int(given[f"drain.{name}"].rstrip("s")) for name in ("delay", "timeout"))
    assert pod["terminationGracePeriodSeconds"] >= waits + 2 * delay + timeout + 8


def test_rules_are_the_repositorys_own() -> None:
    given = {**TOKENS, "prometheusRule": {"enabled": True, "monitoring": True}}
    found = chart.of_kind("PrometheusRule", _rendered(given))
    made = {each["metadata"]["name"]: each["spec"] for each in found}
    assert made == {
        f"mine-mcp-exporter-{path.stem}": yaml.safe_load(path.read_text()) for path in RULES
    }


def test_the_operators_own_watchdog_is_enough() -> None:
    found = chart.of_kind(
        "PrometheusRule", _rendered({**TOKENS, "prometheusRule": {"enabled": True}})
    )
    assert len(found) == len(RULES) - 1
    assert "Watchdog" not in json.dumps(found)


def test_links_of_alerts_lead_where_they_are_told_to() -> None:
    found = chart.of_kind("PrometheusRule", _rendered(chart.values("everything")))
    text = json.dumps(found)
    assert "https://grafana.example.com/d/mcp-servers" in text
    assert "https://wiki.example.com/mcp-runbook#mcpserverdown" in text
    assert "127.0.0.1" not in text
    assert "consoles" not in text


@pytest.mark.e2e
@pytest.mark.parametrize("case", ["everything", "replicas", "gateway"])
def test_prometheus_takes_the_rendered_rules(case: str, tmp_path: Path) -> None:
    for each in chart.of_kind("PrometheusRule", _example(case)):
        (tmp_path / f"{each['metadata']['name']}.yml").write_text(yaml.safe_dump(each["spec"]))
    written = sorted(tmp_path.iterdir())
    assert len(written) >= len(RULES) - 1
    succeeds("promtool", "check", "rules", "--lint=all", "--lint-fatal", *written)


def _dashboards(**given: str) -> dict[str, str]:
    """File to text, of the rendered dashboards."""
    asked = {**TOKENS, "dashboards": {"enabled": True, **given}}
    found = chart.of_kind("ConfigMap", _rendered(asked))
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in found} == {"1"}
    return {name: text for each in found for name, text in each["data"].items()}


def test_dashboards_are_the_repositorys_own() -> None:
    own = {path.name: path.read_text() for path in (ROOT / "grafana/dashboards").glob("*.json")}
    assert _dashboards(exporterUrl="") == own


def test_a_servers_state_leads_to_where_a_browser_reaches_the_exporter() -> None:
    for given, address in (
        ({}, "http://127.0.0.1:6280"),
        ({"exporterUrl": "https://mcp.example.com/"}, "https://mcp.example.com"),
    ):
        made = _dashboards(**given)
        for uid in ("mcp-overview", "mcp-servers"):
            text = made[f"{uid}.json"]
            assert re.findall(r'"url": "(http.*?/probe\?target)=', text) == [
                f"{address}/probe?target"
            ]


def test_series_have_the_job_of_the_rules() -> None:
    job = yaml.safe_load((ROOT / "prometheus/objectives.yml").read_text())["job"]
    for kind in ("PodMonitor", "ServiceMonitor"):
        found = _rendered({**TOKENS, "monitor": {"kind": kind}})
        monitors = [each for each in found if each["kind"].endswith("Monitor")]
        assert [each["kind"] for each in monitors] == [kind]
        label = monitors[0]["spec"]["jobLabel"]
        (deployment,), (service,) = (chart.of_kind(it, found) for it in ("Deployment", "Service"))
        assert deployment["spec"]["template"]["metadata"]["labels"][label] == job
        assert service["metadata"]["labels"][label] == job


def test_packed_it_renders_the_same_and_carries_no_tests(tmp_path: Path) -> None:
    packed = Path(package(chart.CHART, destination=tmp_path))
    given = {**TOKENS, "prometheusRule": {"enabled": True}, "dashboards": {"enabled": True}}
    assert chart.render(given, packed) == chart.render(given)
    with tarfile.open(packed) as archive:
        names = archive.getnames()
    assert "mcp-exporter/files/rules/servers.alerts.yml" in names
    assert not [name for name in names if name.endswith(".test.yml") or "/ci/" in name]


def test_limits_are_the_exporters_own() -> None:
    assert yaml.safe_load((chart.CHART / "values.yaml").read_text())["config"] == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "set tokens, existingTokenSecret or tls.clientCa, or allowUnauthenticated: true"),
        ({**TOKENS, "replica": 2}, "additional properties 'replica' not allowed"),
        ({**TOKENS, "monitor": {"lables": {}}}, "additional properties 'lables' not allowed"),
        ({**TOKENS, "monitor": {"kind": "both"}}, "'none', 'PodMonitor', 'ServiceMonitor'"),
        ({"tokens": {"laptop": "short"}}, "at '/tokens/laptop': minLength: got 5, want 16"),
        ({**TOKENS, "allowUnauthenticated": True}, "take one of them"),
        ({**TOKENS, "existingTokenSecret": "mine"}, "take one of them"),
        (
            {**TOKENS, "config": {"limits": {"clients": 5}}},
            "config: no servers; add config.servers",
        ),
        ({"tls": {"clientCa": True}}, "tls.clientCa: the certificates are in tls.existingSecret"),
        (
            {**TOKENS, "discovery": {"enabled": True}, "serversVolume": {"emptyDir": {}}},
            "serversVolume: discovery writes into that directory; take one of them",
        ),
        (
            {**TOKENS, "discovery": {"allNamespaces": True, "namespaces": ["a"]}},
            "discovery.allNamespaces: namespaces are given as well; take one of them",
        ),
        ({**TOKENS, "httpRoute": {"enabled": True}}, "httpRoute.parentRefs: no gateway; add one"),
    ],
)
def test_bad_values_are_one_line_with_the_mend(given: Any, said: str) -> None:
    with pytest.raises(HelmError) as refused:
        chart.render(given)
    lines = [line for line in str(refused.value).splitlines() if said in line]
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Nothing scrapes it: set monitor.kind"),
        ({"monitor": {"kind": "PodMonitor"}}, "set monitor.labels.release"),
        ({"replicas": 2, "config": {"servers": {"t": {"command": "t"}}}}, "sessions of t (stdio)"),
        ({}, "It has no servers yet"),
    ],
)
def test_notes_say_what_is_missing(given: Any, said: str) -> None:
    assert said in chart.render({**TOKENS, **given})["NOTES.txt"]


def test_notes_are_silent_where_nothing_is_missing() -> None:
    notes = chart.render({**chart.values("gateway"), "prometheusRule": {}})["NOTES.txt"]
    assert [line for line in notes.splitlines() if line.strip()][2:] == []

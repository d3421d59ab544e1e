"""Installs, upgrades and uninstalls the chart, and has the discovery watch."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, Config

from scripts import crds
from scripts.environment import say
from tests.cluster import build
from tests.cluster.api_server import ApiServer, running
from tests.support import chart
from tests.support.fake_kubernetes import service
from tests.support.running import free_address, wait_for
from tests.support.running import running as program

SPACE = "team-a"
VALUES = {
    "existingTokenSecret": "mcp-tokens",
    "replicas": 2,
    "discovery": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "monitor": {"kind": "PodMonitor"},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
}
_SPACED = f"/namespaces/{SPACE}"
KINDS = {
    f"/api/v1{_SPACED}": ("services", "configmaps", "serviceaccounts", "secrets"),
    f"/apis/apps/v1{_SPACED}": ("deployments",),
    f"/apis/policy/v1{_SPACED}": ("poddisruptionbudgets",),
    f"/apis/networking.k8s.io/v1{_SPACED}": ("networkpolicies",),
    f"/apis/rbac.authorization.k8s.io/v1{_SPACED}": ("roles", "rolebindings"),
    f"/apis/monitoring.coreos.com/v1{_SPACED}": ("podmonitors", "prometheusrules"),
}
"""What the chart makes."""


def main() -> int:
    """Return 0 where every check passed."""
    try:
        build.api_server()
        build.etcd()
    except build.BuildError as error:
        say(f"make cluster: not run: {error}")
        return 1
    if crds.main():
        return 1
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as server:
        _prepare(server)
        for check in (_chart, _pods, _discovery):
            began = time.monotonic()
            check(server, Path(folder))
            print(f"{check.__name__.lstrip('_')}: passed in {time.monotonic() - began:.1f} s")
    return 0


def _prepare(server: ApiServer) -> None:
    for schema in sorted(crds.CRDS.iterdir()):
        server.make(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            yaml.safe_load(schema.read_text()),
        )
    for name in (SPACE, "team-b"):
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        server.make("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    path = f"/apis/monitoring.coreos.com/v1{_SPACED}/prometheusrules"
    wait_for(lambda: server.ask("GET", path).ok, 30, "the operator's kinds")


def _objects(server: ApiServer) -> set[str]:
    return {
        f"{kind}/{name}"
        for path, kinds in KINDS.items()
        for kind in kinds
        for name in server.names(f"{path}/{kind}")
    }


@contextmanager
def _helm(server: ApiServer) -> Iterator[tuple[Config, Chart]]:
    with (
        Config(kubeconfig_content=server.kubeconfig, namespace=SPACE) as config,
        Chart.load(chart.CHART) as loaded,
    ):
        yield config, loaded


def _chart(server: ApiServer, _: Path) -> None:
    """Install, upgrade and uninstall leave nothing."""
    before = _objects(server)
    with _helm(server) as (helm, loaded):
        helm.install(loaded, "mine", VALUES)
        made = _objects(server) - before
        rendered = {each["metadata"]["name"] for each in chart.documents(chart.render(VALUES))}
        kept = {name.partition("/")[2] for name in made if "sh.helm.release" not in name}
        assert kept == rendered, kept ^ rendered
        helm.upgrade(loaded, "mine", {**VALUES, "replicas": 3})
        path = f"/apis/apps/v1{_SPACED}/deployments/mine-mcp-exporter"
        assert server.ask("GET", path).json()["spec"]["replicas"] == 3
        helm.uninstall("mine")
    assert _objects(server) == before, _objects(server) ^ before


def _pods(server: ApiServer, _: Path) -> None:
    """The pod is admitted as ``restricted``; one that may be root is not."""
    with _helm(server) as (helm, loaded):
        helm.install(loaded, "mine", VALUES)
    deployment = server.ask("GET", f"/apis/apps/v1{_SPACED}/deployments/mine-mcp-exporter").json()
    pod: dict[str, Any] = {
        "metadata": {"name": "pod", "labels": {}},
        "spec": deployment["spec"]["template"]["spec"],
    }
    path = f"/api/v1{_SPACED}/pods"
    server.make(path, pod, dryRun="All", fieldValidation="Strict")
    rooted = copy.deepcopy(pod)
    del rooted["spec"]["securityContext"]["runAsNonRoot"]
    refused = server.ask("POST", path, rooted, params={"dryRun": "All"})
    assert refused.status_code == 403, refused.text
    assert "runAsNonRoot" in refused.text


def _discovery(server: ApiServer, folder: Path) -> None:
    """The Role is enough for its namespace and no other; Services come, change, go, and stay."""
    account = f"/api/v1{_SPACED}/serviceaccounts/mine-mcp-exporter/token"
    asked = {"spec": {"expirationSeconds": 3600}}
    token = server.make(account, asked)["status"]["token"]
    (folder / "token").write_text(token)
    other = server.ask(
        "GET", "/api/v1/namespaces/team-b/services", headers={"Authorization": f"Bearer {token}"}
    )
    assert other.status_code == 403, other.text
    output, address = folder / "kubernetes.yml", free_address()
    command = [
        *(sys.executable, "-m", "exporter", "discover", "kubernetes"),
        *("--kubernetes.url", server.url, "--kubernetes.namespaces", SPACE),
        *("--kubernetes.token-file", str(folder / "token")),
        *("--kubernetes.ca-file", str(server.certificate)),
        *("--output", str(output), "--web.listen-address", address),
    ]
    with program(command, f"http://{address}/metrics", folder / "discover.log"):
        _watch(server, output)


def _watch(server: ApiServer, output: Path) -> None:
    path = f"/api/v1{_SPACED}/services"
    wait_for(output.exists, 30, "the list")
    server.make(path, service(SPACE, "search", scraped={"scrape": "true"}))
    _seen("appeared", lambda: _urls(output) == {f"{SPACE}/search": _url("/mcp")})
    changed = {"metadata": {"annotations": {"mcp-exporter/path": "/v2"}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    assert server.ask("PATCH", f"{path}/search", changed, headers=headers).ok
    _seen("changed", lambda: _urls(output) == {f"{SPACE}/search": _url("/v2")})
    server.stop()
    time.sleep(5)
    assert _urls(output) == {f"{SPACE}/search": _url("/v2")}
    server.start()
    server.make(path, service(SPACE, "late", scraped={"scrape": "true"}))
    wait_for(
        lambda: f"{SPACE}/late" in _urls(output), 60, "a Service after the API server came back"
    )
    assert server.ask("DELETE", f"{path}/search").ok
    _seen("went", lambda: set(_urls(output)) == {f"{SPACE}/late"})


def _seen(what: str, look: Callable[[], bool]) -> None:
    began = time.monotonic()
    wait_for(look, 2, f"a Service that {what}")
    print(f"  {what}: in the file after {time.monotonic() - began:.2f} s")


def _url(path: str) -> str:
    return f"http://search.{SPACE}.svc.cluster.local:8000{path}"


def _urls(output: Path) -> dict[str, str]:
    servers = json.loads(output.read_text())["servers"]
    return {name: each["url"] for name, each in servers.items()}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (AssertionError, subprocess.SubprocessError) as failed:
        say(f"make cluster: {failed}")
        sys.exit(1)

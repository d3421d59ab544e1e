"""The scrape configuration of docs/probes.md, with a real Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.support.exporting import exporter
from tests.support.misbehaving_servers import all_misbehaving
from tests.support.paths import ROOT
from tests.support.running import free_address, running, wait_for
from tests.support.tools import succeeds, tool

TEXT = (ROOT / "docs" / "probes.md").read_text()


def documented() -> str:
    """The configuration as a reader copies it."""
    (found,) = re.findall(r"```yaml\n(scrape_configs:\n.*?)```", TEXT, re.DOTALL)
    return str(found)


def test_the_documented_configuration_is_valid(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_text(documented())
    succeeds("promtool", "check", "config", config)


@contextmanager
def prometheus(folder: Path, web: str, targets: list[str]) -> Iterator[str]:
    """A Prometheus that probes these servers every second, at this scrape listener."""
    config: Any = yaml.safe_load(documented())
    (job,) = config["scrape_configs"]
    job["scrape_interval"] = job["scrape_timeout"] = "2s"
    job["static_configs"] = [{"targets": targets}]
    job["relabel_configs"][-1]["replacement"] = web.removeprefix("http://")
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    address = free_address()
    command = [tool("prometheus"), f"--config.file={file}", f"--web.listen-address={address}"]
    command.append(f"--storage.tsdb.path={folder / 'data'}")
    with running(command, f"http://{address}/-/ready", folder / "prometheus.log"):
        yield f"http://{address}"


@pytest.mark.e2e
def test_a_server_that_does_not_reply_is_down_for_a_prometheus_that_probes(tmp_path: Path) -> None:
    modules = {"well": ("http_server", "modern"), "broken": ("http_server", "broken")}
    with all_misbehaving(modules) as urls:
        servers: dict[str, Any] = {
            name: {"url": url, "probe": {"enabled": False}} for name, url in urls.items()
        }
        with (
            exporter(tmp_path, servers, probe={}) as probed,
            prometheus(tmp_path, probed.web, list(servers)) as url,
        ):

            def values(name: str) -> dict[str, str]:
                answer = requests.get(f"{url}/api/v1/query", {"query": name}, timeout=60).json()
                found = answer["data"]["result"]
                return {each["metric"]["instance"]: each["value"][1] for each in found}

            expected = {"well": "1", "broken": "0"}
            wait_for(lambda: values("mcp_probe_success") == expected, 60, "both probed")
            assert values("mcp_server_up") == expected
            assert values("up") == {"well": "1", "broken": "1"}
            state = values('mcp_server_health_state{state="error"}')
            assert state == {"well": "0", "broken": "1"}

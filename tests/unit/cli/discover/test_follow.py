"""The file is true after every change, and stays when the API server does not reply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporter.cli.discover import follow
from exporter.cli.discover.api import ApiError, ExpiredError
from exporter.cli.discover.follow import DiscoveredServers
from exporter.cli.discover.metrics import DiscoveryMetrics
from exporter.cli.discover.output_file import OutputFile
from tests.support.fake_kubernetes import service


class StoppedError(Exception):
    """The script has ended."""


class ScriptedServices:
    """Gives lists, events and failures in the order of a script."""

    def __init__(self, *script: Any) -> None:
        self._script = list(script)

    def _next(self) -> Any:
        if not self._script:
            raise StoppedError
        following = self._script.pop(0)
        if isinstance(following, Exception):
            raise following
        return following

    async def list(self) -> tuple[Any, str]:
        return self._next(), "1"

    async def watch(self, _: str) -> AsyncIterator[tuple[str, Any]]:
        for event in self._next():
            yield event


class Discovery:
    """What the tests look at."""

    def __init__(self, folder: Path, *scopes: str, limit: int = 1000) -> None:
        self.file = OutputFile(folder / "kubernetes.yml", limit)
        self.metrics = DiscoveryMetrics()
        self.slept: list[float] = []
        self.found = DiscoveredServers(
            self.file, self.metrics, "cluster.local", scopes, later=lambda write: write()
        )

    def follow(self, scope: str, *script: Any) -> None:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        services: Any = ScriptedServices(*script)
        with pytest.raises(StoppedError):
            asyncio.run(follow.follow(scope, services, self.found, self.metrics, sleep))

    def sample(self, name: str, **labels: str) -> float | None:
        registry: CollectorRegistry = self.metrics.registry
        return registry.get_sample_value(f"mcp_exporter_discovery_{name}", labels)

    @property
    def names(self) -> list[str]:
        return list(self.file.read())


def _wanted(name: str, version: str = "2", space: str = "a", **said: str) -> dict[str, Any]:
    made = service(space, name, scraped={"scrape": "true", **said})
    made["metadata"]["resourceVersion"] = version
    return made


def _named(own: str, name: str) -> dict[str, Any]:
    made = _wanted(own)
    made["metadata"]["annotations"]["mcp-exporter/name"] = name
    return made


def test_services_come_change_and_go(tmp_path: Path) -> None:
    discovery, seen = Discovery(tmp_path, "a"), []
    discovery.found.replace("a", [_wanted("x")])
    moved = _wanted("x", path="/v2")
    for kind, changed in (("ADDED", _wanted("y")), ("MODIFIED", moved), ("DELETED", _wanted("y"))):
        discovery.found.change(kind, changed)
        seen.append(discovery.names)
    assert seen == [["a/x", "a/y"], ["a/x", "a/y"], ["a/x"]]
    assert discovery.file.read()["a/x"].url == "http://x.a.svc.cluster.local:8000/v2"


def test_a_service_that_no_longer_says_so_goes(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "a")
    discovery.follow("a", [_wanted("x")], [("MODIFIED", _wanted("x", scrape="false"))])
    assert discovery.names == []


def test_a_bookmark_changes_nothing(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "a")
    mark = {"metadata": {"resourceVersion": "9"}}
    discovery.follow("a", [_wanted("x")], [("BOOKMARK", mark)])
    assert discovery.names == ["a/x"]


def test_the_last_list_stays_while_nobody_replies(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "a")
    away = [ApiError("away")] * 7
    discovery.follow("a", [_wanted("x")], *away)
    assert discovery.names == ["a/x"]
    assert discovery.slept == [1, 2, 4, 8, 16, 30, 30]
    assert discovery.sample("up", namespace="a") == 0
    assert discovery.sample("failures_total", step="list") == 7


def test_what_went_meanwhile_goes_with_the_next_list(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "a")
    discovery.follow("a", [_wanted("x"), _wanted("y")], ExpiredError("old"), [_wanted("y")])
    assert discovery.names == ["a/y"]
    assert discovery.sample("up", namespace="a") == 1
    assert discovery.sample("failures_total", step="list") == 0


def test_a_restart_loses_nobody_whose_namespace_was_not_listed_yet(tmp_path: Path) -> None:
    before = Discovery(tmp_path, "a", "b")
    before.found.replace("a", [_wanted("x"), _wanted("old")])
    before.found.replace("b", [_wanted("z", space="b")])
    after = Discovery(tmp_path, "a", "b")
    after.follow("b", ApiError("forbidden"))
    after.follow("a", [_wanted("x")])
    assert after.names == ["a/x", "b/z"]
    after.follow("b", [])
    assert after.names == ["a/x"]


def test_of_two_services_with_one_name_the_first_has_it(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "a")
    discovery.found.replace("a", [_named("y", "same"), _named("x", "same")])
    assert {found.url for found in discovery.file.read().values()} == {
        "http://x.a.svc.cluster.local:8000/mcp"
    }


def test_ten_thousand_hostile_services_are_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    discovery = Discovery(tmp_path, "", limit=50)
    hostile = [_wanted(f"s{number}", path="/${file:/etc/passwd}\x1b") for number in range(10_000)]
    wanted = [_wanted(f"w{number}") for number in range(10_000)]
    with caplog.at_level(logging.WARNING):
        discovery.found.replace("", [*hostile, *wanted])
    assert len(discovery.names) == 50
    assert len(caplog.records) == follow.MOST_TOLD
    assert discovery.sample("services", result="written") == 50
    assert discovery.sample("services", result="left_out") == 9_950
    assert discovery.sample("services", result="wrong") == 10_000


def test_a_reason_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    discovery = Discovery(tmp_path, "a")
    for _ in range(3):
        discovery.found.replace("a", [_wanted("x", port="9")])
    told = [record for record in caplog.records if record.message == "service left out"]
    assert len(told) == 1


def test_many_changes_are_one_file(tmp_path: Path) -> None:
    waiting: list[Callable[[], None]] = []
    file = OutputFile(tmp_path / "kubernetes.yml", 1000)
    found = DiscoveredServers(
        file, DiscoveryMetrics(), "cluster.local", ["a"], later=waiting.append
    )
    found.replace("a", [])
    for number in range(100):
        found.change("ADDED", _wanted(f"s{number}"))
    assert (len(waiting), file.read()) == (1, {})
    waiting[0]()
    assert len(file.read()) == 100


def test_a_full_disk_is_told_and_counted(tmp_path: Path) -> None:
    discovery = Discovery(tmp_path, "a")
    (tmp_path / ".kubernetes.yml.new").mkdir()
    discovery.found.replace("a", [_wanted("x")])
    assert discovery.sample("failures_total", step="write") == 1
    (tmp_path / ".kubernetes.yml.new").rmdir()
    discovery.found.change("MODIFIED", _wanted("x"))
    assert discovery.names == ["a/x"]

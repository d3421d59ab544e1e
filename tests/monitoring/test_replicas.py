"""What the promtool tests say of one exporter holds for two, through a rollout, and scraped twice.

Each test of ``prometheus/rules/*.test.yml`` is run again with its input as several exporters would
have served it, and with the least favourable order of rule groups; what is expected stays as it was
written by hand for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from prometheus.build.__main__ import generate
from prometheus.build.settings import load
from tests.support import alert_rules
from tests.support.alert_rules import PROMETHEUS, RULES, TESTS
from tests.support.tools import run, succeeds

Series = tuple[str, list[str]]
"""A series and its samples, each a number, ``_`` for none, or ``stale``."""
Served = Callable[[str, list[str], int], list[Series]]
"""What is served instead of a series, with the number of the sample in the middle of the test."""

WRITTEN = [path for path in TESTS if path.name not in {"monitoring.test.yml", "replicas.test.yml"}]
SPREAD = re.compile(r"mcp_requests_in_flight|\w+_(total|count|bucket)")
SEEN_BY_ALL = {"mcp_server_health_transitions_total", "mcp_server_tool_changes_total"}
"""Counters of what happens at the server: every replica counts it."""
ABOUT_REPLICAS = {"MCPExporterAllDown", "MCPServerDownInPart"}
"""They say how many replicas there are."""
BEGINS_ANEW = {"MCPProcessMemoryGrowing", "MCPServerFlapping"}
"""What is compared with a replica's own past, for which a new one has to grow old."""


def two_alike(series: str, values: list[str], _: int) -> list[Series]:
    """Two replicas that see the same and are called as often."""
    return [(series, values), (_instance(series, "other"), values)]


def spread(series: str, values: list[str], _: int) -> list[Series]:
    """Two replicas that see the same, and share the requests and what fails of them."""
    name = series.split("{")[0]
    if name in SEEN_BY_ALL or not SPREAD.fullmatch(name):
        return two_alike(series, values, _)
    halves = [(_each(values, lambda n: n - n // 2)), _each(values, lambda n: n // 2)]
    return [(series, halves[0]), (_instance(series, "other"), halves[1])]


def rollout(series: str, values: list[str], middle: int) -> list[Series]:
    """A replica that leaves in the middle, just after another has come."""
    name = series.split("{")[0]
    new = values[middle - 1 :]
    if name.endswith(("_total", "_count", "_bucket")):
        new = _from_zero(new)
    left = [*values[:middle], "stale"] if values[middle:] else values
    return [(series, left), (_instance(series, "new"), ["_"] * (middle - 1) + new)]


def scraped_twice(series: str, values: list[str], _: int) -> list[Series]:
    """One exporter that two Services lead to: the same instance, told apart by the target."""
    again = series.replace('job="mcp-exporter"', 'job="mcp-exporter",service="again"')
    return [(series, values), (again, values)]


def scraped_by_two_jobs(series: str, values: list[str], _: int) -> list[Series]:
    """One exporter that two scrape jobs lead to: the rules know one of them."""
    return [(series, values), (series.replace('job="mcp-exporter"', 'job="again"'), values)]


def _instance(series: str, word: str) -> str:
    return series.replace('instance="', f'instance="{word}-')


def _each(values: list[str], change: Callable[[int], int]) -> list[str]:
    return [value if value in {"_", "stale"} else str(change(int(value))) for value in values]


def _from_zero(values: list[str]) -> list[str]:
    """A counter that begins with what happens from now on."""
    made: list[str] = []
    before, counted = None, 0
    for value in values:
        if value not in {"_", "stale"}:
            now = int(value)
            counted += 0 if before is None else now - before if now >= before else now
            before, value = now, str(counted)
        made.append(value)
    return made


SAMPLES = re.compile(r"(-?[\d.]+|_|stale)([+-][\d.]+)?(?:x(\d+))?")


def _samples(text: str) -> Iterator[str]:
    """The notation of promtool written out: ``1+2x3`` is 1 3 5 7, ``_x3`` three times nothing."""
    for token in text.split():
        found = SAMPLES.fullmatch(token)
        assert found is not None, token
        first, step, times = found[1], float(found[2] or 0), int(found[3] or 0)
        if first in {"_", "stale"}:
            yield from [first] * max(times, 1)
        else:
            yield from (f"{float(first) + step * n:.0f}" for n in range(times + 1))


def test_samples_are_written_out_as_promtool_does() -> None:
    made = list(_samples("1+2x3 5x1 _x2 stale 7"))
    assert made == ["1", "3", "5", "7", "5", "5", "_", "_", "stale", "7"]
    assert _from_zero(["5", "7", "_", "7", "2", "3"]) == ["0", "2", "_", "2", "4", "5"]


def _seconds(duration: str) -> int:
    found = re.findall(r"(\d+)([smh])", duration)
    return sum(int(number) * {"s": 1, "m": 60, "h": 3600}[unit] for number, unit in found)


def _served(test: dict[str, Any], served: Served) -> list[dict[str, str]]:
    cases = [*test.get("alert_rule_test", []), *test.get("promql_expr_test", [])]
    end = max(_seconds(case["eval_time"]) for case in cases)
    middle = end // 2 // _seconds(test["interval"])
    given = [
        made
        for one in test.get("input_series", [])
        for made in (
            served(one["series"], list(_samples(str(one["values"]))), middle)
            if 'job="mcp-exporter"' in one["series"]
            else [(one["series"], str(one["values"]).split())]
        )
    ]
    return [{"series": series, "values": " ".join(values)} for series, values in given]


def _firing(case: dict[str, Any]) -> dict[str, Any]:
    """The same expectation of alerts by their labels alone: counts add up over replicas."""
    name = case["alertname"]
    return {
        "eval_time": case["eval_time"],
        "expr": f'ALERTS{{alertname="{name}",alertstate="firing"}}',
        "exp_samples": [
            {
                "labels": "ALERTS"
                + _selector({"alertname": name, "alertstate": "firing", **alert["exp_labels"]}),
                "value": 1,
            }
            for alert in case["exp_alerts"]
        ],
    }


def _selector(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


def _names_a_replica(test: dict[str, Any]) -> bool:
    """Whether what is expected is about one exporter: two of them are two."""
    expected = [*test.get("alert_rule_test", []), *test.get("promql_expr_test", [])]
    return "instance" in yaml.safe_dump([case.get("exp_alerts") for case in expected]) or any(
        "instance=" in str(case.get("exp_samples")) for case in expected
    )


def _by_labels(test: dict[str, Any], served: Served) -> dict[str, Any]:
    """Twice the calls are twice the failures, so that more may fire than did for one exporter."""
    cases = test.get("alert_rule_test", [])
    if served is rollout:
        kept = [case for case in cases if case["alertname"] not in BEGINS_ANEW]
    else:
        kept = [case for case in cases if case["exp_alerts"]]
    return test | {"alert_rule_test": [], "promql_expr_test": [_firing(case) for case in kept]}


def _exactly(test: dict[str, Any]) -> dict[str, Any]:
    cases = test.get("alert_rule_test", [])
    kept = [case for case in cases if case["alertname"] not in ABOUT_REPLICAS]
    return test | {"alert_rule_test": kept}


def _rewritten(path: Path, served: Served, folder: Path, rules: Path = RULES) -> Path | None:
    """A file of tests with other input; None where nothing is left to test."""
    document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506
    made = [_rewritten_test(test, served) for test in document["tests"]]
    kept = [test for test in made if test.get("alert_rule_test") or test.get("promql_expr_test")]
    files = [str(rules / name) for name in document["rule_files"]]
    target = folder / path.name
    changed = document | {"tests": kept, "rule_files": files, "group_eval_order": _latest(files)}
    target.write_text(yaml.safe_dump(changed, sort_keys=False))
    return target if kept else None


def _latest(files: list[str]) -> list[str]:
    """The groups' names, alerts before what they read: Prometheus keeps to no order of groups, so
    that no alert may depend on what is recorded in the same moment."""
    groups = [group["name"] for path in files for group in alert_rules.read(Path(path))["groups"]]
    return list(dict.fromkeys(reversed(groups)))


def _rewritten_test(test: dict[str, Any], served: Served) -> dict[str, Any]:
    changed = test | {"input_series": _served(test, served)}
    if served in TWICE:
        return changed
    if _names_a_replica(test):
        return {}
    return _exactly(changed) if served is spread else _by_labels(changed, served)


class _Loader(yaml.SafeLoader):
    """Reads ``0x12`` as promtool does: thirteen times 0, and no hexadecimal number."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in rows if tag != "tag:yaml.org,2002:int"]
        for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?\d+$"), list("-0123456789"))


SEVERAL = (two_alike, spread, rollout)
TWICE = (scraped_twice, scraped_by_two_jobs)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name.split(".")[0])
@pytest.mark.parametrize("served", [*SEVERAL, *TWICE], ids=lambda way: way.__name__)
def test_the_rules_say_the_same_of_several_exporters(
    served: Served, path: Path, tmp_path: Path
) -> None:
    made = _rewritten(path, served, tmp_path)
    if made is not None:
        succeeds("promtool", "test", "rules", made)


ABOUT_ALL = {
    name
    for name, labels in alert_rules.firing()
    if "instance" not in labels and labels["scope"] != "monitoring"
}


@pytest.mark.parametrize("served", SEVERAL, ids=lambda way: way.__name__)
def test_every_alert_about_a_deployment_fires_in_each_of_these_ways(
    served: Served, tmp_path: Path
) -> None:
    left_out: dict[Served, set[str]] = {
        two_alike: set(),
        spread: ABOUT_REPLICAS,
        rollout: BEGINS_ANEW,
    }
    made = [_rewritten(path, served, tmp_path) for path in WRITTEN]
    tests = [test for path in made if path for test in alert_rules.read(path)["tests"]]
    assert ABOUT_ALL - set(_expected(tests)) == left_out.get(served, set())


def _expected(tests: list[dict[str, Any]]) -> Iterator[str]:
    """The names of the alerts that are expected to fire."""
    for test in tests:
        for case in test.get("alert_rule_test", []):
            yield from [case["alertname"]] * bool(case["exp_alerts"])
        for case in test.get("promql_expr_test", []):
            for sample in case["exp_samples"]:
                yield from re.findall(r'alertname="(\w+)"', str(sample.get("labels")))


@pytest.mark.parametrize("served", SEVERAL, ids=lambda way: way.__name__)
def test_rules_that_kept_replicas_apart_would_be_noticed(served: Served, tmp_path: Path) -> None:
    apart = replace(load(PROMETHEUS / "objectives.yml"), identity=("job", "instance"))
    for name, text in generate(apart).items():
        (tmp_path / Path(name).name).write_text(text)
    made = _rewritten(RULES / "objectives.test.yml", served, tmp_path, rules=tmp_path)
    assert made is not None
    assert run("promtool", "test", "rules", made).returncode != 0

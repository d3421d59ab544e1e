"""Series of our own: the same text as prometheus_client's, for whatever happens to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.telemetry.series import Counter, Family, Gauge, Histogram

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

TEXT = 'Says "what" \\ it is.\nAnd more.'
BOUNDS = (0.001, 0.5, 1, 2.5, 1e7)

names = st.text(max_size=6) | st.sampled_from(['quo"te', "back\\slash", "new\nline", "sëver"])
numbers = st.floats(-1e12, 1e12) | st.sampled_from([0.001, 0.5, 1.0, 2.5, 1e7, float("inf")])
amounts = st.floats(0, 1e12) | st.integers(0, 10**15)


def render(family: Family[Any], open_metrics: bool) -> str:
    return "".join(family.render(open_metrics))


def both_ways(registry: CollectorRegistry) -> tuple[str, str]:
    """The library's text in both formats."""
    plain = generate_latest(registry)
    opened: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    return plain.decode(), opened.decode().removesuffix("# EOF\n")


def check(ours: Family[Any], registry: CollectorRegistry) -> None:
    for _ in range(2):  # the second time from what was kept
        assert (render(ours, False), render(ours, True)) == both_ways(registry)
    of_ours = CollectorRegistry()
    of_ours.register(ours)
    assert both_ways(of_ours) == both_ways(registry)


@given(st.lists(st.tuples(names, names, amounts)))
def test_a_counter_reads_as_the_library_writes_it(steps: list[tuple[str, str, float]]) -> None:
    registry = CollectorRegistry()
    theirs = prometheus_client.Counter("mcp_calls", TEXT, ["tool", "from"], registry=registry)
    ours = Counter("mcp_calls", TEXT, ["tool", "from"])
    for tool, source, amount in steps:
        theirs.labels(tool, source).inc(amount)
        ours.labels(tool, source).inc(amount)
        check(ours, registry)


@given(st.lists(st.tuples(names, numbers, st.booleans())))
def test_a_gauge_reads_as_the_library_writes_it(steps: list[tuple[str, float, bool]]) -> None:
    registry = CollectorRegistry()
    theirs = prometheus_client.Gauge("mcp_up", TEXT, ["server"], registry=registry)
    ours = Gauge("mcp_up", TEXT, ["server"])
    for name, value, falls in steps:
        for family in (theirs, ours):
            series: Any = family.labels(name)
            (series.dec if falls else series.set)(value)
        check(ours, registry)


@given(st.lists(st.tuples(names, numbers)))
def test_a_histogram_reads_as_the_library_writes_it(steps: list[tuple[str, float]]) -> None:
    registry = CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "mcp_s", TEXT, ["server"], registry=registry, buckets=BOUNDS
    )
    ours = Histogram("mcp_s", TEXT, ["server"], BOUNDS)
    for name, value in steps:
        theirs.labels(name).observe(value)
        ours.labels(name).observe(value)
        check(ours, registry)


def test_an_exemplar_is_for_openmetrics_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("exporter.telemetry.series", "prometheus_client.values"):
        monkeypatch.setattr(f"{module}.time", lambda: 12.5, raising=False)
    monkeypatch.setattr("time.time", lambda: 12.5)
    registry = CollectorRegistry()
    theirs = prometheus_client.Histogram("mcp_s", TEXT, registry=registry, buckets=BOUNDS)
    ours = Histogram("mcp_s", TEXT, (), BOUNDS)
    for value in (0.4, 0.3, 99.0):
        theirs.observe(value, {"trace_id": "ab" * 16})
        ours.labels().observe(value, "ab" * 16)
    check(ours, registry)
    assert render(ours, True).count("# {trace_id=") == 2


def test_without_labels_there_are_no_braces() -> None:
    ours = Counter("mcp_reloads", TEXT)
    ours.labels().inc()
    assert render(ours, False).endswith("\nmcp_reloads_total 1.0\n")


def test_series_are_dropped_by_one_label_or_by_all() -> None:
    ours = Gauge("mcp_up", TEXT, ["server", "state"])
    for server in ("a", "b"):
        for state in ("ok", "error"):
            ours.labels(server, state).set(1)
    ours.remove("a", "ok")
    ours.remove("a", "never there")
    assert render(ours, False).count('server="a"') == 1
    ours.remove_by_label("server", "a")
    ours.remove_by_label("tool", "b")
    assert 'server="a"' not in render(ours, False)
    assert render(ours, False).count('server="b"') == 2


@pytest.mark.parametrize("values", [(), ("a",), ("a", "b", "c")])
def test_a_series_has_a_value_for_each_label(values: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="argument"):
        Gauge("mcp_up", TEXT, ["server", "state"]).labels(*values)


@pytest.mark.parametrize("make", [Counter, Gauge])
def test_only_what_has_changed_is_rendered_again(make: Callable[..., Any]) -> None:
    rendered: list[str] = []
    family = make("mcp_x", TEXT, ["server"])
    samples = family._samples

    def counted(series: Any) -> Any:
        rendered.append(series.labels["server"])
        return samples(series)

    family._samples = counted
    for server in ("a", "b"):
        family.labels(server).inc()
    render(family, False)
    family.labels("b").inc()
    render(family, False)
    assert rendered == ["a", "b", "b"]

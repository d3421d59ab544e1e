"""The families on a registry of their own: what is in them, and what a removed server leaves."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from exporter.telemetry.metrics import DURATION_BUCKETS, Metrics
from tests.support.fakes import Telemetry

OTEL_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


def make_metrics() -> Metrics:
    return Metrics(CollectorRegistry(), clock=lambda: 0.0)


def test_every_name_has_the_prefix_and_the_unit_of_its_kind() -> None:
    for family in make_metrics().registry.collect():
        assert re.fullmatch(r"mcp_(exporter_)?[a-z_]+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        if family.type in ("histogram", "summary"):
            assert family.name.endswith(("_seconds", "_bytes")), family.name


def test_labels_have_the_words_of_the_contract() -> None:
    allowed = {
        *("server", "tool", "method", "outcome", "direction", "code", "client", "reason"),
        *("protocol_version", "state", "from", "to", "result", "transport", "server_name"),
        *("server_version", "change", "label", "where", "source"),
    }
    for family in make_metrics().families:
        assert set(family.label_names) <= allowed


def test_no_series_tells_when_it_was_created() -> None:
    metrics = make_metrics()
    metrics.label_overflow.labels("tool").inc()
    assert b"_created" not in generate_latest(metrics.registry)


def test_two_exporters_in_one_process_do_not_meet() -> None:
    first, second = make_metrics(), make_metrics()
    first.failed("here")
    assert second.registry.get_sample_value("mcp_exporter_internal_errors_total") is None


def test_durations_are_cut_where_opentelemetry_cuts_them() -> None:
    assert set(OTEL_BUCKETS) <= set(DURATION_BUCKETS)
    assert list(DURATION_BUCKETS) == sorted(DURATION_BUCKETS)


def test_a_rejected_request_is_counted_by_reason_and_as_an_outcome() -> None:
    telemetry = Telemetry()
    telemetry.metrics.rejected("tools/call", "bad_origin")
    telemetry.metrics.rejected("invented", "unknown_server")
    rejected = "mcp_exporter_rejected_requests_total"
    assert telemetry.own(rejected, reason="bad_origin") == 1
    assert telemetry.own(rejected, reason="unknown_server") == 1
    counted = {"server": "_other", "outcome": "rejected"}
    assert telemetry.value("mcp_requests_total", **counted, method="tools/call") == 1
    assert telemetry.value("mcp_requests_total", **counted, method="_other") == 1


def test_an_overflow_is_counted_by_label() -> None:
    telemetry = Telemetry()
    telemetry.metrics.clients.label("x" * 100)
    telemetry.recorder.tools.label("invented")
    for label in ("client", "tool"):
        assert telemetry.own("mcp_exporter_label_overflow_total", label=label) == 1


def test_the_limits_on_labels_are_those_that_are_given() -> None:
    metrics = Metrics(
        CollectorRegistry(), clock=lambda: 0.0, clients=1, tools_per_server=2, tools_total=3
    )
    assert [metrics.clients.label(name) for name in "ab"] == ["a", "_other"]
    assert metrics.tools().admit("abc") == ["a", "b"]
    assert metrics.tools().admit("abc") == ["a"]


def test_a_server_that_is_removed_leaves_no_series_and_touches_no_other() -> None:
    metrics = make_metrics()
    for name in ("gone", "kept"):
        for family in metrics.families:
            family.labels(*(name if label == "server" else "x" for label in family.label_names))
    metrics.forget("gone")
    text = generate_latest(metrics.registry)
    assert b'server="gone"' not in text
    assert text.count(b'server="kept"') > 30


def test_the_build_is_told_with_the_runtime() -> None:
    metrics = make_metrics()
    metrics.collect_runtime("1.2.3", "abc")
    text = generate_latest(metrics.registry).decode()
    assert re.search(
        r'mcp_exporter_build_info\{python_version="3[.0-9]+",revision="abc",version="1.2.3"\} 1',
        text,
    )
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text


@pytest.mark.parametrize("name", ["sëver", 'quo"te', "back\\slash", "new\nline", "emoji\U0001f600"])
def test_any_server_name_can_be_scraped(name: str) -> None:
    telemetry = Telemetry(name)
    telemetry.recorder.rejected(None, "bad_request")
    generate_latest(telemetry.metrics.registry).decode()
    labels = {"method": "_other", "outcome": "rejected"}
    assert telemetry.value("mcp_requests_total", **labels) == 1

"""The families of the discovery are there from the start, with labels of closed sets."""

from __future__ import annotations

from prometheus_client import generate_latest

from exporter.cli.discover.metrics import DiscoveryMetrics


def test_every_series_is_there_before_anything_happened() -> None:
    metrics = DiscoveryMetrics()
    metrics.expect("")
    metrics.expect("a")
    text = generate_latest(metrics.registry).decode()
    lines = {
        line for line in text.splitlines() if not line.startswith("#") and "_created" not in line
    }
    assert lines == {
        'mcp_exporter_discovery_services{result="written"} 0.0',
        'mcp_exporter_discovery_services{result="left_out"} 0.0',
        'mcp_exporter_discovery_services{result="wrong"} 0.0',
        'mcp_exporter_discovery_up{namespace="*"} 0.0',
        'mcp_exporter_discovery_up{namespace="a"} 0.0',
        'mcp_exporter_discovery_last_success_timestamp_seconds{namespace="*"} 0.0',
        'mcp_exporter_discovery_last_success_timestamp_seconds{namespace="a"} 0.0',
        'mcp_exporter_discovery_failures_total{step="list"} 0.0',
        'mcp_exporter_discovery_failures_total{step="write"} 0.0',
    }

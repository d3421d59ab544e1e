"""What the discovery says of itself to Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class DiscoveryMetrics:
    """Families of its own process; the exporter's are elsewhere."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._services = Gauge(
            "mcp_exporter_discovery_services",
            "Services that say that they are MCP servers, by what became of them.",
            ["result"],
            registry=self.registry,
        )
        self._up = Gauge(
            "mcp_exporter_discovery_up",
            "Whether the API server's last reply for this namespace was a good one.",
            ["namespace"],
            registry=self.registry,
        )
        self._last = Gauge(
            "mcp_exporter_discovery_last_success_timestamp_seconds",
            "When the API server last replied well for this namespace.",
            ["namespace"],
            registry=self.registry,
        )
        self._failures = Counter(
            "mcp_exporter_discovery_failures",
            "Failures to read the API server (list) or to write the file (write).",
            ["step"],
            registry=self.registry,
        )
        for result in ("written", "left_out", "wrong"):
            self._services.labels(result)
        for step in ("list", "write"):
            self._failures.labels(step)

    def show(self, servers: int, left_out: int, wrong: int) -> None:
        """What is known now; ``servers`` are those over the limit as well."""
        self._services.labels("written").set(servers - left_out)
        self._services.labels("left_out").set(left_out)
        self._services.labels("wrong").set(wrong)

    def expect(self, scope: str) -> None:
        """This namespace is to be listed."""
        self._up.labels(scope or "*").set(0)
        self._last.labels(scope or "*")

    def reached(self, scope: str) -> None:
        """The API server replied well."""
        self._up.labels(scope or "*").set(1)
        self._last.labels(scope or "*").set_to_current_time()

    def lost(self, scope: str) -> None:
        """It did not."""
        self._up.labels(scope or "*").set(0)
        self.failed("list")

    def failed(self, step: str) -> None:
        """Count it."""
        self._failures.labels(step).inc()

"""Every metric family, once, on an injected registry.

Names, labels and meanings are the contract of ``docs/metrics.md``. Children are looked up once
and kept: a labelled look-up costs three times the observation itself.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from time import time
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter.protocol.label_values import OTHER, REJECTIONS, Outcome
from exporter.telemetry.call import Tracing
from exporter.telemetry.exposition import Exposition
from exporter.telemetry.guard import guarded
from exporter.telemetry.labels import Clients, ToolBudget, Tools, method_label
from exporter.telemetry.process_usage import Processes, ProcessUsage
from exporter.telemetry.series import Counter, Family, Gauge, Histogram
from exporter.telemetry.spans.metrics import SpanMetrics

DURATION_BUCKETS = (
    0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300,
)  # fmt: skip
"""Seconds; a superset of OpenTelemetry's advice for MCP, so that both agree where they meet."""

OVERHEAD_BUCKETS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1,
)  # fmt: skip
LAG_BUCKETS = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SIZE_BUCKETS = tuple(float(4**power) for power in range(3, 14))
SESSION_BUCKETS = (1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)

PROBE_FAMILIES = frozenset(
    {
        "mcp_probe_duration_seconds",
        "mcp_probe_success",
        "mcp_probes",
        "mcp_server_consecutive_failures",
        "mcp_server_health_state",
        "mcp_server_info",
        "mcp_server_last_success_timestamp_seconds",
        "mcp_server_process_cpu_seconds",
        "mcp_server_process_resident_memory_bytes",
        "mcp_server_processes",
        "mcp_server_tool_definition_bytes",
        "mcp_server_tools",
        "mcp_server_up",
    }
)
"""What one probe can say of a server."""

Kind = TypeVar("Kind", Counter, Gauge, Histogram)


class Metrics:
    """The families, and what belongs to no single server."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        clock: Callable[[], float],
        clients: int = 50,
        tools_per_server: int = 500,
        tools_total: int = 2000,
    ) -> None:
        self.registry = registry
        self.families: list[Family[Any]] = []
        self._library = CollectorRegistry()
        self.clock = clock
        self._tools_per_server = tools_per_server
        self._define_traffic()
        self._define_sessions()
        self._define_servers()
        self._define_exporter()
        self.spans = SpanMetrics(self._keep)
        self.tracing = Tracing()
        self.children = Processes()
        for each in (registry, self._library):
            each.register(ProcessUsage(self.children))
        self.clients = Clients(clients, self.overflowed)
        self._budget = ToolBudget(tools_total)

    @classmethod
    def throwaway(cls) -> Metrics:
        """Metrics on a registry of their own, for a probe that only explains."""
        return cls(CollectorRegistry(), clock=time)

    def exposition(self) -> Exposition:
        """What a scrape is rendered from."""
        return Exposition(self.registry, self.families, self._library)

    def probe_view(self) -> ProbeView:
        """What a probe has found, as it is now."""
        found = [family for family in self.registry.collect() if family.name in PROBE_FAMILIES]
        return ProbeView([family for family in found if family.samples])

    def tools(self) -> Tools:
        """The admitted tool names of one server, within the budget of all."""
        return Tools(self._tools_per_server, self._budget, self.overflowed)

    def forget(self, server: str) -> None:
        """Drop every series of a server that is no longer configured."""
        for family in self.families:
            family.remove_by_label("server", server)
        self.children.forget(server)

    def overflowed(self, label: str) -> None:
        """Count a label value that was folded into ``_other``."""
        self.label_overflow.labels(label).inc()

    def failed(self, where: str) -> None:
        """Count a failure of observation; the traffic went on."""
        self.internal_errors.labels(where).inc()

    @guarded
    def count_rejection(self, reason: str) -> None:
        """Count a request to the scrape listener that was rejected; MCP knows nothing of it."""
        self.rejected_requests.labels(reason).inc()

    @guarded
    def rejected(self, method: str | None, reason: str, server: str = OTHER) -> None:
        """Count a request that the exporter itself rejected."""
        self.rejected_requests.labels(reason).inc()
        self.requests.labels(server, method_label(method), Outcome.REJECTED).inc()

    def collect_runtime(self, version: str, revision: str) -> None:
        """Add the build information and the client library's own collectors."""
        info = self._gauge(
            "mcp_exporter_build_info",
            "The running build; always 1.",
            ["version", "revision", "python_version"],
        )
        info.labels(version, revision, platform.python_version()).set(1)
        for registry in (self.registry, self._library):
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

    def _define_traffic(self) -> None:
        self.requests = self._counter(
            "mcp_requests",
            "Requests from client to server, by how they ended.",
            ["server", "method", "outcome"],
        )
        self.request_duration = self._histogram(
            "mcp_request_duration_seconds",
            "Time from a request to its reply; subscriptions/listen is not observed.",
            ["server", "method", "outcome"],
            DURATION_BUCKETS,
        )
        self.tool_calls = self._counter(
            "mcp_tool_calls",
            "Tool calls, by how they ended.",
            ["server", "tool", "outcome"],
        )
        self.tool_duration = self._histogram(
            "mcp_tool_call_duration_seconds",
            "Time from a tool call to its reply.",
            ["server", "tool", "outcome"],
            DURATION_BUCKETS,
        )
        self.tool_last = self._gauge(
            "mcp_tool_call_last_timestamp_seconds",
            "When the tool was last called, in Unix time.",
            ["server", "tool"],
        )
        self.tool_bytes = self._histogram(
            "mcp_tool_result_bytes",
            "Size of a tool's reply on the wire.",
            ["server", "tool"],
            SIZE_BUCKETS,
        )
        self.in_flight = self._gauge(
            "mcp_requests_in_flight", "Requests that wait for their reply.", ["server"]
        )
        self.protocol_errors = self._counter(
            "mcp_protocol_errors",
            "JSON-RPC error replies, by code.",
            ["server", "method", "code"],
        )
        self.server_requests = self._counter(
            "mcp_server_requests",
            "Requests from server to client (sampling, elicitation, roots), by how they ended.",
            ["server", "method", "outcome"],
        )
        self.notifications = self._counter(
            "mcp_notifications", "Notifications.", ["server", "method", "direction"]
        )
        self.message_bytes = self._counter(
            "mcp_message_bytes", "Bytes of MCP messages relayed.", ["server", "direction"]
        )

    def _define_sessions(self) -> None:
        self.sessions = self._gauge(
            "mcp_sessions", "Live sessions and stdio connections.", ["server"]
        )
        self.sessions_started = self._counter(
            "mcp_sessions_started",
            "Sessions started, by the client's own name.",
            ["server", "client", "protocol_version"],
        )
        self.session_duration = self._histogram(
            "mcp_session_duration_seconds", "How long sessions lived.", ["server"], SESSION_BUCKETS
        )

    def _define_servers(self) -> None:
        self.up = self._gauge(
            "mcp_server_up", "1 while the server's state is ok or degraded, else 0.", ["server"]
        )
        self.state = self._gauge(
            "mcp_server_health_state",
            "1 for the state that the server is in, 0 for the others.",
            ["server", "state"],
        )
        self.transitions = self._counter(
            "mcp_server_health_transitions", "Changes of state.", ["server", "from", "to"]
        )
        self.consecutive_failures = self._gauge(
            "mcp_server_consecutive_failures", "Failures since the last success.", ["server"]
        )
        self.last_success = self._gauge(
            "mcp_server_last_success_timestamp_seconds",
            "When the server last proved to be alive, in Unix time; 0 before the first time.",
            ["server"],
        )
        self.probes = self._counter("mcp_probes", "Probes, by result.", ["server", "result"])
        self.probe_duration = self._histogram(
            "mcp_probe_duration_seconds", "How long probes took.", ["server"], DURATION_BUCKETS
        )
        self.server_info = self._gauge(
            "mcp_server_info",
            "What the server says it is; always 1.",
            ["server", "transport", "server_name", "server_version", "protocol_version"],
        )
        self.listed_tools = self._gauge(
            "mcp_server_tools", "Tools that the server lists.", ["server"]
        )

        self.tool_definition_bytes = self._gauge(
            "mcp_server_tool_definition_bytes",
            "Size of the tool definitions that the server lists.",
            ["server"],
        )
        self.tool_changes = self._counter(
            "mcp_server_tool_changes",
            "Tools added, removed or modified since the first listing.",
            ["server", "change"],
        )
        self.processes = self._gauge(
            "mcp_server_processes", "Live child processes of a stdio server.", ["server"]
        )
        self.queued = self._gauge(
            "mcp_server_queued_bytes",
            "Messages that wait for a stdio server's processes or for its clients to read.",
            ["server"],
        )
        self.process_starts = self._counter(
            "mcp_server_process_starts", "Child processes started.", ["server"]
        )
        self.process_exits = self._counter(
            "mcp_server_process_exits", "Child processes that ended, by how.", ["server", "reason"]
        )

    def _define_exporter(self) -> None:
        self.overhead = self._histogram(
            "mcp_exporter_relay_overhead_seconds",
            "Time that a request and its reply spent inside the exporter.",
            ["transport"],
            OVERHEAD_BUCKETS,
        )
        self.loop_lag = self._histogram(
            "mcp_exporter_event_loop_lag_seconds",
            "How late the loop that relays ran a timer: what every call waits when it is busy.",
            (),
            LAG_BUCKETS,
        ).labels()
        self.reload_successful = self._gauge(
            "mcp_exporter_config_last_reload_successful",
            "1 if the last load of the configuration succeeded, else 0.",
        ).labels()
        self.reload_timestamp = self._gauge(
            "mcp_exporter_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded with success, in Unix time.",
        ).labels()
        self.config_files_failed = self._gauge(
            "mcp_exporter_config_files_failed",
            "Files of the configuration that are wrong now: what they said before is in force.",
        ).labels()
        self.config_files_failed.set(0)
        self.label_overflow = self._counter(
            "mcp_exporter_label_overflow", "Label values folded into _other.", ["label"]
        )
        self.unparsed = self._counter(
            "mcp_exporter_unparsed_messages",
            "Messages relayed but not understood.",
            ["server", "reason"],
        )
        self.rejected_requests = self._counter(
            "mcp_exporter_rejected_requests", "Requests that the exporter rejected.", ["reason"]
        )
        self.wrap_dropped = self._counter(
            "mcp_exporter_wrap_dropped",
            "Finished requests of wrapped servers that could not be reported in time.",
            ["server"],
        )
        self.internal_errors = self._counter(
            "mcp_exporter_internal_errors",
            "Failures of observation; the traffic went on.",
            ["where"],
        )
        for reason in REJECTIONS:
            self.rejected_requests.labels(reason)
        for label in ("client", "tool"):
            self.label_overflow.labels(label)
        for where in ("client_sent", "server_sent", "probe", "tracing"):
            self.internal_errors.labels(where)

    def _counter(self, name: str, text: str, labels: Iterable[str] = ()) -> Counter:
        return self._keep(Counter(name, text, labels))

    def _gauge(self, name: str, text: str, labels: Iterable[str] = ()) -> Gauge:
        return self._keep(Gauge(name, text, labels))

    def _histogram(
        self, name: str, text: str, labels: Iterable[str], bounds: tuple[float, ...]
    ) -> Histogram:
        return self._keep(Histogram(name, text, labels, bounds))

    def _keep(self, family: Kind) -> Kind:
        self.registry.register(family)
        self.families.append(family)
        return family


class ProbeView:
    """Families that can be encoded like a registry."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        """The families."""
        return self._families

    @property
    def text(self) -> str:
        """The families in Prometheus' text format."""
        return generate_latest(cast("CollectorRegistry", self)).decode()

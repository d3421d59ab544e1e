"""What happens on one server, turned into samples: admitted labels, kept children."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from exporter.protocol import trace_context
from exporter.protocol.label_values import (
    EXIT_REASONS,
    FAILED_CALLS,
    OTHER,
    PROBE_RESULTS,
    TOOL_CHANGES,
    TOOL_OUTCOMES,
    UNPARSED,
    Outcome,
)
from exporter.protocol.spec import CALL_TOOL, UNTIMED
from exporter.telemetry.call import Call
from exporter.telemetry.guard import guarded
from exporter.telemetry.health import State, Transition
from exporter.telemetry.labels import code_label, method_label, version_label
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.series import Count, Distribution, Level

POSSIBLE_TRANSITIONS = (
    (State.UNKNOWN, State.OK),
    (State.UNKNOWN, State.DEGRADED),
    (State.OK, State.DEGRADED),
    (State.DEGRADED, State.OK),
    (State.DEGRADED, State.ERROR),
    (State.ERROR, State.DEGRADED),
)

_TEXT_LENGTH = 64

ToolSeries = tuple[Count, Distribution, Count, Distribution, Level, Distribution]
"""The calls of one tool that end alike: how many and how long, among all requests and among the
tool's; when the last one was; the results' sizes."""


log = logging.getLogger(__name__)


class ToolListener(Protocol):
    """Whoever must know what the tools of a server are like."""

    def learn(self, tools: Mapping[str, bytes]) -> None:
        """Take the definitions of a listing, by their names, which are no labels yet."""


class ServerRecorder:
    """The samples of one server. All methods are synchronous and take microseconds."""

    names_clients = False

    def __init__(
        self, metrics: Metrics, name: str, transport: str, listener: ToolListener | None = None
    ) -> None:
        self._listener = listener
        self.name = name
        self.transport = transport
        self.metrics = metrics
        self.tracing = metrics.tracing
        self.tools = metrics.tools()
        self._in_flight = metrics.in_flight.labels(name)
        self._sessions = metrics.sessions.labels(name)
        self._session_duration = metrics.session_duration.labels(name)
        self._bytes = {
            True: metrics.message_bytes.labels(name, "to_server"),
            False: metrics.message_bytes.labels(name, "to_client"),
        }
        self._overhead = metrics.overhead.labels(transport)
        self._last_success = metrics.last_success.labels(name)
        self._probes = {result: metrics.probes.labels(name, result) for result in PROBE_RESULTS}
        self._probe_duration = metrics.probe_duration.labels(name)
        self._states = {state: metrics.state.labels(name, state) for state in State}
        self._up = metrics.up.labels(name)
        self._failures = metrics.consecutive_failures.labels(name)
        self._requests: dict[tuple[str, Outcome], tuple[Count, Distribution]] = {}
        self._calls: dict[tuple[str, Outcome], ToolSeries] = {}
        self._notifications: dict[tuple[str, bool], Count] = {}
        self._info: tuple[str, ...] | None = None
        self._start_at_zero()

    # Traffic

    def began(self, to_server: bool) -> None:
        """A request is now in flight."""
        if not to_server:
            return
        try:  # what fails here must not keep the request from being known
            self._in_flight.value += 1
        except Exception:  # noqa: BLE001
            self.failed("began")

    def finished(self, call: Call) -> None:
        """A request has ended: count it once, with its duration."""
        if not call.to_server:
            method = method_label(call.method)
            self.metrics.server_requests.labels(self.name, method, call.outcome).inc()
            return
        try:
            if call.method == CALL_TOOL:
                self._count_tool(call)
            else:
                self._count_other(call)
            if call.code is not None:
                self._count_error(call.code, call.method)
        finally:  # last: a scrape in between must not miss the request
            if call.method not in UNTIMED:
                self._in_flight.value -= 1

    @guarded
    def notified(self, method: str | None, to_server: bool) -> None:
        """A notification passed by."""
        key = (method_label(method), to_server)
        count = self._notifications.get(key)
        if count is None:
            direction = "to_server" if to_server else "to_client"
            count = self.metrics.notifications.labels(self.name, key[0], direction)
            self._notifications[key] = count
        count.inc()

    def carried(self, size: int, to_server: bool) -> None:
        """Bytes of messages passed by."""
        try:  # here, for a call more would cost every reply
            self._bytes[to_server].value += size
        except Exception:  # noqa: BLE001
            self.failed("carried")

    @guarded
    def unparsed(self, reason: str) -> None:
        """A message was relayed without being understood."""
        self.metrics.unparsed.labels(self.name, reason).inc()

    def spent(self, seconds: float) -> None:
        """A request and its reply spent this long inside the exporter."""
        try:
            self._overhead.observe(seconds)
        except Exception:  # noqa: BLE001
            self.failed("spent")

    @guarded
    def rejected(self, method: str | None, reason: str) -> None:
        """The exporter rejected a request to this server."""
        self.metrics.rejected(method, reason, self.name)

    def call_counts(self) -> tuple[int, int]:
        """How many tool calls there were, and how many of them failed. Any thread may ask."""
        ended = [(outcome, int(kept[2].value)) for (_, outcome), kept in list(self._calls.items())]
        failures = sum(count for outcome, count in ended if outcome in FAILED_CALLS)
        return sum(count for _, count in ended), failures

    def failed(self, where: str) -> None:
        """Observation failed; the traffic went on."""
        self.metrics.failed(where)

    def waiting(self, change: int) -> None:
        """So many more requests are in flight elsewhere, where their ends come from."""
        self._in_flight.inc(change)

    # Sessions

    @guarded
    def session_started(self, client: str | None, version: str | None) -> None:
        """A client opened a session."""
        self._sessions.inc()
        label = self.metrics.clients.label(client)
        protocol = version_label(version)
        self.metrics.sessions_started.labels(self.name, label, protocol).inc()
        extra = {"server": self.name, "client": label, "protocol_version": protocol}
        log.info("session started", extra=extra)

    @guarded
    def session_ended(self, seconds: float) -> None:
        """A session is over after this long."""
        self._sessions.dec()
        self._session_duration.observe(seconds)
        log.info("session ended", extra={"server": self.name, "seconds": round(seconds, 3)})

    @guarded
    def sessions_changed(self, change: int) -> None:
        """So many more sessions are known, which began elsewhere."""
        self._sessions.inc(change)

    # The server itself

    def listed(self, tools: Mapping[str, bytes]) -> None:
        """The server lists these tools: their names may be labels from now on."""
        if self._listener is not None:
            self._listener.learn(tools)
        for tool in self.tools.admit(tools):
            for outcome in TOOL_OUTCOMES:
                self.metrics.tool_calls.labels(self.name, tool, outcome)
                self.metrics.tool_duration.labels(self.name, tool, outcome)

    @guarded
    def process_started(self, pid: int) -> None:
        """A child process runs."""
        self.metrics.children.started(self.name, pid)
        self.metrics.process_starts.labels(self.name).inc()
        self.metrics.processes.labels(self.name).inc()

    @guarded
    def process_joined(self, pid: int, *, is_new: bool) -> None:
        """A process that was started elsewhere is known from now on."""
        if is_new:
            self.process_started(pid)
        else:
            self.metrics.children.started(self.name, pid)
            self.metrics.processes.labels(self.name).inc()

    @guarded
    def process_left(self, pid: int) -> None:
        """A process is no longer known; whether it ended, and how, was not reported."""
        self.metrics.children.exited(self.name, pid)
        self.metrics.processes.labels(self.name).dec()

    @guarded
    def process_stopping(self, pid: int) -> None:
        """A child process is about to be stopped."""
        self.metrics.children.ending(self.name, pid)

    @guarded
    def process_exited(self, pid: int, reason: str) -> None:
        """A child process ended."""
        self.metrics.children.exited(self.name, pid)
        self.metrics.process_exits.labels(self.name, reason).inc()
        self.metrics.processes.labels(self.name).dec()

    @guarded
    def queued(self, size: int) -> None:
        """So many bytes wait for the server's processes or its clients."""
        self.metrics.queued.labels(self.name).set(size)

    def set_tools(self, count: int, size: int) -> None:
        """The server lists so many tools, with so many bytes of definitions."""
        self.metrics.listed_tools.labels(self.name).set(count)
        self.metrics.tool_definition_bytes.labels(self.name).set(size)

    def tools_changed(self, change: str, count: int) -> None:
        """So many tools were ``added``, ``removed`` or ``modified``."""
        self.metrics.tool_changes.labels(self.name, change).inc(count)

    def probed(self, result: str, seconds: float) -> None:
        """A probe ended."""
        self._probes[result].inc()
        self._probe_duration.observe(seconds)

    def state_is(self, state: State, failures: int) -> None:
        """The server's state, and how often in a row it failed."""
        for each, gauge in self._states.items():
            gauge.set(each is state)
        self._up.set(state in (State.OK, State.DEGRADED))
        self._failures.set(failures)

    def changed(self, transition: Transition) -> None:
        """The server's state changed."""
        self.metrics.transitions.labels(self.name, transition.before, transition.after).inc()

    def succeeded(self) -> None:
        """The server has just proved to be alive."""
        self._last_success.set(self.metrics.clock())

    def is_known_as(self, server_name: str, server_version: str, protocol_version: str) -> None:
        """What the server says it is; replaces what it said before."""
        info = (
            self.name,
            self.transport,
            _text(server_name),
            _text(server_version),
            version_label(protocol_version),
        )
        if info == self._info:
            return
        if self._info is not None:
            self.metrics.server_info.remove(*self._info)
        self._info = info
        self.metrics.server_info.labels(*info).set(1)

    def forget_identity(self) -> None:
        """What the server said it is need not be true any more."""
        if self._info is not None:
            self.metrics.server_info.remove(*self._info)
            self._info = None
        self.tools.forget()

    def forget(self) -> None:
        """Drop every series of this server."""
        self.tools.forget()
        self.metrics.forget(self.name)

    def _count_other(self, call: Call) -> None:
        count, durations = self._request(method_label(call.method), call.outcome)
        count.inc()
        if call.method not in UNTIMED:
            durations.observe(call.seconds, self._exemplar(call, None))

    def _count_error(self, code: float, method: str) -> None:
        labels = (self.name, method_label(method), code_label(code))
        self.metrics.protocol_errors.labels(*labels).inc()

    def _count_tool(self, call: Call) -> None:
        tool = self.tools.label(call.tool)
        key = (tool, call.outcome)
        series = self._calls.get(key) or self._call(*key)
        requests, request_durations, calls, durations, last, sizes = series
        seconds, exemplar = call.seconds, None
        if call.traceparent is not None or call.details is not None:
            exemplar = self._exemplar(call, tool)
        requests.value += 1
        request_durations.observe(seconds, exemplar)
        calls.value += 1
        durations.observe(seconds, exemplar)
        last.value = self.metrics.clock()
        if call.result_bytes is not None:
            sizes.observe(call.result_bytes)

    def _exemplar(self, call: Call, tool: str | None) -> str | None:
        """The trace of a request, where it is kept: others would lead nowhere."""
        tracer, context = self.tracing.tracer, call.traceparent
        if tracer is None:
            is_kept = context is not None and trace_context.is_sampled(context)
            return trace_context.trace_id(context) if context is not None and is_kept else None
        if call.details is None:
            return None
        try:  # what fails here must not keep the request from being counted
            client = self.metrics.clients.known(call.client)
            method = method_label(call.method)
            return tracer.record(self.name, method, None if tool == OTHER else tool, client, call)
        except Exception:  # noqa: BLE001
            self.failed("tracing")
            return None

    def _request(self, method: str, outcome: Outcome) -> tuple[Count, Distribution]:
        kept = self._requests.get((method, outcome))
        if kept is None:
            labels = (self.name, method, outcome)
            metrics = self.metrics
            kept = (metrics.requests.labels(*labels), metrics.request_duration.labels(*labels))
            self._requests[method, outcome] = kept
        return kept

    def _call(self, tool: str, outcome: Outcome) -> ToolSeries:
        labels, metrics = (self.name, tool, outcome), self.metrics
        kept = self._calls[tool, outcome] = (
            *self._request(CALL_TOOL, outcome),
            metrics.tool_calls.labels(*labels),
            metrics.tool_duration.labels(*labels),
            metrics.tool_last.labels(self.name, tool),
            metrics.tool_bytes.labels(self.name, tool),
        )
        return kept

    def _start_at_zero(self) -> None:
        for before, after in POSSIBLE_TRANSITIONS:
            self.metrics.transitions.labels(self.name, before, after)
        for reason in UNPARSED:
            self.metrics.unparsed.labels(self.name, reason)
        for change in TOOL_CHANGES:
            self.metrics.tool_changes.labels(self.name, change)
        if self.transport == "stdio":
            self.metrics.children.expect(self.name)
            self.metrics.processes.labels(self.name)
            self.metrics.queued.labels(self.name)
            self.metrics.process_starts.labels(self.name)
            for reason in EXIT_REASONS:
                self.metrics.process_exits.labels(self.name, reason)
        self.state_is(State.UNKNOWN, 0)


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _TEXT_LENGTH and text.isprintable() else OTHER

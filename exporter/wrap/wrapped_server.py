"""Servers that run elsewhere, wrapped: what their reports say is counted like the relay's own.

Everything in a report is untrusted. A name is admitted where the configuration has it, or as one
of a bounded number; every other one is ``_other``.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, time

from msgspec.structs import replace

from exporter.protocol.failures import Fault
from exporter.protocol.label_values import EXIT_REASONS, OTHER, REPLIED, UNPARSED, Outcome
from exporter.telemetry.call import Call
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.observer import Observer
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.spans.details import Source, TraceDetails, TraceNotes, fit, state_of
from exporter.telemetry.spans.session_digits import session_digits
from exporter.wrap.report import Finished, Report, Session

MAX_NAMES = 50
"""Wrapped servers beside the configured ones that have series of their own."""

_NAME_LENGTH = 128
_MAX_PID = 2**22
_LONGEST_AGO = 3600.0
"""Seconds since a call ended, at most; a report that says more has another clock."""


class Names:
    """Finds the observer for a name; makes one for each wrapped server that is not configured."""

    def __init__(
        self,
        metrics: Metrics,
        configured: Callable[[str], Observer | None],
        make: Callable[[str], Observer],
        limit: int = MAX_NAMES,
    ) -> None:
        self._metrics = metrics
        self._configured = configured
        self._make = make
        self._limit = limit
        self._made: dict[str, Observer] = {}

    def observer(self, name: str) -> Observer:
        """Who writes down what happens on the server of this name."""
        configured = self._configured(name)
        if configured is not None:
            self._made.pop(name, None)
            return configured
        if name not in self._made and not self._is_admitted(name):
            self._metrics.overflowed("server")
            name = OTHER
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _is_admitted(self, name: str) -> bool:
        is_fit = 0 < len(name) <= _NAME_LENGTH and name.isprintable() and name[0] != "_"
        return is_fit and len(self._made.keys() - {OTHER}) < self._limit


class WrappedServer:
    """One connection: one wrapped server, from its introduction to its last report."""

    def __init__(self, names: Names, metrics: Metrics) -> None:
        self._names = names
        self._metrics = metrics
        self._observer: Observer | None = None
        self._name = ""
        self._pid: int | None = None
        self._session_digits: str | None = None
        self._session: Session | None = None
        self._session_seen = 0.0
        self._waiting = 0

    def report(self, report: Report) -> None:
        """Count one report."""
        observer = self._enter(report)
        recorder = observer.recorder
        if report.pid is not None and self._pid is None and 0 < report.pid <= _MAX_PID:
            self._pid = report.pid
            self._session_digits = session_digits(f"{self._name} {report.pid}".encode())
            recorder.process_joined(report.pid, is_new=report.is_first)
        if report.session is not None and self._session is None:
            self._meet(report.session, observer, is_new=report.pid is None)
        for page in report.pages:
            observer.events.tools_listed(bytes(page.reply), page.cursor)
        self._count_calls(report, observer)
        self._count_rest(report, observer)
        if report.exit is not None and self._pid is not None:
            recorder.process_exited(
                self._pid, report.exit if report.exit in EXIT_REASONS else "error"
            )
            self._pid = None

    def leave(self) -> None:
        """The connection is over: neither the session nor the process is known any more."""
        if self._observer is None:
            return
        recorder = self._observer.recorder
        recorder.waiting(-self._waiting)
        if self._session is not None:
            recorder.session_ended(self._session.age + monotonic() - self._session_seen)
        if self._pid is not None:
            recorder.process_left(self._pid)
        self._observer = None

    def _enter(self, report: Report) -> Observer:
        """The observer in charge now: a new configuration may have brought another one."""
        self._name = self._name or report.server
        observer = self._observer
        if observer is None or not self._is_in_charge(observer):
            observer = self._names.observer(self._name)
            self._move(observer)
        return observer

    def _is_in_charge(self, observer: Observer) -> bool:
        # A name that is not admitted would count as an overflow with every report.
        return observer.recorder.name == OTHER or self._names.observer(self._name) is observer

    def _move(self, observer: Observer) -> None:
        self._metrics.wrap_dropped.labels(observer.recorder.name)  # the first drop is to be seen
        was_known, self._observer = self._observer, observer
        if was_known is None:
            return
        was_known.recorder.waiting(-self._waiting)
        self._waiting = 0
        if self._pid is not None:
            was_known.recorder.process_left(self._pid)
            observer.recorder.process_joined(self._pid, is_new=False)
        if self._session is not None:
            was_known.recorder.sessions_changed(-1)
            observer.recorder.sessions_changed(1)

    def _meet(self, session: Session, observer: Observer, is_new: bool) -> None:
        self._session, self._session_seen = session, monotonic()
        if is_new:
            observer.recorder.session_started(session.client, session.version)
        else:
            observer.recorder.sessions_changed(1)

    def _count_calls(self, report: Report, observer: Observer) -> None:
        recorder = observer.recorder
        outcomes = set()
        for finished in report.calls:
            call = self._call(finished, recorder)
            recorder.began(call.to_server)
            recorder.finished(call)
            if call.to_server:
                outcomes.add(call.outcome)
        if outcomes & REPLIED:
            observer.upstream_alive()
        if Outcome.UPSTREAM_ERROR in outcomes:
            observer.upstream_lost("the wrapped server ended before it had replied")
        recorder.waiting(report.waiting - self._waiting)
        self._waiting = report.waiting

    def _call(self, finished: Finished, recorder: ServerRecorder) -> Call:
        tracer, session = recorder.tracing.tracer, self._session
        if tracer is None:
            return finished.call()
        call = finished.call(session.client if session is not None else None)
        notes = TraceNotes(
            _source(finished, call),
            prompt=fit(finished.prompt),
            version=fit(finished.version),
            state=state_of(finished.state),
            fault=Fault.EXIT.value if call.outcome is Outcome.UPSTREAM_ERROR else None,
        )
        is_kept = call.to_server and tracer.keeps(
            call.method, call.outcome, call.seconds, call.traceparent, notes
        )
        return replace(call, details=self._details(finished, call, notes)) if is_kept else call

    def _details(self, finished: Finished, call: Call, notes: TraceNotes) -> TraceDetails:
        session = self._session
        ago = min(max(0.0, time() - finished.ended), _LONGEST_AGO)
        return TraceDetails(
            monotonic() - ago - call.seconds,
            fit(finished.request_id),
            notes.version or (fit(session.version) if session else None),
            self._session_digits,
            notes,
            is_piped=True,
        )

    def _count_rest(self, report: Report, observer: Observer) -> None:
        recorder = observer.recorder
        for method, to_server, count in report.notified:
            for _ in range(min(count, 10_000)):
                recorder.notified(method, to_server)
        recorder.carried(max(0, report.bytes_to_server), to_server=True)
        recorder.carried(max(0, report.bytes_to_client), to_server=False)
        for reason, count in report.unparsed.items():
            self._metrics.unparsed.labels(
                recorder.name, reason if reason in UNPARSED else OTHER
            ).inc(max(0, count))
        for count in report.failed.values():
            self._metrics.internal_errors.labels("wrap").inc(max(0, count))
        if report.dropped > 0:
            self._metrics.wrap_dropped.labels(recorder.name).inc(report.dropped)
        if report.is_list_changed:
            observer.events.list_changed()


def _source(finished: Finished, call: Call) -> Source:
    if call.traceparent is not None:
        return "meta"
    return "invalid" if finished.is_invalid else "none"

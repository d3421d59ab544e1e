"""What was observed of one wrapped server and not reported yet, within a bound.

It takes the place of the recorder in the process of ``wrap``, where nothing is counted.
"""

from __future__ import annotations

from collections import Counter, deque
from threading import Lock
from time import monotonic, time
from typing import Any

from msgspec import Raw

from exporter.protocol import surrogates
from exporter.protocol.jsonrpc import Message
from exporter.telemetry.call import Call, Tracing
from exporter.telemetry.labels import method_label
from exporter.telemetry.spans.details import Join, Peer, TraceDetails
from exporter.wrap.report import Finished, Page, Report, Session

MAX_CALLS = 4096
"""Finished calls that are kept until they are reported; of more, the oldest are dropped."""

CALLS_A_REPORT = 100
"""The exporter counts a report at once, on the loop that relays: it must not take long."""

_MAX_PAGES_BYTES = 1024 * 1024
_MAX_TEXT = 257  # one more than any label value that is admitted


class _SpansElsewhere:
    """Has what a span says noted; whether one is made is the exporter's to know."""

    propagates = False

    def join(self, context: str | None, peer: Peer) -> Join | None:  # noqa: ARG002
        """Nothing: the server gets what its client sent."""
        return None

    def keeps(self, *call: object) -> bool:  # noqa: ARG002
        """It may be kept."""
        return True

    def record(self, *call: object) -> str | None:  # noqa: ARG002
        """No span is made here."""
        return None


class ReportBuffer:
    """Written by the threads that read copies, emptied by the one that reports."""

    names_clients = False

    def __init__(self, server: str, pid: int, max_calls: int = MAX_CALLS) -> None:
        self.lock = Lock()
        """Held around the whole observation of one message."""
        self.tracing = Tracing()
        self.tracing.tracer = _SpansElsewhere()
        self._server = server
        self._pid = pid
        self._max_calls = max_calls
        self._calls: deque[Finished] = deque()
        self._notified: Counter[tuple[str, bool]] = Counter()
        self._bytes = {True: 0, False: 0}
        self._unparsed: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._waiting = 0
        self._dropped = 0
        self._was_opened = False
        self._session: tuple[str | None, str | None, float] | None = None
        self._is_session_reported = False
        self._pages: list[Page] = []
        self._new_pages = 0
        self._is_list_changed = False
        self._exit: str | None = None
        self._has_changes = False

    # As a recorder, for the observer

    def began(self, to_server: bool) -> None:
        """A request is now in flight."""
        self._waiting += to_server
        self._has_changes = True

    def finished(self, call: Call) -> None:
        """A request in flight has ended."""
        self._waiting -= call.to_server
        if len(self._calls) >= self._max_calls:
            self._calls.popleft()
            self._dropped += 1
        self._calls.append(_finished(call))
        self._has_changes = True

    def notified(self, method: str | None, to_server: bool) -> None:
        """A notification passed by."""
        self._notified[method_label(method), to_server] += 1
        self._has_changes = True

    def carried(self, size: int, to_server: bool) -> None:
        """Bytes of messages passed by."""
        self._bytes[to_server] += size
        self._has_changes = True

    def unparsed(self, reason: str, count: int = 1) -> None:
        """Messages passed by without being understood."""
        if count:
            self._unparsed[reason] += count
            self._has_changes = True

    def failed(self, where: str) -> None:
        """Observation failed; the bytes went on."""
        self._failed[where] += 1
        self._has_changes = True

    # For the reader of copies

    def client_seen(self, message: Message) -> None:
        """Remember who the client is, from its first request."""
        if self._session is None and message.is_request:
            client, version = message.client, message.requested_version
            self._session = (_clipped(client), _clipped(version), monotonic())

    def tools_listed(self, data: bytes, cursor: str | None) -> None:
        """The server listed a page of its tools; kept for exporters that start later."""
        if cursor is None:
            self._pages.clear()
            self._new_pages = 0
        size = len(data) + sum(len(bytes(page.reply)) for page in self._pages)
        if size <= _MAX_PAGES_BYTES:
            self._pages.append(Page(cursor, Raw(surrogates.readable(data))))
            self._new_pages += 1

    def list_changed(self) -> None:
        """The server said that its tools changed."""
        self._is_list_changed = True

    def alive(self) -> None:
        """The server said something: its reports say so."""

    def lost(self, reason: str) -> None:
        """It cannot be lost: its process is at hand, and its end is reported."""

    def exited(self, reason: str) -> None:
        """The server's process has ended."""
        with self.lock:
            self._exit = reason
            self._has_changes = True

    # For the sender

    def opening(self) -> Report:
        """Return the report that opens a connection."""
        with self.lock:
            self._new_pages = 0
            return Report(
                self._server,
                pid=self._pid,
                is_first=not self._was_opened,
                session=self._current_session() if self._is_session_reported else None,
                pages=list(self._pages),
                waiting=self._waiting,
            )

    def opened(self) -> None:
        """An exporter knows this server now."""
        self._was_opened = True

    def collect(self) -> Report | None:
        """Take out the next report, or ``None`` where there is nothing new."""
        with self.lock:
            if not self._has_changes:
                return None
            report = Report(
                self._server,
                session=None if self._is_session_reported else self._current_session(),
                pages=self._pages[-self._new_pages :] if self._new_pages else [],
                is_list_changed=self._is_list_changed,
                calls=[self._calls.popleft() for _ in range(min(len(self._calls), CALLS_A_REPORT))],
                notified=[(*key, count) for key, count in self._notified.items()],
                bytes_to_server=self._bytes[True],
                bytes_to_client=self._bytes[False],
                unparsed=dict(self._unparsed),
                failed=dict(self._failed),
                waiting=self._waiting,
                dropped=self._dropped,
                exit=None if self._calls else self._exit,
            )
            self._reset()
            return report

    def delivered(self, report: Report) -> None:
        """This report was counted."""
        if report.session is not None:
            self._is_session_reported = True

    def drop(self, report: Report) -> None:
        """Give this report up, and count its calls as dropped."""
        with self.lock:
            self._dropped += len(report.calls) + report.dropped
            self._has_changes = True

    def _current_session(self) -> Session | None:
        if self._session is None:
            return None
        client, version, since = self._session
        return Session(client, version, monotonic() - since)

    def _reset(self) -> None:
        self._notified.clear()
        self._bytes = {True: 0, False: 0}
        self._unparsed.clear()
        self._failed.clear()
        self._dropped = 0
        self._new_pages = 0
        self._is_list_changed = False
        self._has_changes = bool(self._calls)


def _finished(call: Call) -> Finished:
    return Finished(
        method_label(call.method),
        call.outcome,
        call.seconds,
        call.to_server,
        _clipped(call.tool),
        call.code,
        call.result_bytes,
        call.traceparent,
        _ended(call),
        *_noted(call.details),
    )


def _ended(call: Call) -> float:
    """When it ended, in Unix time: a copy is read up to a second after it passed by."""
    if call.details is None:
        return time()
    return time() - monotonic() + call.details.started + call.seconds


def _noted(details: TraceDetails | None) -> tuple[Any, ...]:
    if details is None:
        return ()
    notes = details.notes
    is_invalid = notes.source == "invalid"
    return details.request_id, notes.prompt, details.version, notes.state, is_invalid


def _clipped(text: str | None) -> str | None:
    # Half a character cannot be written as UTF-8; what is no longer itself is not admitted.
    return text and text[:_MAX_TEXT].encode(errors="replace").decode()

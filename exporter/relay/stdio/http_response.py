"""The HTTP side of a request that a stdio server serves: one JSON reply, or a stream of events.

It stays JSON if the reply is the first thing that comes. Whatever comes earlier, or fifteen
seconds of silence, makes it a stream, so that nothing is held back and no idle timeout of a
proxy in between cuts the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Protocol

from exporter.config.limits import Timeout
from exporter.protocol import errors
from exporter.protocol.jsonrpc import Id
from exporter.telemetry.exchange import Pending
from exporter.transport.deadlines import Deadlines, deadlines_of
from exporter.transport.http.head import Headers
from exporter.transport.http.request import Request

KEEP_ALIVE = 15.0

MAX_UNREAD = 1024 * 1024
"""Bytes that wait for a client that does not read: with one message more, its stream ends."""

_EVENT_STREAM: Headers = [
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache, no-transform"),
    (b"X-Accel-Buffering", b"no"),
]


class ResponseOwner(Protocol):
    """What gives the responses, and is told how their clients fare."""

    def response_gone(self, response: StdioResponse) -> None:
        """The client closed the connection before the response was complete."""

    def response_expired(self, response: StdioResponse) -> None:
        """The deadline has passed."""

    def response_paused(self, paused: bool) -> None:
        """The client reads more slowly than the response comes, or has caught up."""

    def response_overflowed(self, response: StdioResponse) -> None:
        """The client does not read, and more waits for it than is kept."""


class ResponseTimers:
    """The deadlines of one owner's responses, and their signs of life."""

    def __init__(self, timeout: Timeout, loop: asyncio.AbstractEventLoop) -> None:
        self.deadlines = deadlines_of(timeout, StdioResponse.expire, loop)
        self.silences = Deadlines(KEEP_ALIVE, StdioResponse.keep_alive, loop)

    def start(self, response: StdioResponse, now: float, *, has_deadline: bool) -> None:
        """Begin to count the time of a response."""
        self.silences.add(response, now)
        if has_deadline:
            self.deadlines.add(response, now)

    def stop(self, response: StdioResponse) -> None:
        """The response is complete, or given up."""
        self.silences.discard(response)
        self.deadlines.discard(response)

    def close(self) -> None:
        """Cancel all timers."""
        self.silences.close()
        self.deadlines.close()


class StdioResponse:
    """The response to one POST, or to a GET: then there are no ``ids`` to reply to."""

    def __init__(
        self,
        request: Request,
        owner: ResponseOwner,
        timers: ResponseTimers,
        ids: Sequence[Id] = (),
        pending: Sequence[Pending] = (),
        headers: Headers | None = None,
        *,
        has_deadline: bool = True,
    ) -> None:
        self.ids = dict.fromkeys(ids)
        """Requests without a reply yet."""
        self.pending = pending
        self.position = 0
        """Bytes that had been sent to the child when its requests had."""
        self.is_open = True
        self.has_progressed = False
        self.received = request.received
        accept = request.header(b"accept")
        self.can_stream = accept is None or b"text/event-stream" in accept or b"*/*" in accept
        """Whether the client takes events; one that says nothing takes them."""
        self.unread = 0
        """Bytes that were written since the client stopped reading."""
        self.inside = 0.0
        """Seconds that the request and its reply have spent inside the exporter so far."""
        self._response = request.response
        self._owner = owner
        self._timers = timers
        self._is_batch = len(ids) > 1
        self._collected: list[bytes] = []
        self._headers = headers or []
        self._is_slow = False
        self._response.watcher = self
        timers.start(self, monotonic(), has_deadline=has_deadline and bool(ids))

    def stream(self) -> None:
        """Begin the stream of events now."""
        if not self._response.started:
            self._response.start(200, [*_EVENT_STREAM, *self._headers])
            for reply in self._collected:
                self._event(reply)
            self._collected.clear()
            self._response.flush()

    def send(self, data: bytes) -> None:
        """Pass on a message that is not the reply."""
        if not self.is_open or not self.can_stream:
            return
        if self.unread > MAX_UNREAD:
            self._owner.response_overflowed(self)
            return
        self.stream()
        self._event(data)
        self._response.flush()

    def reply(self, request_id: Id, data: bytes, status: int = 200) -> None:
        """Pass on a reply; the last one that is due ends the response."""
        if not self.is_open:
            return
        self.ids.pop(request_id, None)
        if self._response.started:
            self._event(data)
            self._response.flush()
        else:
            self._collected.append(data)
        if not self.ids:
            self._finish(status)

    def withdraw(self, request_id: Id) -> None:
        """Expect no reply to this request any more; without others the response ends."""
        self.ids.pop(request_id, None)
        if not self.ids:
            self.end()

    def fail(self, status: int, code: int, text: str) -> None:
        """Reply to all that is still due with an error of the exporter's own."""
        for request_id in list(self.ids):
            self.reply(request_id, errors.error(code, text, request_id), status)
        self.end()

    def end(self) -> None:
        """End the stream; it is an empty one where nothing has come yet."""
        if self.is_open:
            self._close()
            self.stream()
            self._response.end()

    def abort(self) -> None:
        """Cut the connection: the client does not read what there is."""
        if self.is_open:
            self._close()
            self._response.abort()

    def keep_alive(self) -> None:
        """Break a silence that something in between might take for the end."""
        if self.can_stream:
            self.stream()
            self._response.write(b": ping\n\n")
            self._response.flush()
        self._timers.silences.add(self, monotonic())

    def progressed(self) -> None:
        """The server reported progress of a request: wait on."""
        self.has_progressed = True
        self._timers.deadlines.renew(self, monotonic())

    def expire(self) -> None:
        """The deadline has passed."""
        self._owner.response_expired(self)

    # The response's watcher

    def client_gone(self) -> None:
        """The client closed its connection."""
        if self.is_open:
            self._close()
            self._owner.response_gone(self)

    def client_paused(self, paused: bool) -> None:
        """The client reads more slowly than the response comes, or has caught up."""
        if paused is not self._is_slow:
            self._is_slow = paused
            self.unread = 0
            self._owner.response_paused(paused)

    # Inside

    def _finish(self, status: int) -> None:
        self._close()
        if self._response.started:
            self._response.end()
            return
        body = self._collected[0]
        if self._is_batch:
            body = b"[" + b",".join(self._collected) + b"]"
        self._response.send(status, body, errors.JSON, self._headers)

    def _event(self, data: bytes) -> None:
        if b"\r" in data:
            data = data.replace(b"\r", b"")
        if self._is_slow:
            self.unread += len(data)
        self._response.write(b"event: message\ndata: " + data + b"\n\n")

    def _close(self) -> None:
        self.is_open = False
        if self._is_slow:
            self.client_paused(False)
        self._timers.stop(self)
        # No circle is left behind: what the call used is free at once, without the collector.
        self._response.watcher = None

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

from exporter.protocol import errors
from exporter.protocol.jsonrpc import Id
from exporter.telemetry.exchange import Pending
from exporter.transport.deadlines import Deadlines
from exporter.transport.http.head import Headers
from exporter.transport.http.request import Request

KEEP_ALIVE = 15.0
_EVENT_STREAM: Headers = [
    (b"Content-Type", b"text/event-stream"),
    (b"Cache-Control", b"no-cache, no-transform"),
    (b"X-Accel-Buffering", b"no"),
]


class AnswerOwner(Protocol):
    """Whoever gives the answer."""

    def answer_gone(self, answer: StdioResponse) -> None:
        """The client closed the connection before the answer was complete."""

    def answer_expired(self, answer: StdioResponse) -> None:
        """The deadline has passed."""

    def answer_paused(self, paused: bool) -> None:
        """The client reads more slowly than the answer comes, or has caught up."""


class ResponseTimers:
    """What reminds the answers of one owner: that they are late, and that they were silent.

    ``timeout`` is in seconds, 0 for none.
    """

    def __init__(self, timeout: float, loop: asyncio.AbstractEventLoop) -> None:
        self.deadlines = Deadlines(timeout, StdioResponse.expire, loop)
        self.silences = Deadlines(KEEP_ALIVE, StdioResponse.keep_alive, loop)

    def start(self, answer: StdioResponse, now: float, *, has_deadline: bool) -> None:
        """The answer is waited for."""
        self.silences.add(answer, now)
        if has_deadline:
            self.deadlines.add(answer, now)

    def stop(self, answer: StdioResponse) -> None:
        """It is complete, or nobody waits for it."""
        self.silences.discard(answer)
        self.deadlines.discard(answer)

    def close(self) -> None:
        """Remind nobody any more."""
        self.silences.close()
        self.deadlines.close()


class StdioResponse:
    """What becomes of one POST, or of a GET: then there are no ``ids`` to reply to."""

    def __init__(
        self,
        request: Request,
        owner: AnswerOwner,
        clocks: ResponseTimers,
        ids: Sequence[Id] = (),
        pending: Sequence[Pending] = (),
        headers: Headers | None = None,
        *,
        has_deadline: bool = True,
    ) -> None:
        self.ids = list(ids)
        self.pending = pending
        self.is_open = True
        self._request = request
        self._response = request.response
        self._owner = owner
        self._clocks = clocks
        self._is_batch = len(self.ids) > 1
        self._collected: list[bytes] = []
        self._headers = headers or []
        self._is_slow = False
        self.inside = 0.0
        """Seconds that the request and its reply have spent inside the exporter so far."""
        self._response.watcher = self
        clocks.start(self, monotonic(), has_deadline=has_deadline and bool(self.ids))

    @property
    def can_stream(self) -> bool:
        """Whether the client takes events; one that says nothing takes them."""
        accept = self._request.header(b"accept")
        return accept is None or b"text/event-stream" in accept or b"*/*" in accept

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
        if self.is_open and self.can_stream:
            self.stream()
            self._event(data)
            self._response.flush()

    def reply(self, request_id: Id, data: bytes, status: int = 200) -> None:
        """Pass on a reply; the last one that is waited for ends the answer."""
        if not self.is_open:
            return
        if request_id in self.ids:
            self.ids.remove(request_id)
        if self._response.started:
            self._event(data)
            self._response.flush()
        else:
            self._collected.append(data)
        if not self.ids:
            self._finish(status)

    def withdraw(self, request_id: object) -> None:
        """Expect no reply to this request any more; without others the answer ends."""
        self.ids = [each for each in self.ids if each != request_id]
        if not self.ids:
            self.end()

    def fail(self, status: int, code: int, text: str) -> None:
        """Reply to all that is still waited for with an error of the exporter's own."""
        for request_id in list(self.ids):
            self.reply(request_id, errors.error(code, text, request_id), status)
        self.end()

    def end(self) -> None:
        """End the stream; it is an empty one where nothing has come yet."""
        if self.is_open:
            self._close()
            self.stream()
            self._response.end()

    def keep_alive(self) -> None:
        """Break a silence that something in between might take for the end."""
        if self.can_stream:
            self.stream()
            self._response.write(b": ping\n\n")
            self._response.flush()
        self._clocks.silences.add(self, monotonic())

    def expire(self) -> None:
        """The deadline has passed."""
        self._owner.answer_expired(self)

    def _finish(self, status: int) -> None:
        self._close()
        if self._response.started:
            self._response.end()
            return
        body = self._collected[0]
        if self._is_batch:
            body = b"[" + b",".join(self._collected) + b"]"
        self._request.respond(status, body, errors.JSON, self._headers)

    def _event(self, data: bytes) -> None:
        self._response.write(b"event: message\ndata: " + data.replace(b"\r", b"") + b"\n\n")

    def client_gone(self) -> None:
        """The client closed its connection."""
        if self.is_open:
            self._close()
            self._owner.answer_gone(self)

    def client_paused(self, paused: bool) -> None:
        """The client reads more slowly than the response comes, or has caught up."""
        if paused is not self._is_slow:
            self._is_slow = paused
            self._owner.answer_paused(paused)

    def _close(self) -> None:
        self.is_open = False
        self.client_paused(False)
        self._clocks.stop(self)
        # No circle is left behind: what the call used is free at once, without the collector.
        self._response.watcher = None

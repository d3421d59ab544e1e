"""The life of a child and of the responses that it owes, whatever its protocol era."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Protocol

from exporter.config.limits import Timeout
from exporter.protocol import errors, jsonrpc
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import Message
from exporter.protocol.label_values import Outcome
from exporter.relay.stdio.http_response import ResponseTimers, StdioResponse
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.observer import Observer
from exporter.transport.process.child import Child, ChildOwner

StartChild = Callable[[ChildOwner], Child]

_MARK = b"\xef\xbb\xbf"
"""A byte order mark, which some servers write before the first message."""


class HostEvents(Protocol):
    """What is told of the end of a child."""

    def host_ended(self, host: ChildHost, text: str) -> None:
        """Its child is about to stop, because of this."""


class ChildHost(ABC):
    """Owns a child, and gives the responses."""

    def __init__(
        self, observer: Observer, timeout: Timeout, start: StartChild, events: HostEvents
    ) -> None:
        self.started = self.last_used = monotonic()
        self.is_useful = False
        """Whether the child has replied to what it was started for."""
        self.has_failed = False
        """Whether the child was lost before it was useful."""
        self._observer = observer
        self._exchange = Exchange(observer.recorder)
        self._timeout = timeout
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._timers = ResponseTimers(timeout, self._loop)
        self._ended = False
        self.child = start(self)

    @property
    @abstractmethod
    def is_idle(self) -> bool:
        """Whether no client waits for anything of it."""

    @property
    def queued(self) -> int:
        """Bytes that wait here for the child or for its clients."""
        return self.child.unread + sum(response.unread for response in self._responses())

    def end(self, outcome: Outcome, text: str, fault: str | None = None) -> None:
        """Stop the child; what waits for a reply of it is told why there is none."""
        if self._ended:
            return
        self._ended = True
        self._observer.abandon(self._exchange, outcome, monotonic(), fault)
        for response in list(self._responses()):
            response.fail(502, errors.CONNECTION_LOST, text)
        self._clear()
        self._timers.close()
        self.child.stop()
        self._events.host_ended(self, text)

    # ChildOwner

    def child_said(self, line: bytes) -> None:
        """Pass one message of the child on to where it belongs."""
        arrived = monotonic()
        message = jsonrpc.read(line)
        if message is not None:
            self._pass_on(message, line.removeprefix(_MARK), arrived)
        elif jsonrpc.is_batch(line):
            for part in jsonrpc.split(line)[: jsonrpc.BATCH]:
                if (member := jsonrpc.read(part)) is not None:
                    self._pass_on(member, part, arrived)
        self._observer.server_said(self._exchange, line, arrived, message)

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone, and with it what it owes."""
        self.has_failed = not self.is_useful
        self._observer.upstream_lost(str(error))
        self.end(Outcome.UPSTREAM_ERROR, f"the server {error}", error.fault.value)

    # ResponseOwner

    def response_expired(self, response: StdioResponse) -> None:
        """No reply within the server's timeout."""
        if response.position > self.child.sent - self.child.unread:
            text = f"has not read its input for {self._timeout.seconds:g} s"
            self.child.lose(text, Fault.TIMEOUT)
            return
        elapsed = monotonic() - response.received
        spent = self._timeout.spent(elapsed, has_progressed=response.has_progressed)
        self._observer.time_out(self._exchange, response.pending, spent)
        self._give_up(response, Outcome.TIMEOUT)
        response.fail(504, errors.TIMEOUT, f"the server {self._timeout.text}")

    def response_overflowed(self, response: StdioResponse) -> None:
        """The client does not read what it asked for: it alone goes."""
        self._give_up(response, Outcome.CLIENT_GONE)
        response.abort()

    # Inside

    @abstractmethod
    def _responses(self) -> Iterable[StdioResponse]:
        """The responses that are not complete."""

    @abstractmethod
    def _clear(self) -> None:
        """Forget what was waited for: nothing is to come."""

    @abstractmethod
    def _pass_on(self, message: Message, data: bytes, arrived: float) -> None:
        """Pass on one message of the child."""

    @abstractmethod
    def _give_up(self, response: StdioResponse, outcome: Outcome) -> None:
        """Expect no reply any more to the requests of a response, which ended so."""

"""A server that is asked over a connection that stays open and carries messages both ways.

Replies are found by their id. A server may send requests itself: ``ping`` is replied to, so that
it does not give the prober up; the others get an error, because the prober offered nothing.
"""

from __future__ import annotations

import asyncio
import re
from abc import abstractmethod
from collections.abc import Mapping
from time import monotonic

import msgspec
from msgspec import UNSET

from exporter.config.model import Server
from exporter.probe.replies import has_no_id, messages, replied_to
from exporter.probe.target import Era, ProbeEvents, Replied, Target
from exporter.protocol import errors
from exporter.protocol.jsonrpc import Message
from exporter.protocol.spec import LIST_CHANGED

_JSON = re.compile(rb"(?:\xef\xbb\xbf)?\s*[{\[]")


class DuplexTarget(Target):
    """What a child process and a stream of events have in common."""

    def __init__(self, server: Server, events: ProbeEvents | None = None) -> None:
        super().__init__(server, events)
        self._replies: dict[int, asyncio.Future[Replied]] = {}
        self._silent_since: float | None = None
        """Since when the server has sent no message, though one was due."""

    @abstractmethod
    def _write(self, body: bytes) -> None:
        """Send one message."""

    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        number, body = self._compose(method, params)
        try:
            return await self._send(number, body)
        finally:
            self._replies.pop(number, None)

    def _send(self, number: int, body: bytes) -> asyncio.Future[Replied]:
        reply: asyncio.Future[Replied] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        if self._silent_since is None:
            self._silent_since = monotonic()
        self._send_noted(body)
        return reply

    def _send_noted(self, body: bytes) -> None:
        self._transcript.note("sent", body)
        self._write(body)

    def _received(self, data: bytes) -> None:
        """Take one message of the server."""
        found = list(messages(data)) if _JSON.match(data) else []
        if not found:
            self._received_noise(data)
            return
        self._silent_since = None
        for message, part in found:
            if message.is_reply:
                self._take_reply(message, part)
            else:
                self._take_unasked(message, part)

    def _received_noise(self, data: bytes) -> None:
        """Take what is no message."""
        self._transcript.note_unasked("noise", data)

    def _lost(self, error: Exception) -> bool:
        """The connection is gone. Return whether a reply was waited for."""
        waiting = [reply for reply in self._replies.values() if not reply.done()]
        self._replies.clear()
        self._silent_since = None
        self.era = Era.UNKNOWN
        for reply in waiting:
            reply.set_exception(error)
            reply.exception()  # the one who asked may have stopped waiting
        return bool(waiting)

    def _take_reply(self, message: Message, data: bytes) -> None:
        reply = self._waiting(message)
        if reply is None or reply.done():
            self._transcript.note_unasked("late", data)
            return
        self._transcript.note("received", data)
        reply.set_result((message, data))

    def _waiting(self, message: Message) -> asyncio.Future[Replied] | None:
        """The request that a reply ends, as far as it is known."""
        if has_no_id(message) and len(self._replies) == 1:
            return next(iter(self._replies.values()))
        return self._replies.get(replied_to(message) or 0)

    def _take_unasked(self, message: Message, data: bytes) -> None:
        self._transcript.note_unasked("message", data)
        if message.method == LIST_CHANGED:
            if self._events is not None:
                self._events.tools_changed()
        elif message.is_request:
            reply = _reply_to(message)
            self._transcript.note_unasked("replied", reply)
            self._write(reply)


def _reply_to(message: Message) -> bytes:
    if message.method == "ping":
        return msgspec.json.encode({"jsonrpc": "2.0", "id": message.id, "result": {}})
    text = "the prober offers no method to a server"
    request_id = None if message.id is UNSET else message.id
    return errors.error(errors.METHOD_NOT_FOUND, text, request_id)

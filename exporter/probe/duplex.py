"""Probes over a connection that stays open and carries messages both ways.

Replies are found by their id. A server may ask something itself: ``ping`` is answered, so that
it does not give the prober up; everything else is refused, because the prober offered nothing.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Mapping
from time import monotonic

import msgspec
from msgspec import UNSET

from exporter.config.model import Server
from exporter.probe.base import Era, Probe, Replied
from exporter.protocol import errors, jsonrpc
from exporter.protocol.jsonrpc import Message
from exporter.protocol.spec import LIST_CHANGED


class WireProbe(Probe):
    """The part that a child process and a stream of events have in common."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._replies: dict[int, asyncio.Future[Replied]] = {}
        self._silent_since: float | None = None
        """Since when the server owes a word."""

    @abstractmethod
    def _write(self, body: bytes) -> None:
        """Send one message on its way."""

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
        self._tell(body)
        return reply

    def _tell(self, body: bytes) -> None:
        self._dialogue.note("sent", body)
        self._write(body)

    def _said(self, data: bytes) -> None:
        """The server sent one message."""
        message = jsonrpc.read(data) if data.lstrip()[:1] == b"{" else None
        if message is None or not (message.is_reply or message.method):
            self._heard_noise(data)
            return
        self._silent_since = None
        if message.is_reply:
            self._take_reply(message, data)
        else:
            self._take_word(message, data)

    def _heard_noise(self, data: bytes) -> None:
        """The server sent what is no message."""
        self._dialogue.overhear("noise", data)

    def _lost(self, error: Exception) -> bool:
        """The connection is gone; answers whether somebody waited for a reply."""
        waiting = [reply for reply in self._replies.values() if not reply.done()]
        self._replies.clear()
        self._silent_since = None
        self.era = Era.UNKNOWN
        for reply in waiting:
            reply.set_exception(error)
            reply.exception()  # whoever asked may have stopped waiting
        return bool(waiting)

    def _take_reply(self, message: Message, data: bytes) -> None:
        reply = self._replies.get(message.id) if isinstance(message.id, int) else None
        if reply is None or reply.done():
            self._dialogue.overhear("late", data)
            return
        self._dialogue.note("received", data)
        reply.set_result((message, data))

    def _take_word(self, message: Message, data: bytes) -> None:
        self._dialogue.overhear("told", data)
        if message.method == LIST_CHANGED:
            self.on_list_changed()
        elif message.is_request:
            answer = _answer(message)
            self._dialogue.overhear("answered", answer)
            self._write(answer)


def _answer(message: Message) -> bytes:
    if message.method == "ping":
        return msgspec.json.encode({"jsonrpc": "2.0", "id": message.id, "result": {}})
    text = "the prober offers nothing to a server"
    request_id = None if message.id is UNSET else message.id
    return errors.error(errors.METHOD_NOT_FOUND, text, request_id)

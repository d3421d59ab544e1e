"""Probes a stdio server in a child of the prober's own.

Never in a child that serves clients: the first request that a stdio server reads fixes its
era. That child costs what one more instance of the server costs; it is kept between probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from exporter import message as jsonrpc
from exporter.call import Fault, UpstreamError
from exporter.child import Child, Ledger
from exporter.config import Server
from exporter.message import Message
from exporter.observation import LIST_CHANGED
from exporter.probe import INITIALIZED, Probe, is_discovered
from exporter.reaper import Reaper

_DISCOVER_SHARE = 0.4
"""The part of the timeout after which a silent ``server/discover`` is followed by the older
``initialize``: some older servers ignore what they do not know."""

Replied = tuple[Message, bytes]


class StdioProbe(Probe):
    """Meets the server in the newest era it speaks, then asks ``server/discover`` or ``ping``."""

    def __init__(
        self, server: Server, ledger: Ledger, reaper: Reaper, on_exit: Callable[[str], None]
    ) -> None:
        super().__init__(server.probe.timeout)
        self._server = server
        self._ledger = ledger
        self._reaper = reaper
        self._on_exit = on_exit
        self._child: Child | None = None
        self._replies: dict[int, asyncio.Future[Replied]] = {}
        self._greetings: list[asyncio.Future[Replied]] = []

    async def close(self) -> None:
        """Stop the child."""
        if self._child is not None:
            await self._child.stop()

    # The child's owner

    def child_said(self, line: bytes) -> None:
        """Hand a reply to whoever waits for it; the rest is of no interest here."""
        self._dialogue.note("received", line)
        message = jsonrpc.read(line)
        if message is None:
            return
        if message.method == LIST_CHANGED:
            self.list_changed = True
        reply = self._replies.pop(message.id, None) if isinstance(message.id, int) else None
        if message.is_reply and reply is not None and not reply.done():
            reply.set_result((message, line))

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone: whatever was asked fails, and the next probe starts another."""
        self._child = None
        self._modern = None
        waiting = [reply for reply in self._replies.values() if not reply.done()]
        self._replies.clear()
        self._greetings.clear()
        for reply in waiting:
            reply.set_exception(error)
            reply.exception()  # somebody may have stopped waiting for it
        if not waiting:
            self._on_exit(str(error))

    # Probe

    async def _check(self) -> None:
        if self._child is None:
            self._dialogue.note("note", f"starting {self._server.command}")
            self._child = Child(self._server, self, self._ledger, self._reaper, "probe")
        if self._modern is None:
            await self._greet()
        elif self._modern:
            _, data = await self._ask("server/discover", {})
            self._meet_modern(data)
        else:
            await self._ask("ping", {})

    async def _ask(self, method: str, params: dict[str, object]) -> Replied:
        number, body = self._compose(method, params, bool(self._modern))
        return await self._send(number, body)

    async def _greet(self) -> None:
        """Ask in the newest era; after some silence also in the older one; the first counts.

        Both questions stay open from one probe to the next: a server that takes long to start
        must not be started anew each time.
        """
        if not self._greetings:
            self._greetings.append(self._send(*self._compose("server/discover", {}, modern=True)))
        if len(self._greetings) == 1:
            patience = self._timeout * _DISCOVER_SHARE
            done, _ = await asyncio.wait(self._greetings, timeout=patience)
            if not done or not is_discovered(_first(done)[0]):
                self._greetings.append(self._send(*self._initialize()))
        waiting = [reply for reply in self._greetings if not _is_refusal(reply)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        message, data = _first(done)
        if not is_discovered(message):
            self._greetings.clear()
            raise UpstreamError("refused both server/discover and initialize", Fault.PROTOCOL)
        if next(iter(done)) is self._greetings[0]:
            self._meet_modern(data)
        else:
            self._meet_legacy(data)
            self._tell(INITIALIZED)
        self._greetings.clear()

    def _send(self, number: int, body: bytes) -> asyncio.Future[Replied]:
        reply: asyncio.Future[Replied] = asyncio.get_running_loop().create_future()
        self._replies[number] = reply
        self._tell(body)
        return reply

    def _tell(self, body: bytes) -> None:
        self._dialogue.note("sent", body)
        if self._child is not None:
            self._child.send(body)


def _first(done: set[asyncio.Future[Replied]]) -> Replied:
    return next(iter(done)).result()


def _is_refusal(reply: asyncio.Future[Replied]) -> bool:
    return reply.done() and reply.exception() is None and not is_discovered(reply.result()[0])

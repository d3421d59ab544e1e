"""Probes a stdio server in a child of the prober's own.

Never in a child that serves clients: the first request that a stdio server reads fixes its
era. That child costs what one more instance of the server costs; it is kept between probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from msgspec import UNSET

from exporter.config.model import Server
from exporter.probe.base import (
    DISCOVER_SHARE,
    INITIALIZED,
    Era,
    ReachedError,
    Replied,
    is_discovered,
    refusal_of,
)
from exporter.probe.duplex import WireProbe
from exporter.probe.transcript import Transcript
from exporter.protocol import errors
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.spec import DISCOVER, LISTEN
from exporter.transport.process.child import Child, ProcessObserver
from exporter.transport.process.reaper import Reaper

SILENCE = 120.0
"""Seconds that a child may owe a word: then it is ended, and another one started."""


MAX_LINE = 16 * 1024 * 1024

NOISE_A_SECOND = 8 * 1024 * 1024
"""Bytes of noise that are read; a child that babbles waits, so that the relay does not."""

_NOISE_AT_ONCE = 1024 * 1024
_LEAST_NOISE = 256  # bytes that a line counts as, however short it is: reading it costs as much


class StdioProbe(WireProbe):
    """Meets the server in the newest era it speaks, then asks ``server/discover`` or ``ping``."""

    def __init__(self, server: Server, ledger: ProcessObserver, reaper: Reaper) -> None:
        super().__init__(server)
        self.on_exit: Callable[[str, Transcript], None] = _nothing
        self._ledger = ledger
        self._reaper = reaper
        self._child: Child | None = None
        self._discovery: asyncio.Future[Replied] | None = None
        self._initialization: asyncio.Future[Replied] | None = None
        self._silence_ends = 0.0
        self._noise = 0
        self._is_deaf = False
        self._stopping: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop the child."""
        self._give_up()
        if self._stopping:
            await asyncio.wait(self._stopping)

    # The child's owner

    def child_said(self, line: bytes) -> None:
        """The child wrote one line."""
        self._said(line)

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone: whatever was asked fails, and the next probe starts another."""
        self._child = None
        self._discovery = self._initialization = None
        if not self._lost(error):
            dialogue = self._dialogue
            self.hush()
            self.on_exit(str(error), dialogue)

    # Probe

    async def _check(self) -> None:
        if self._silent_since is not None and monotonic() - self._silent_since > SILENCE:
            self._dialogue.note("note", f"silent for {SILENCE:g} s: starting it anew")
            self._give_up()
        if self._child is None:
            self._start()
        if self.era is Era.UNKNOWN:
            await self._greet()
        await self._ask_for_life()

    async def _ask_for_life(self) -> None:
        # Asked even of one just met: some exit as soon as they have replied to the greeting.
        method = DISCOVER if self.era is Era.MODERN else "ping"
        message, _ = await self._ask(method, {})
        if message.error is UNSET:
            return
        if self.era is Era.MODERN or message.error.code != errors.METHOD_NOT_FOUND:
            self.era = Era.UNKNOWN  # as a server says whose wrapper has started it anew
        raise ReachedError(refusal_of(method, message))

    def _start(self) -> None:
        self._dialogue.note("note", f"starting {self.server.command}")
        self._child = Child(self.server, self, self._ledger, self._reaper, "probe", MAX_LINE)
        self._child.on_stderr = self._complained

    def _complained(self, line: bytes) -> None:
        self._dialogue.overhear("stderr", line)

    def _heard_noise(self, data: bytes) -> None:
        super()._heard_noise(data)
        self._noise += max(len(data), _LEAST_NOISE)
        if self._noise >= _NOISE_AT_ONCE and not self._is_deaf and self._child is not None:
            self._is_deaf = True
            self._child.pause(True)
            self._wait_out_noise(self._child)

    def _wait_out_noise(self, child: Child) -> None:
        # What had been read already when it was told to wait counts too.
        noise, self._noise = self._noise, 0
        self._is_deaf = noise >= _NOISE_AT_ONCE
        if self._is_deaf:
            loop = asyncio.get_running_loop()
            loop.call_later(noise / NOISE_A_SECOND, self._wait_out_noise, child)
        else:
            child.pause(False)

    def _give_up(self) -> None:
        if self._child is not None:
            task = self._child.stop()
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
        self._child = None
        self._discovery = self._initialization = None
        self._lost(UpstreamError("was stopped", Fault.EXIT))

    async def _greet(self) -> None:
        """Ask in the newest era, after a silence or a refusal also in the older one.

        Both questions stay open from one probe to the next: a server that takes long to start
        must not be started anew each time.
        """
        if self._discovery is None:
            self._silence_ends = monotonic() + self._patience * DISCOVER_SHARE
            self._wait_for_start()
            self._discovery = self._send(*self._compose(DISCOVER, {}))
        elif not self._discovery.done():
            self._dialogue.note("note", "still waiting for the reply to an earlier greeting")
        discovery = self._discovery
        await asyncio.wait([discovery], timeout=max(0.0, self._silence_ends - monotonic()))
        if not self._is_modern(discovery):
            initialization = self._initialization or self._send(*self._compose_initialize())
            self._initialization = initialization
            await self._wait_for_either(discovery, initialization)

    async def _wait_for_either(
        self, discovery: asyncio.Future[Replied], initialization: asyncio.Future[Replied]
    ) -> None:
        self._waiting_for = "server/discover and initialize"
        while not (self._is_modern(discovery) or self._is_legacy(initialization)):
            open_ones = [reply for reply in (discovery, initialization) if not reply.done()]
            if not open_ones:
                self._forget_greetings()
                raise ReachedError(refusal_of("initialize", initialization.result()[0]))
            await asyncio.wait(open_ones, return_when=asyncio.FIRST_COMPLETED)

    def _is_modern(self, discovery: asyncio.Future[Replied]) -> bool:
        """Whether the server has said so by now. Raises ``UpstreamError`` if it is gone."""
        if not discovery.done():
            return False
        _, data = discovery.result()
        if is_discovered(data):
            self._forget_greetings()
            self._meet_modern(data)
            self._listen()
        return self.era is Era.MODERN

    def _is_legacy(self, initialization: asyncio.Future[Replied]) -> bool:
        """Whether the server has said so by now. Raises ``UpstreamError`` if it is gone."""
        if not initialization.done():
            return False
        message, data = initialization.result()
        if message.error is UNSET:
            self._forget_greetings()
            self._meet_legacy(data)
            self._tell(INITIALIZED)
        return self.era is Era.LEGACY

    def _forget_greetings(self) -> None:
        self._discovery = self._initialization = None
        self._replies.clear()

    def _listen(self) -> None:
        """At 2026-07-28 a server tells of changes only those who listen."""
        if self.identity is not None and self.identity.tells_changes:
            wanted = {"notifications": {"toolsListChanged": True}}
            _, body = self._compose(LISTEN, wanted)
            self._tell(body)

    def _write(self, body: bytes) -> None:
        if self._child is not None:
            self._child.send(body)


def _nothing(reason: str, dialogue: Transcript) -> None:
    """Nobody listens."""

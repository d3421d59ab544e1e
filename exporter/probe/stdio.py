"""A stdio server, asked in a child of the prober's own.

Never in a child that serves clients: the first request that a stdio server reads fixes its
era. That child costs what one more instance of the server costs; it is kept between probes.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from msgspec import UNSET

from exporter.config.model import Server
from exporter.probe.duplex import DuplexTarget
from exporter.probe.identity import read_offer
from exporter.probe.replies import LONGEST
from exporter.probe.target import (
    DISCOVER_SHARE,
    INITIALIZED,
    Era,
    ProbeEvents,
    ReachedError,
    Replied,
    error_text,
)
from exporter.protocol import errors
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.spec import DISCOVER, LISTEN
from exporter.transport.process.child import Child, ProcessObserver
from exporter.transport.process.reaper import Reaper

SILENCE = 120.0
"""Seconds that a child may send nothing though a reply is due: then it is replaced."""

NOISE_A_SECOND = 8 * 1024 * 1024
"""Bytes a second that are read of what is no message; a child that writes more has to wait."""

_NOISE_AT_ONCE = 1024 * 1024
_LEAST_NOISE = 256  # bytes that a line counts as, however short it is: reading it costs as much


class StdioTarget(DuplexTarget):
    """Finds the newest era that the server speaks, then asks ``server/discover`` or ``ping``."""

    def __init__(
        self,
        server: Server,
        processes: ProcessObserver,
        reaper: Reaper,
        events: ProbeEvents | None = None,
    ) -> None:
        super().__init__(server, events)
        self._processes = processes
        self._reaper = reaper
        self._child: Child | None = None
        self._discovery: asyncio.Future[Replied] | None = None
        self._initialization: asyncio.Future[Replied] | None = None
        self._silence_ends = 0.0
        self._has_offered = False
        self._noise = 0
        self._is_paused = False
        self._stopping: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop the child."""
        self._stop_child()
        if self._stopping:
            await asyncio.wait(self._stopping)

    # ChildOwner

    def child_said(self, line: bytes) -> None:
        """Take one line that the child wrote."""
        self._received(line)

    def child_lost(self, error: UpstreamError) -> None:
        """The child is gone: whatever was asked fails, and the next probe starts another."""
        self._child = None
        if not self._lost(error):
            transcript = self._transcript
            self.detach()
            if self._events is not None:
                self._events.child_exited(str(error), transcript)

    # Target

    async def _check(self) -> None:
        if self._silent_since is not None and monotonic() - self._silent_since > SILENCE:
            self._transcript.note("note", f"silent for {SILENCE:g} s: starting it anew")
            self._stop_child()
        if self._child is None:
            self._start()
        if self.era is Era.UNKNOWN:
            await self._negotiate()
        await self._ping()

    async def _ping(self) -> None:
        # Also right after the handshake: some servers exit as soon as it is over.
        method = DISCOVER if self.era is Era.MODERN else "ping"
        message, _ = await self._ask(method, {})
        if message.error is UNSET:
            return
        if self.era is Era.MODERN or message.error.code != errors.METHOD_NOT_FOUND:
            self.era = Era.UNKNOWN  # as a server says whose wrapper has started it anew
        raise ReachedError(error_text(method, message))

    def _start(self) -> None:
        self._transcript.note("note", f"starting {self.server.command}")
        self._child = Child(
            self.server,
            self,
            self._processes,
            self._reaper,
            "probe",
            LONGEST,
            on_stderr=self._wrote_stderr,
        )

    def _wrote_stderr(self, line: bytes) -> None:
        self._transcript.note_unasked("stderr", line)

    def _received_noise(self, data: bytes) -> None:
        super()._received_noise(data)
        self._noise += max(len(data), _LEAST_NOISE)
        if self._noise >= _NOISE_AT_ONCE and not self._is_paused and self._child is not None:
            self._is_paused = True
            self._child.pause(True)
            self._wait_out_noise(self._child)

    def _wait_out_noise(self, child: Child) -> None:
        # What had been read already when the child was paused counts too.
        noise, self._noise = self._noise, 0
        self._is_paused = noise >= _NOISE_AT_ONCE
        if self._is_paused:
            loop = asyncio.get_running_loop()
            loop.call_later(noise / NOISE_A_SECOND, self._wait_out_noise, child)
        else:
            child.pause(False)

    def _stop_child(self) -> None:
        if self._child is not None:
            task = self._child.stop()
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)
        self._child = None
        self._lost(UpstreamError("was stopped", Fault.EXIT))

    async def _negotiate(self) -> None:
        """Ask in the newest era, after a silence or a refusal also in the older one.

        Both questions stay open from one probe to the next: a server that takes long to start
        must not be started anew each time.
        """
        if self._discovery is None:
            self._silence_ends = monotonic() + self._timeout * DISCOVER_SHARE
            self._wait_for_start()
            self._discovery = self._send(*self._compose(DISCOVER, {}))
        elif not self._discovery.done():
            self._transcript.note("note", "still waiting for the reply to an earlier probe")
        discovery = self._discovery
        await asyncio.wait([discovery], timeout=max(0.0, self._silence_ends - monotonic()))
        if not self._has_discovered(discovery):
            if self._initialization is None:
                self._initialization = self._send(*self._compose_initialize())
            await self._wait_for_either(discovery)

    async def _wait_for_either(self, discovery: asyncio.Future[Replied]) -> None:
        self._awaited = "server/discover and initialize"
        while not (self._has_discovered(discovery) or self._has_initialized()):
            initialization = self._initialization
            assert initialization is not None  # noqa: S101
            open_ones = [reply for reply in (discovery, initialization) if not reply.done()]
            if not open_ones:
                self._forget_negotiation()
                raise ReachedError(error_text("initialize", initialization.result()[0]))
            await asyncio.wait(open_ones, return_when=asyncio.FIRST_COMPLETED)

    def _has_discovered(self, discovery: asyncio.Future[Replied]) -> bool:
        """Whether the server has said so by now. Raises ``UpstreamError`` if it is gone."""
        if not discovery.done():
            return False
        _, data = discovery.result()
        if self._discovered(data):
            self._forget_negotiation()
            self._subscribe()
        return self.era is Era.MODERN

    def _has_initialized(self) -> bool:
        """Whether the server has said so by now. Raises ``UpstreamError`` if it is gone."""
        initialization = self._initialization
        if initialization is None or not initialization.done():
            return False
        message, data = initialization.result()
        offer = None if message.error is UNSET else read_offer(data)
        if offer is not None and not self._has_offered:
            self._has_offered = True
            self._transcript.note("note", f"asking in {offer}, which the server offers")
            self._initialization = self._send(*self._compose_initialize(offer))
        elif message.error is UNSET:
            self._forget_negotiation()
            self._initialized(data)
            self._send_noted(INITIALIZED)
        return self.era is Era.LEGACY

    def _lost(self, error: Exception) -> bool:
        is_awaited = super()._lost(error)
        self._forget_negotiation()
        return is_awaited

    def _forget_negotiation(self) -> None:
        self._discovery = self._initialization = None
        self._has_offered = False
        self._replies.clear()

    def _subscribe(self) -> None:
        """At 2026-07-28 a server announces changes to subscribers alone."""
        if self.identity is not None and self.identity.announces_changes:
            wanted = {"notifications": {"toolsListChanged": True}}
            _, body = self._compose(LISTEN, wanted)
            self._send_noted(body)

    def _write(self, body: bytes) -> None:
        if self._child is not None:
            self._child.send(body)

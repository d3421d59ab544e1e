"""A server as the prober meets it: the connection, session or child that it keeps, and how to
ask over it.

A check asks the cheapest question that proves the server alive in its own protocol era:
``server/discover`` at 2026-07-28, ``ping`` in a kept session before. What was said is written
into a transcript, so that a bad result explains itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import Protocol

import msgspec
from msgspec import UNSET

from exporter import __version__
from exporter.config.model import Server
from exporter.config.redact import Redactor
from exporter.probe.identity import Identity, read_discovery, read_initialization
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import CAPABILITIES_KEY, CLIENT_KEY, VERSION_KEY, Message
from exporter.protocol.label_values import SUCCESS, UNAUTHORIZED
from exporter.protocol.printable import printable
from exporter.protocol.spec import DISCOVER, LEGACY, LIST_TOOLS, MODERN
from exporter.protocol.tool_page import MAX_TOOLS, read_tools

CLIENT_INFO = {"name": "mcp-exporter", "version": __version__}
INITIALIZED = msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/initialized"})

DISCOVER_SHARE = 0.4
"""The part of the timeout after which a silent ``server/discover`` is followed by the older
``initialize``: some older servers ignore what they do not know."""

MAX_PAGES = 100
MAX_LISTING = 16 * 1024 * 1024
"""Pages and bytes of one listing that are read, beside ``MAX_TOOLS`` tools."""

_LONGEST_CODE = 1e15
_ENVELOPE = {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}, CLIENT_KEY: CLIENT_INFO}

Replied = tuple[Message, bytes]


class Era(StrEnum):
    """What is known of the protocol that a server speaks."""

    UNKNOWN = "unknown"
    MODERN = "modern"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How a probe ended: ``value`` is a label value of ``mcp_probes_total``.

    ``retry_after`` is how many seconds the server asked to be left alone.
    """

    value: str
    seconds: float
    reason: str = ""
    retry_after: float = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether the server can be reached; without the right to enter counts."""
        return self.value in (SUCCESS, UNAUTHORIZED)


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools that a server lists; ``cut`` says why there may be more of them."""

    tools: dict[str, bytes]
    cut: str = ""


class ReachedError(Exception):
    """The server replied, but did not let the question in, or refused to initialize."""

    def __init__(self, text: str, result: str = SUCCESS, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.result = result
        self.retry_after = retry_after


class ProbeEvents(Protocol):
    """What happens at a server between two probes."""

    def tools_changed(self) -> None:
        """The server says that its tools changed."""

    def child_exited(self, reason: str, transcript: Transcript) -> None:
        """The prober's child ended while nothing was asked of it."""


class Target(ABC):
    """One server. What was found out is kept from one check to the next.

    ``events`` is told what happens in between.
    """

    def __init__(self, server: Server, events: ProbeEvents | None = None) -> None:
        self.server = server
        self.redact = Redactor(server)
        self.identity: Identity | None = None
        self.era = Era.UNKNOWN
        self._events = events
        self._transcript = Transcript(self.redact)
        self._timeout = server.probe.timeout
        self._ends_at = 0.0
        self._deadline: asyncio.Timeout | None = None
        self._last_id = 0
        self._awaited = ""

    @property
    def can_list(self) -> bool:
        """Whether its tools can be asked for: it replies, in a known era."""
        return self.era is not Era.UNKNOWN

    async def check(self, transcript: Transcript, timeout: float, ends_at: float) -> ProbeResult:  # noqa: ASYNC109
        """Prove the server alive within ``timeout`` seconds. Raises nothing but cancellation.

        A process that must first be started is given until ``ends_at`` (monotonic).
        """
        self._transcript = transcript
        self._timeout, self._ends_at = timeout, ends_at
        value, reason, retry_after = SUCCESS, "", 0.0
        try:
            async with asyncio.timeout(timeout) as self._deadline:
                await self._check()
        except ReachedError as reached:
            value, reason, retry_after = reached.result, str(reached), reached.retry_after
        except TimeoutError:
            value, reason = Fault.TIMEOUT, self._timed_out()
        except UpstreamError as error:
            value, reason = error.fault, str(error)
        shown = printable(self.redact(reason))
        return ProbeResult(value, transcript.seconds, shown, retry_after)

    async def list_tools(self) -> Listing:
        """List the tools over all pages, as far as that has an end. Raises as ``_ask`` does."""
        listing = await self._list_pages()
        if listing.cut:
            self._transcript.note("note", listing.cut)
        return listing

    async def _list_pages(self) -> Listing:
        tools: dict[str, bytes] = {}
        cursor: str | None = None
        seen: set[str] = set()
        size = 0
        while True:
            message, data = await self._ask(LIST_TOOLS, {"cursor": cursor} if cursor else {})
            page = read_tools(data)
            if page is None and (tools or not self._has_tools):
                return Listing(tools, error_text(LIST_TOOLS, message) if tools else "")
            if page is None:
                raise UpstreamError(error_text(LIST_TOOLS, message), Fault.PROTOCOL)
            tools.update(page.tools)
            cursor = page.next_cursor
            size += len(data)
            if not cursor:
                return Listing(tools, "lists more tools than are read" if page.is_cut else "")
            if cursor in seen:
                return Listing(tools, "lists its tools in a circle: a cursor came twice")
            seen.add(cursor)
            if len(seen) >= MAX_PAGES or size > MAX_LISTING or len(tools) > MAX_TOOLS:
                return Listing(tools, "lists more tools than are read")

    @property
    def _has_tools(self) -> bool:
        """Whether the server may have tools, as far as it said."""
        return self.identity is None or self.identity.has_tools

    def detach(self) -> None:
        """End the probe: what comes from now on is in no transcript that is kept."""
        self._transcript = Transcript(self.redact)

    def forget_events(self) -> None:
        """Tell nobody any more what happens."""
        self._events = None

    @abstractmethod
    async def close(self) -> None:
        """Leave nothing behind at the server."""

    @abstractmethod
    async def _check(self) -> None:
        """Prove the server alive. Raises ``UpstreamError`` or ``ReachedError``."""

    @abstractmethod
    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        """Send a request and wait for its reply. Raises as ``_check`` does."""

    def _timed_out(self) -> str:
        """Why there is no result: which reply did not come."""
        return f"no reply to {self._awaited} within {self._timeout:.3g} s"

    def _wait_for_start(self) -> None:
        """A process is being started: that takes longer than a reply."""
        left = self._ends_at - monotonic()
        if left > self._timeout and self._deadline is not None:
            self._timeout = left
            self._deadline.reschedule(asyncio.get_running_loop().time() + left)

    def _compose(self, method: str, params: Mapping[str, object]) -> tuple[int, bytes]:
        self._last_id += 1
        self._awaited = method
        if self.era is Era.MODERN or method == DISCOVER:
            params = {**params, "_meta": _ENVELOPE}
        body: dict[str, object] = {"jsonrpc": "2.0", "id": self._last_id, "method": method}
        if params:
            body["params"] = params
        return self._last_id, msgspec.json.encode(body)

    def _compose_initialize(self, version: str = LEGACY) -> tuple[int, bytes]:
        params: dict[str, object] = {
            "protocolVersion": version,
            "capabilities": {},
            "clientInfo": CLIENT_INFO,
        }
        return self._compose("initialize", params)

    def _discovered(self, data: bytes) -> bool:
        """Note who the server is, where this reply says that it is of the newest era."""
        identity = read_discovery(data)
        if identity is not None:
            self.era, self.identity = Era.MODERN, identity
        return identity is not None

    def _initialized(self, data: bytes) -> None:
        self.era, self.identity = Era.LEGACY, read_initialization(data)


def error_text(method: str, message: Message) -> str:
    """What a reply says that is not what was asked for, for a person."""
    if message.error is UNSET:
        return f"replied to {method} with something else"
    code = message.error.code
    shown = f"{code:.15g}" if abs(code) < _LONGEST_CODE else "of many digits"
    return f"replied to {method} with JSON-RPC error {shown}"

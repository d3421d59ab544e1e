"""One probe of one server: the same code for the schedule, for ``/probe`` and for the terminal.

A probe asks the cheapest question that proves the server alive in its own protocol era:
``server/discover`` at 2026-07-28, ``ping`` in a kept session before. What was said is written
into a dialogue, so that a bad result explains itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic
from typing import TypeVar

import msgspec
from msgspec import UNSET

from exporter import __version__
from exporter.config.model import Server
from exporter.config.redact import Redactor
from exporter.probe.transcript import Transcript
from exporter.protocol import jsonrpc
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.jsonrpc import CAPABILITIES_KEY, CLIENT_KEY, VERSION_KEY, Message
from exporter.protocol.label_values import SUCCESS, UNAUTHORIZED
from exporter.protocol.spec import DISCOVER, LEGACY, MODERN

CLIENT_INFO = {"name": "mcp-exporter", "version": __version__}
INITIALIZED = msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/initialized"})

DISCOVER_SHARE = 0.4
"""The part of the timeout after which a silent ``server/discover`` is followed by the older
``initialize``: some older servers ignore what they do not know."""

_MAX_PAGES = 100
_MAX_LISTING = 16 * 1024 * 1024
_ENVELOPE = {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}, CLIENT_KEY: CLIENT_INFO}

Replied = tuple[Message, bytes]


class Era(StrEnum):
    """What is known of the protocol that a server speaks."""

    UNKNOWN = "unknown"
    MODERN = "modern"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How a probe ended: ``result`` is a value of ``mcp_probes_total``.

    ``rest`` is how many seconds the server asked to be left alone.
    """

    result: str
    seconds: float
    text: str = ""
    rest: float = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether the server can be reached; without the right to enter counts."""
        return self.result in (SUCCESS, UNAUTHORIZED)


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server says it is."""

    name: str = ""
    version: str = ""
    protocol_version: str = ""
    has_tools: bool = True
    tells_changes: bool = False


class ReachedError(Exception):
    """The server answered, but did not let the question in, or refused every greeting."""

    def __init__(self, text: str, result: str = SUCCESS, rest: float = 0.0) -> None:
        super().__init__(text)
        self.result = result
        self.rest = rest


class Probe(ABC):
    """Probes one server, again and again; keeps what it has found out between times."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.mask = Redactor(server)
        self.identity: Identity | None = None
        self.era = Era.UNKNOWN
        self.on_list_changed: Callable[[], None] = _nothing
        self._dialogue = Transcript(self.mask)
        self._patience = server.probe.timeout
        self._ends_at = 0.0
        self._limit: asyncio.Timeout | None = None
        self._last_id = 0
        self._waiting_for = ""

    async def run(self, dialogue: Transcript, patience: float, ends_at: float) -> ProbeResult:
        """Probe once, within ``patience`` seconds. Never raises but for cancellation.

        A process that must first be started is given until ``ends_at`` (monotonic).
        """
        self._dialogue = dialogue
        self._patience, self._ends_at = patience, ends_at
        result, text, rest = SUCCESS, "", 0.0
        try:
            async with asyncio.timeout(patience) as self._limit:
                await self._check()
        except ReachedError as reached:
            result, text, rest = reached.result, str(reached), reached.rest
        except TimeoutError:
            result, text = Fault.TIMEOUT, self._time_out()
        except UpstreamError as error:
            result, text = error.fault, str(error)
        return ProbeResult(result, dialogue.seconds, self.mask(text), rest)

    async def tools(self) -> dict[str, bytes]:
        """The tools that the server lists, over all pages. Raises as ``_ask`` does."""
        tools: dict[str, bytes] = {}
        cursor: str | None = None
        size = 0
        for _ in range(_MAX_PAGES):
            message, data = await self._ask("tools/list", {"cursor": cursor} if cursor else {})
            page = jsonrpc.read_tools(data)
            if page is None and self.identity is not None and not self.identity.has_tools:
                return tools  # it never said that it had any
            if page is None:
                raise UpstreamError(refusal_of("tools/list", message), Fault.PROTOCOL)
            tools.update(page[0])
            cursor = page[1]
            size += len(data)
            if not cursor:
                return tools
            if size > _MAX_LISTING:
                break
        raise UpstreamError("lists more tools than are read", Fault.PROTOCOL)

    def hush(self) -> None:
        """The probe is over: what comes from now on belongs to no dialogue that is kept."""
        self._dialogue = Transcript(self.mask)

    @abstractmethod
    async def close(self) -> None:
        """Leave nothing behind at the server."""

    @abstractmethod
    async def _check(self) -> None:
        """Ask for a sign of life. Raises ``UpstreamError`` or ``ReachedError``."""

    @abstractmethod
    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        """Send a request; answers the reply. Raises as ``_check`` does."""

    def _time_out(self) -> str:
        """No reply came in time: answers which one."""
        return f"no reply to {self._waiting_for} within {self._patience:.3g} s"

    def _wait_for_start(self) -> None:
        """A process is being started: that takes longer than a reply."""
        left = self._ends_at - monotonic()
        if left > self._patience and self._limit is not None:
            self._patience = left
            self._limit.reschedule(asyncio.get_running_loop().time() + left)

    def _compose(self, method: str, params: Mapping[str, object]) -> tuple[int, bytes]:
        self._last_id += 1
        self._waiting_for = method
        if self.era is Era.MODERN or method == DISCOVER:
            params = {**params, "_meta": _ENVELOPE}
        body: dict[str, object] = {"jsonrpc": "2.0", "id": self._last_id, "method": method}
        if params:
            body["params"] = params
        return self._last_id, msgspec.json.encode(body)

    def _compose_initialize(self) -> tuple[int, bytes]:
        params: dict[str, object] = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": CLIENT_INFO,
        }
        return self._compose("initialize", params)

    def _meet_modern(self, data: bytes) -> None:
        self.era = Era.MODERN
        result = _read(data, _DiscoverReply).result
        self.identity = _identify(result.meta.info, MODERN, result.capabilities)

    def _meet_legacy(self, data: bytes) -> None:
        self.era = Era.LEGACY
        result = _read(data, _InitializeReply).result
        is_sound = result.version.isascii() and result.version.isprintable()
        version = result.version if result.version and is_sound else LEGACY
        self.identity = _identify(result.info, version, result.capabilities)


def is_discovered(data: bytes) -> bool:
    """Whether a reply to ``server/discover`` says that the server is of the newest era."""
    return MODERN in _read(data, _VersionsReply).result.versions


def refusal_of(method: str, message: Message) -> str:
    """What a reply says that is not what was asked for, for a person."""
    if message.error is UNSET:
        return f"replied to {method} with something else"
    return f"replied to {method} with JSON-RPC error {message.error.code:g}"


Read = TypeVar("Read", bound=msgspec.Struct)


class _Info(msgspec.Struct):
    name: str = ""
    version: str = ""


class _Tools(msgspec.Struct):
    list_changed: bool = msgspec.field(name="listChanged", default=False)


class _Capabilities(msgspec.Struct):
    tools: _Tools | None = None


class _DiscoverMeta(msgspec.Struct):
    info: _Info = msgspec.field(name="io.modelcontextprotocol/serverInfo", default_factory=_Info)


class _VersionsResult(msgspec.Struct):
    versions: list[str] = msgspec.field(name="supportedVersions", default_factory=list)


class _VersionsReply(msgspec.Struct):
    result: _VersionsResult = msgspec.field(default_factory=_VersionsResult)


class _DiscoverResult(msgspec.Struct):
    capabilities: _Capabilities | None = None
    meta: _DiscoverMeta = msgspec.field(name="_meta", default_factory=_DiscoverMeta)


class _DiscoverReply(msgspec.Struct):
    result: _DiscoverResult = msgspec.field(default_factory=_DiscoverResult)


class _InitializeResult(msgspec.Struct):
    info: _Info = msgspec.field(name="serverInfo", default_factory=_Info)
    version: str = msgspec.field(name="protocolVersion", default="")
    capabilities: _Capabilities | None = None


class _InitializeReply(msgspec.Struct):
    result: _InitializeResult = msgspec.field(default_factory=_InitializeResult)


def _read(data: bytes, kind: type[Read]) -> Read:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return kind()


def _identify(info: _Info, version: str, capabilities: _Capabilities | None) -> Identity:
    tools = capabilities.tools if capabilities is not None else None
    return Identity(
        info.name,
        info.version,
        version,
        has_tools=capabilities is None or tools is not None,
        tells_changes=tools is not None and tools.list_changed,
    )


def _nothing() -> None:
    """Nobody listens."""

"""One probe of one server: the same code for the schedule, for ``/probe`` and for the terminal.

A probe asks the cheapest question that proves the server alive in its own protocol era:
``server/discover`` at 2026-07-28, ``ping`` in a kept session before. What was said is written
into a dialogue, so that a bad result explains itself.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

import msgspec
from msgspec import UNSET

from exporter import __version__
from exporter import message as jsonrpc
from exporter.call import Fault, UpstreamError
from exporter.message import CAPABILITIES_KEY, CLIENT_KEY, VERSION_KEY, Message
from exporter.observation import MODERN

LEGACY = "2025-11-25"
"""The version that the prober offers a server that does not speak the newest one."""

CLIENT_INFO = {"name": "mcp-exporter", "version": __version__}
SUCCESS = "success"
UNAUTHORIZED = "unauthorized"

_TEXT_LENGTH = 2000
_MAX_PAGES = 100


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was said, ``seconds`` after the probe began."""

    seconds: float
    speaker: str
    text: str


class Dialogue:
    """What was said in one probe."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.steps: list[Step] = []

    def note(self, speaker: str, text: str | bytes) -> None:
        """Write one step down, cut to a readable length."""
        words = text.decode(errors="replace") if isinstance(text, bytes) else text
        if len(words) > _TEXT_LENGTH:
            words = f"{words[:_TEXT_LENGTH]}… ({len(words)} characters)"
        self.steps.append(Step(monotonic() - self.began, speaker, words))


@dataclass(frozen=True, slots=True)
class Finding:
    """How a probe ended: ``result`` is a value of ``mcp_probes_total``."""

    result: str
    seconds: float
    text: str
    steps: list[Step] = field(repr=False)

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


class UnauthorizedError(Exception):
    """The server answered 401 or 403."""


class Probe(ABC):
    """Probes one server, again and again; keeps what it has found out between times."""

    def __init__(self, timeout: float) -> None:
        self.identity: Identity | None = None
        self.list_changed = False
        self._timeout = timeout
        self._modern: bool | None = None
        self._last_id = 0
        self._dialogue = Dialogue()

    async def run(self) -> Finding:
        """Probe once, within the timeout. Never raises but for cancellation."""
        self._dialogue = Dialogue()
        result, text = SUCCESS, ""
        try:
            async with asyncio.timeout(self._timeout):
                await self._check()
        except UnauthorizedError as error:
            result, text = UNAUTHORIZED, str(error)
        except TimeoutError:
            result, text = Fault.TIMEOUT, f"no reply within {self._timeout:g} s"
        except UpstreamError as error:
            result, text = error.fault, str(error)
        if text:
            self._dialogue.note("result", f"{result}: {text}")
        seconds = monotonic() - self._dialogue.began
        return Finding(result, seconds, text, self._dialogue.steps)

    async def tools(self) -> dict[str, bytes]:
        """The tools that the server lists, over all pages. Raises as ``_ask`` does."""
        tools: dict[str, bytes] = {}
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            _, data = await self._ask("tools/list", {"cursor": cursor} if cursor else {})
            page = jsonrpc.read_tools(data)
            if page is None:
                raise UpstreamError("replied to tools/list without tools", Fault.PROTOCOL)
            tools.update(page[0])
            cursor = page[1]
            if not cursor:
                break
        return tools

    @property
    def is_acquainted(self) -> bool:
        """Whether the server's era is known."""
        return self._modern is not None

    @abstractmethod
    async def close(self) -> None:
        """Leave nothing behind at the server."""

    @abstractmethod
    async def _check(self) -> None:
        """Ask for a sign of life. Raises ``UpstreamError`` or ``UnauthorizedError``."""

    @abstractmethod
    async def _ask(self, method: str, params: dict[str, object]) -> tuple[Message, bytes]:
        """Send a request; answers the reply. Raises as ``_check`` does."""

    def _compose(self, method: str, params: dict[str, object], modern: bool) -> tuple[int, bytes]:
        self._last_id += 1
        if modern:
            params = {**params, "_meta": _ENVELOPE}
        body: dict[str, object] = {"jsonrpc": "2.0", "id": self._last_id, "method": method}
        if params or method == "initialize":
            body["params"] = params
        return self._last_id, msgspec.json.encode(body)

    def _initialize(self) -> tuple[int, bytes]:
        params: dict[str, object] = {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": CLIENT_INFO,
        }
        return self._compose("initialize", params, modern=False)

    def _meet_modern(self, data: bytes) -> None:
        self._modern = True
        meta = _read(data, _DiscoverReply).result.meta
        self.identity = Identity(meta.info.name, meta.info.version, MODERN)

    def _meet_legacy(self, data: bytes) -> None:
        self._modern = False
        result = _read(data, _InitializeReply).result
        self.identity = Identity(result.info.name, result.info.version, result.version)


INITIALIZED = msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/initialized"})

Reply = TypeVar("Reply", bound=msgspec.Struct)

_ENVELOPE = {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}, CLIENT_KEY: CLIENT_INFO}


def is_discovered(message: Message) -> bool:
    """Whether a reply to ``server/discover`` says that the server is of the newest era."""
    return message.result is not UNSET


class _Info(msgspec.Struct):
    name: str = ""
    version: str = ""


class _DiscoverMeta(msgspec.Struct):
    info: _Info = msgspec.field(name="io.modelcontextprotocol/serverInfo", default_factory=_Info)


class _DiscoverResult(msgspec.Struct):
    meta: _DiscoverMeta = msgspec.field(name="_meta", default_factory=_DiscoverMeta)


class _DiscoverReply(msgspec.Struct):
    result: _DiscoverResult = msgspec.field(default_factory=_DiscoverResult)


class _InitializeResult(msgspec.Struct):
    info: _Info = msgspec.field(name="serverInfo", default_factory=_Info)
    version: str = msgspec.field(name="protocolVersion", default="")


class _InitializeReply(msgspec.Struct):
    result: _InitializeResult = msgspec.field(default_factory=_InitializeResult)


def _read(data: bytes, kind: type[Reply]) -> Reply:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return kind()

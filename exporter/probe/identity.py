"""What a server says it is in its first reply, in either era: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from exporter.probe.replies import LONG
from exporter.protocol.spec import LEGACY, MODERN, PROTOCOL_VERSIONS


@dataclass(frozen=True, slots=True)
class Identity:
    """A server's own name, version and protocol version, and whether it has tools."""

    name: str = ""
    version: str = ""
    protocol_version: str = ""
    has_tools: bool = True
    announces_changes: bool = False


def read_discovery(data: bytes) -> Identity | None:
    """Read a reply to ``server/discover``; ``None`` where the server is not of the newest era."""
    if MODERN not in _read(data, _VersionsReply).result.versions:
        return None
    result = _read(data, _DiscoverReply).result
    return _identify(result.meta.info, MODERN, result.capabilities)


def read_initialization(data: bytes) -> Identity:
    """Read a reply to ``initialize``."""
    result = _read(data, _InitializeReply).result
    version = result.version if _is_sound(result.version) else LEGACY
    return _identify(result.info, version, result.capabilities)


def read_offer(data: bytes) -> str | None:
    """The newest version that a server offers with its refusal of ``initialize``, if it does.

    The specification has it in ``error.data.supported``; some only name it in the message.
    """
    error = _read(data, _ErrorReply).error
    supported = _read(bytes(error.data), _Supported).supported
    named = [version for version in PROTOCOL_VERSIONS if version in error.message]
    offered = [version for version in supported if _is_sound(version)] or named
    return max((version for version in offered if version not in (LEGACY, MODERN)), default=None)


def _is_sound(version: str) -> bool:
    """Whether a header can carry it."""
    return 0 < len(version) <= 64 and version.isascii() and version.isprintable()


Kind = TypeVar("Kind", bound=msgspec.Struct)


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


class _Supported(msgspec.Struct):
    supported: list[str] = msgspec.field(default_factory=list)


class _ErrorObject(msgspec.Struct):
    message: str = ""
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _ErrorReply(msgspec.Struct):
    error: _ErrorObject = msgspec.field(default_factory=_ErrorObject)


def _read(data: bytes, kind: type[Kind]) -> Kind:
    if len(data) > LONG:
        return kind()
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
        announces_changes=tools is not None and tools.list_changed,
    )

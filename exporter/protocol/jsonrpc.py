"""What a JSON-RPC message is: its id, its method and the few members that observation needs.

The reader is partial: members that nobody asks for are skipped, not built. It never changes
the bytes, and it never raises on what a peer sent: ``read`` answers ``None`` instead.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType, field
from msgspec.structs import FieldInfo

Id: TypeAlias = int | float | str | None
"""A request id or progress token with its JSON type: ``1`` and ``"1"`` are two ids."""

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"


class Implementation(Struct, frozen=True):
    """A peer's own name and version (``clientInfo``, ``serverInfo``)."""

    name: str = ""
    version: str = ""


class Meta(Struct, frozen=True):
    """The members of ``params._meta`` that matter to a relay."""

    progress_token: Id | UnsetType = field(name="progressToken", default=UNSET)
    traceparent: str | None = None
    protocol_version: str | None = field(name=VERSION_KEY, default=None)
    client_info: Implementation | None = field(name=CLIENT_KEY, default=None)
    subscription_id: Id | UnsetType = field(name=SUBSCRIPTION_KEY, default=UNSET)


class Params(Struct, frozen=True):
    """The members of ``params`` that matter to a relay."""

    name: str | None = None
    request_id: Id | UnsetType = field(name="requestId", default=UNSET)
    progress_token: Id | UnsetType = field(name="progressToken", default=UNSET)
    protocol_version: str | None = field(name="protocolVersion", default=None)
    client_info: Implementation | None = field(name="clientInfo", default=None)
    cursor: str | None = None
    meta: Meta | None = field(name="_meta", default=None)


_NO_TASK = msgspec.Raw()


class Result(Struct, frozen=True):
    """The members of ``result`` that decide an outcome."""

    is_error: bool = field(name="isError", default=False)
    result_type: str | None = field(name="resultType", default=None)
    task: msgspec.Raw = _NO_TASK
    protocol_version: str | None = field(name="protocolVersion", default=None)
    server_info: Implementation | None = field(name="serverInfo", default=None)

    @property
    def is_task(self) -> bool:
        """Whether a task was created instead (2025-11-25)."""
        return self.task is not _NO_TASK and bytes(self.task) != b"null"


class Error(Struct, frozen=True):
    """The code of a JSON-RPC error."""

    code: int | float = 0


class Message(Struct, frozen=True):
    """One JSON-RPC message, partly read."""

    id: Id | UnsetType = UNSET
    method: str | None = None
    params: Params | None = None
    result: Result | UnsetType = UNSET
    error: Error | UnsetType = UNSET

    @property
    def is_request(self) -> bool:
        """A method with an id: somebody waits for a reply."""
        return self.method is not None and self.id is not UNSET

    @property
    def is_notification(self) -> bool:
        """A method without an id."""
        return self.method is not None and self.id is UNSET

    @property
    def is_reply(self) -> bool:
        """A result or an error."""
        return self.method is None and not (self.result is UNSET and self.error is UNSET)

    @property
    def tool(self) -> str | None:
        """The tool's name of a ``tools/call``; untrusted."""
        if self.method != "tools/call" or self.params is None:
            return None
        return self.params.name

    @property
    def protocol_version(self) -> str | None:
        """The version in the envelope of a 2026-07-28 request, or ``None``."""
        meta = self.params.meta if self.params else None
        return meta.protocol_version if meta else None

    @property
    def traceparent(self) -> str | None:
        """The W3C trace context that the client sent along, unchecked."""
        meta = self.params.meta if self.params else None
        return meta.traceparent if meta else None

    @property
    def client(self) -> str | None:
        """The client's own name, in ``initialize`` or the envelope of 2026-07-28; untrusted."""
        if self.params is None:
            return None
        meta = self.params.meta
        info = self.params.client_info or (meta.client_info if meta else None)
        return info.name if info else None

    @property
    def progress_token(self) -> Id | UnsetType:
        """The token by which the server reports progress of this request."""
        meta = self.params.meta if self.params else None
        return meta.progress_token if meta else UNSET


_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# Both begin with what is rare, so that a megabyte of something else is passed over at once.
_LONE_SURROGATE = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]')
_one = msgspec.json.Decoder(Message)
_many = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_name = msgspec.json.Decoder(str)
_PARTS: dict[str, type[Struct]] = {
    "params": Params,
    "meta": Meta,
    "client_info": Implementation,
    "server_info": Implementation,
    "result": Result,
    "error": Error,
}
_UNUSABLE = object()


def read(data: bytes | bytearray | memoryview) -> Message | None:
    """Read one message, or answer ``None`` where it is not a JSON object.

    A member of an unexpected type costs only that member, so that an odd ``isError`` hides
    neither the id nor the method.
    """
    try:
        return _one.decode(data)
    except _UNREADABLE:
        return _read_leniently(data)


def is_batch(data: bytes) -> bool:
    """Whether the text is a JSON array (JSON-RPC batches, 2025-03-26 and older)."""
    return not data.startswith(b"{") and data[:64].lstrip()[:1] == b"["


def read_all(data: bytes) -> tuple[Message, ...] | None:
    """Read a message or a batch; ``None`` where the text is neither, or an empty batch."""
    if not is_batch(data):
        message = read(data)
        return None if message is None else (message,)
    messages = tuple(message for item in split(data) if (message := read(item)) is not None)
    return messages or None


def _read_leniently(data: bytes | bytearray | memoryview) -> Message | None:
    found = _salvage(readable(data), Message)
    return found if isinstance(found, Message) else None


def readable(data: bytes | bytearray | memoryview) -> bytes:
    """A copy for the decoder, which refuses a text with a lone surrogate whole.

    JavaScript writes half an emoji so. The copy loses it; the structure around it and every
    length stay what they were.
    """
    return _LONE_SURROGATE.sub(rb"\\ufffd", data)


def _salvage(data: bytes | msgspec.Raw, kind: type[Struct]) -> Struct | None:
    """The members that are what they should be; the others as if they were not there."""
    try:
        given = _object.decode(data)
    except _UNREADABLE:
        return None
    found = {}
    for part in msgspec.structs.fields(kind):
        raw = given.get(part.encode_name)
        if raw is not None:
            found[part.name] = _decode(raw, part)
    return kind(**{name: value for name, value in found.items() if value is not _UNUSABLE})


def _decode(raw: msgspec.Raw, part: FieldInfo) -> Any:
    nested = _PARTS.get(part.name)
    try:
        return msgspec.json.decode(raw, type=part.type)
    except _UNREADABLE:
        if nested is None:
            return None if part.name == "id" else _UNUSABLE
    if part.name == "error" and bytes(raw) == b"null":
        return _UNUSABLE  # some servers write it beside every result
    return _salvage(raw, nested) or nested()


def split(data: bytes) -> list[bytes]:
    """The messages of a batch, each as its own bytes; none where it is not a batch."""
    try:
        return [bytes(item) for item in _many.decode(data)]
    except _UNREADABLE:
        pass
    try:
        _many.decode(readable(data))
    except _UNREADABLE:
        return []
    return _parts(data)


def members(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The members of an object, each as its own bytes. Raises ``ValueError`` where it is none."""
    try:
        return _object.decode(data)
    except _UNREADABLE:
        data = bytes(data)
    _object.decode(readable(data))
    found = {}
    for part in _parts(data):
        name = _TOKEN.match(part)
        if name is not None:
            value = part[name.end() :].lstrip().removeprefix(b":").lstrip()
            found[_name.decode(readable(name[0]))] = msgspec.Raw(value)
    return found


def _parts(data: bytes) -> list[bytes]:
    """What stands between the outermost brackets and their commas; the text is well formed."""
    parts, depth, start = [], 0, 0
    for token in _TOKEN.finditer(data):
        mark = token[0]
        depth += (mark in b"[{") - (mark in b"]}")
        if not start:
            start = token.end()
        elif depth == 0 or (depth == 1 and mark == b","):
            parts.append(data[start : token.start()].strip())
            start = token.end()
    return parts


class ToolPage(Struct, frozen=True):
    """A page of ``tools/list``: the definitions as they came, and whether more follow."""

    tools: list[msgspec.Raw]
    next_cursor: str | None = field(name="nextCursor", default=None)


class _ToolName(Struct, frozen=True):
    name: str


class _ToolReply(Struct, frozen=True):
    result: ToolPage


def read_tools(data: bytes) -> tuple[dict[str, bytes], str | None] | None:
    """Read a ``tools/list`` reply into ``{name: definition}`` and the next cursor.

    ``None`` where the reply is not one.
    """
    try:
        page = msgspec.json.decode(readable(data), type=_ToolReply).result
    except _UNREADABLE:
        return None
    return {name: bytes(raw) for raw in page.tools if (name := _tool_name(raw))}, page.next_cursor


def _tool_name(definition: msgspec.Raw) -> str | None:
    try:
        return msgspec.json.decode(definition, type=_ToolName).name
    except _UNREADABLE:
        return None

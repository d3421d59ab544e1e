"""What a JSON-RPC message is: its id, its method and the few members that observation needs.

The reader is partial: members that observation does not need are skipped, not built. It never
changes the bytes, and it never raises on what a peer sent.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from exporter.protocol import surrogates
from exporter.protocol.spec import CALL_TOOL

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
    tracestate: str | None = None
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

    jsonrpc: Literal["2.0"] | UnsetType = UNSET
    id: Id | UnsetType = UNSET
    method: str | None = None
    params: Params | None = None
    result: Result | UnsetType = UNSET
    error: Error | UnsetType = UNSET

    @property
    def reply_id(self) -> Id:
        """The id that an error reply to it bears: null where it has none."""
        return None if self.id is UNSET else self.id

    @property
    def is_request(self) -> bool:
        """A method with an id: its sender waits for a reply."""
        return self.method is not None and self.id is not UNSET

    @property
    def is_notification(self) -> bool:
        """A method without an id."""
        return self.method is not None and self.id is UNSET

    @property
    def is_reply(self) -> bool:
        """A result or an error, and either of what makes it JSON-RPC: the version or an id.

        Other frameworks and gateways, too, call something of theirs ``error``.
        """
        if self.method is not None or (self.result is UNSET and self.error is UNSET):
            return False
        return self.jsonrpc is not UNSET or self.id is not UNSET

    @property
    def tool(self) -> str | None:
        """The tool's name of a ``tools/call``; untrusted."""
        if self.method != CALL_TOOL or self.params is None:
            return None
        return self.params.name

    @property
    def protocol_version(self) -> str | None:
        """The version in the envelope of a 2026-07-28 request, or ``None``."""
        meta = self.params.meta if self.params else None
        return meta.protocol_version if meta else None

    @property
    def requested_version(self) -> str | None:
        """The version that the client speaks or asks for, in ``initialize`` or the envelope."""
        return (self.params.protocol_version if self.params else None) or self.protocol_version

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


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises where a text is not JSON, not what was expected, or nested too deep."""

BATCH = 100
"""Messages of one batch that are read; each costs microseconds, and a peer chooses their number."""

LONGEST_BATCH = 1024 * 1024
"""Bytes of a batch that is read; to skip what is in a longer one takes long as well."""

_LONG = 1024 * 1024
"""Bytes of a text that is gone over as seldom as can be where something in it is odd."""

_LONGEST_NUMBER = 20  # characters of a 64-bit integer
_ABSENT = msgspec.Raw()
_MARK = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder(Message).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
# As a structure, for what follows the last field is skipped without an object for each.
_batch = msgspec.json.Decoder(
    msgspec.defstruct(
        "_Batch",
        [(f"item{number}", msgspec.Raw, _ABSENT) for number in range(BATCH + 1)],
        array_like=True,
        frozen=True,
    )
)

UNREAD = Message()
"""Stands for the messages of a batch that are too many to be read."""


ENCODED = Message(id=None, method="")
"""Stands for a request that cannot be read, because it is compressed."""


class _Members:
    """Reads the members of one kind singly, so that an odd one costs only itself."""

    def __init__(self, kind: type[Struct], *, is_outer: bool = False, **nested: _Members) -> None:
        self._kind = kind
        self._is_outer = is_outer
        fields = msgspec.structs.fields(kind)
        self._found = msgspec.json.Decoder(
            msgspec.defstruct(
                f"_{kind.__name__}Members",
                [(each.name, msgspec.Raw, _ABSENT) for each in fields],
                rename={each.name: each.encode_name for each in fields},
                frozen=True,
            )
        )
        self._parts = [
            (each.name, msgspec.json.Decoder(each.type), nested.get(each.name)) for each in fields
        ]

    def read(self, data: bytes | msgspec.Raw) -> Struct | None:
        """Return what is as it should be; ``None`` where it is no object."""
        try:
            given = self._found.decode(data)
        except UNREADABLE:
            return None
        values = {}
        for name, decoder, nested in self._parts:
            raw = getattr(given, name)
            if raw is _ABSENT:
                continue
            if nested is not None and memoryview(raw).nbytes > _LONG:
                values[name] = nested.read_long(raw)
                continue
            try:
                values[name] = decoder.decode(raw)
            except UNREADABLE:
                self._salvage(values, name, raw, nested)
        return self._kind(**values)

    def read_long(self, raw: msgspec.Raw) -> Struct:
        """Read a long one, which is gone over once, and not for what is further inside."""
        if not self._is_outer or bytes(memoryview(raw)[:1]) != b"{":
            return self.empty
        return self.read(raw) or self.empty

    def _salvage(
        self, values: dict[str, Any], name: str, raw: msgspec.Raw, nested: _Members | None
    ) -> None:
        if name == "id":
            values[name] = None
        elif nested is not None and not (name == "error" and bytes(raw) == b"null"):
            # A null there is none: some servers write it beside every result.
            values[name] = nested.read(raw) or nested.empty

    @property
    def empty(self) -> Struct:
        """One without members."""
        return self._kind()


_implementation = _Members(Implementation)
_message = _Members(
    Message,
    params=_Members(
        Params,
        is_outer=True,
        client_info=_implementation,
        meta=_Members(Meta, client_info=_implementation),
    ),
    result=_Members(Result, is_outer=True, server_info=_implementation),
    error=_Members(Error, is_outer=True),
)


def read(data: bytes | bytearray | memoryview) -> Message | None:
    """Read one message; ``None`` where it is not a JSON object.

    A member of an unexpected type costs only that member, so that an odd ``isError`` hides
    neither the id nor the method.
    """
    try:
        return _decode(data)
    except UNREADABLE:
        return _read_leniently(bytes(data))


def _read_leniently(data: bytes) -> Message | None:
    data = data.removeprefix(_MARK)
    if not data[:64].lstrip().startswith(b"{"):
        return None
    if rb"\ud" in data or rb"\uD" in data:
        if len(data) > _LONG:
            return _members_of(surrogates.structure(data))
        data = surrogates.readable(data)
        try:
            return _decode(data)  # mostly nothing else is odd, and each pass costs
        except UNREADABLE:
            pass
    return _members_of(data)


def _members_of(data: bytes) -> Message | None:
    found = _message.read(data)
    return found if isinstance(found, Message) else None


def is_batch(data: bytes | bytearray) -> bool:
    """Whether the text is a JSON array (JSON-RPC batches, 2025-03-26 and older)."""
    return not data.startswith(b"{") and data[:64].removeprefix(_MARK).lstrip()[:1] == b"["


def read_all(data: bytes | bytearray) -> tuple[Message, ...] | None:
    """Read a message or a batch; ``None`` where the text is neither, or an empty batch.

    Where a batch is longer than ``LONGEST_BATCH``, or has more than ``BATCH`` messages, the last
    one is ``UNREAD``.
    """
    message = read(data)  # first: most often it is one
    if message is not None:
        return (message,)
    if not is_batch(data):
        return None
    if len(data) > LONGEST_BATCH:
        return (UNREAD,)
    parts = split(data)
    messages = tuple(message for item in parts[:BATCH] if (message := read(item)) is not None)
    return (*messages, UNREAD) if len(parts) > BATCH else messages or None


def split(data: bytes | bytearray) -> list[bytes]:
    """Return the messages of a batch, each as its own bytes; none where it is not a batch.

    At most ``BATCH`` of them, and one more where there are more.
    """
    data = bytes(data).removeprefix(_MARK)
    try:
        return [bytes(raw) for raw in _items(data)]
    except UNREADABLE:
        pass
    try:
        return surrogates.items(data, _items(surrogates.structure(data)))
    except UNREADABLE:
        return []


def _items(data: bytes) -> list[msgspec.Raw]:
    return [raw for raw in msgspec.structs.astuple(_batch.decode(data)) if raw is not _ABSENT]


def retyped(request_id: Id | UnsetType) -> Id | UnsetType:
    """Return the id as the other JSON type: ``"1"`` for ``1``, and the other way round.

    ``UNSET`` where there is none: ``"01"`` is no number.
    """
    if isinstance(request_id, int):
        return str(request_id)
    if not isinstance(request_id, str) or len(request_id) > _LONGEST_NUMBER:
        return UNSET
    is_number = request_id.removeprefix("-").isdecimal() and request_id.isascii()
    return int(request_id) if is_number and str(int(request_id)) == request_id else UNSET


def number_of(given: Id | UnsetType) -> int | None:
    """Return the whole number that an id or token is, be it written ``1``, ``1.0`` or ``"1"``."""
    if isinstance(given, str):
        given = retyped(given)
    if isinstance(given, float) and given.is_integer():
        return int(given)
    return given if isinstance(given, int) else None


def members(data: bytes | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the members of an object, each as its own bytes.

    Raises ``ValueError`` where it is none, or cannot be read.
    """
    try:
        return _object.decode(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except UNREADABLE:
        return surrogates.members(bytes(data))

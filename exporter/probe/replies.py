"""Which JSON-RPC messages a server sent to the prober, and which request each one replies to."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from exporter.protocol import jsonrpc, long_reply
from exporter.protocol.jsonrpc import Error, Message, Result

LONGEST = 8 * 1024 * 1024
"""Bytes of a text that are kept until the reply is in it."""

LONG = 1024 * 1024
"""Bytes of a text of which the ends alone are read: each pass over the whole takes long, and of
what is asked here only a page of tools may be so long, which is read for its tools."""

_MARK = b"\xef\xbb\xbf"


def messages(data: bytes) -> Iterator[tuple[Message, bytes]]:
    """Yield the messages in one JSON text, each with its own bytes.

    A text may begin with a byte order mark, and may be an array of messages, as JSON-RPC
    batches were until 2025-03-26. What is no JSON-RPC is left out.
    """
    data = data.removeprefix(_MARK)
    if len(data) > LONG:
        yield from _long(data)
        return
    for part in jsonrpc.split(data) if jsonrpc.is_batch(data) else (data,):
        message = jsonrpc.read(part)
        if message is not None and (message.is_reply or message.method):
            yield message, part


def _long(data: bytes) -> Iterator[tuple[Message, bytes]]:
    found = long_reply.read(data[: long_reply.ENDS], data[-long_reply.ENDS :])
    if found is not None and found.is_error:
        yield Message("2.0", found.id, error=Error()), data
    elif found is not None:
        yield Message("2.0", found.id, result=Result()), data


def replied_to(message: Message) -> int | None:
    """The number of the request that a reply is for; some servers send ids back as text."""
    return jsonrpc.number_of(message.id)


def has_no_id(message: Message) -> bool:
    """Whether an error says no request that it is for: with one in flight, it is for that."""
    return message.error is not UNSET and message.id in (None, UNSET)

"""What the servers behind a measurement answer, over HTTP and over stdio, in both protocol eras.

It reads requests with patterns and joins bytes: a server that costs little leaves the processor to
what is measured. The standard library alone, so that a child starts quickly.
"""

from __future__ import annotations

import functools
import json
import re

LEGACY = "2025-11-25"
MODERN = "2026-07-28"
LARGE = 100 * 1024
"""Characters of text in a large result."""
EVENTS = 10
"""Events of a streamed reply; the last one is the result."""

_ID = re.compile(rb'"id":\s*(\d+|"[^"]*")')
_METHOD = re.compile(rb'"method":\s*"([^"]*)"')
_SIZE = re.compile(rb'"size":\s*(\d+)')
_TOKEN = re.compile(rb'"progressToken":\s*(\d+|"[^"]*")')
_STREAMED = re.compile(rb'"name":\s*"events"')
_ENVELOPE = b"io.modelcontextprotocol/protocolVersion"
_INFO = {"name": "bench", "version": "1"}
_LINE = "Sphinx of black quartz, judge my vow; pack my box with five dozen liquor jugs.\n"


def answer(request: bytes, tools: int = 10) -> list[bytes]:
    """Return the messages that answer a request, the result last; none for a notification."""
    identity = _ID.search(request)
    method = _METHOD.search(request)
    if identity is None or method is None:
        return []
    is_modern = _ENVELOPE in request
    if method[1] == b"tools/call":
        size = _SIZE.search(request)
        head, tail = called(int(size[1]) if size else 0, is_modern)
        result = head + identity[1] + tail
        return [*progress(request), result] if _STREAMED.search(request) else [result]
    head, tail = asked(method[1].decode(), is_modern, tools)
    return [head + identity[1] + tail]


def progress(request: bytes) -> list[bytes]:
    """The notifications before the result of a streamed reply."""
    token = _TOKEN.search(request)
    named = token[1] if token else b"0"
    return [
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%b,'
        b'"progress":%d,"total":%d}}' % (named, number, EVENTS)
        for number in range(1, EVENTS)
    ]


@functools.cache
def called(size: int, is_modern: bool) -> tuple[bytes, bytes]:
    """A tool's result of so many characters (0: a word), cut where the id goes."""
    text = (_LINE * (size // len(_LINE) + 1))[:size] if size else "hello"
    return around({"content": [{"type": "text", "text": text}], "isError": False}, is_modern)


@functools.cache
def asked(method: str, is_modern: bool, tools: int) -> tuple[bytes, bytes]:
    """The reply to any other request, cut where the id goes."""
    results: dict[str, dict[str, object]] = {
        "initialize": {
            "protocolVersion": LEGACY,
            "capabilities": {"tools": {}},
            "serverInfo": _INFO,
        },
        "server/discover": {
            "supportedVersions": [MODERN],
            "capabilities": {"tools": {}},
            "ttlMs": 60000,
            "cacheScope": "public",
            "_meta": {"io.modelcontextprotocol/serverInfo": _INFO},
        },
        "tools/list": {"tools": listed(tools), "ttlMs": 60000, "cacheScope": "public"},
        "ping": {},
    }
    if method in results:
        return around(results[method], is_modern)
    error = {"code": -32601, "message": "Method not found"}
    return b'{"jsonrpc":"2.0","id":', b',"error":%b}' % json.dumps(error).encode()


def listed(tools: int) -> list[dict[str, object]]:
    """The tools that a server has: so many small ones, one of any size, one that streams."""
    names = [*(name_of(number) for number in range(tools)), "sized", "events"]
    properties = {"text": {"type": "string"}, "size": {"type": "integer"}}
    schema = {"type": "object", "properties": properties}
    return [{"name": name, "description": name, "inputSchema": schema} for name in names]


def name_of(tool: int) -> str:
    """The name of a small tool; all are equally long."""
    return f"tool_{tool:04d}"


def around(result: dict[str, object], is_modern: bool) -> tuple[bytes, bytes]:
    """A reply, cut where the id goes."""
    complete = {"resultType": "complete"} if is_modern else {}
    text = json.dumps(result | complete, separators=(",", ":"))
    return b'{"jsonrpc":"2.0","id":', b',"result":%b}' % text.encode()

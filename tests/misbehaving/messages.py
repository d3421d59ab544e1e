"""What both transports say: the messages of a server with one tool."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

MODERN = "2026-07-28"
LEGACY = "2025-11-25"
INFO = {"name": "misbehaving", "version": "0.1.0"}
TOOL = {"name": "act", "description": "Acts.", "inputSchema": {"type": "object"}}


def result(request: Json, **members: object) -> Json:
    """A reply that succeeds."""
    return {"jsonrpc": "2.0", "id": request.get("id"), "result": members}


def error(request: Json, code: int, text: str = "no") -> Json:
    """A reply that fails."""
    fault = {"code": code, "message": text}
    return {"jsonrpc": "2.0", "id": request.get("id"), "error": fault}


def legacy(request: Json) -> Json:
    """The reply of a server of the older era."""
    method = request["method"]
    if method == "initialize":
        offered = {"tools": {"listChanged": True}}
        return result(request, protocolVersion=LEGACY, capabilities=offered, serverInfo=INFO)
    if method == "tools/list":
        return result(request, tools=[TOOL])
    if method == "tools/call":
        return result(request, content=[{"type": "text", "text": "done"}])
    return result(request) if method == "ping" else error(request, -32601)


def modern(request: Json) -> Json:
    """The reply of a server of the newer era, which knows no other."""
    method = request["method"]
    kept = {"ttlMs": 0, "cacheScope": "private", "resultType": "complete"}
    if method == "server/discover":
        meta = {"io.modelcontextprotocol/serverInfo": INFO}
        offered = {"tools": {"listChanged": False}}
        return result(request, supportedVersions=[MODERN], capabilities=offered, _meta=meta, **kept)
    if method == "tools/list":
        return result(request, tools=[TOOL], **kept)
    if method == "tools/call":
        return result(request, content=[], resultType="complete")
    return error(request, -32601)

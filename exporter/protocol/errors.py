"""The JSON-RPC errors that the exporter itself answers with.

The codes lie in the range that JSON-RPC leaves to implementations, as the reference SDKs use
it: -32000 for a lost connection, -32001 for a timeout.
"""

from __future__ import annotations

import json

from msgspec import UNSET, UnsetType

from exporter.protocol.jsonrpc import Id

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
CONNECTION_LOST = -32000
TIMEOUT = -32001
HEADER_MISMATCH = -32020
UNSUPPORTED_VERSION = -32022

JSON = b"application/json"


def error(code: int, text: str, request_id: Id | UnsetType = None, data: object = None) -> bytes:
    """A JSON-RPC error reply on one line; without a readable id it bears ``null``."""
    fault: dict[str, object] = {"code": code, "message": f"mcp-exporter: {text}"}
    if data is not None:
        fault["data"] = data
    reply = {"jsonrpc": "2.0", "id": None if request_id is UNSET else request_id, "error": fault}
    return json.dumps(reply).encode()

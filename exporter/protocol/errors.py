"""The codes of JSON-RPC errors, and the errors that the exporter itself replies with.

Its own codes lie in the range that JSON-RPC leaves to implementations, as the reference SDKs
use it: -32000 for a lost connection, -32001 for a timeout.
"""

from __future__ import annotations

import json

from msgspec import UNSET, UnsetType

from exporter.protocol.jsonrpc import Id

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
CONNECTION_LOST = -32000
TIMEOUT = -32001
HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022

CODES = frozenset(
    {
        PARSE_ERROR,
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        INVALID_PARAMS,
        INTERNAL_ERROR,
        CONNECTION_LOST,
        TIMEOUT,
        HEADER_MISMATCH,
        MISSING_CAPABILITY,
        UNSUPPORTED_VERSION,
        -32002,  # resource not found, until 2025-11-25
        -32042,  # an elicitation by URL is required, 2025-11-25
        -32800,  # cancelled, as the Python SDK says it
        0,  # a handler failed, as the Python SDK says it
    }
)
"""JSON-RPC's and MCP's own codes, and those that the reference SDKs send."""

JSON = b"application/json"


def error(code: int, text: str, request_id: Id | UnsetType = None, data: object = None) -> bytes:
    """Return a JSON-RPC error reply on one line; without a readable id it bears ``null``."""
    fault: dict[str, object] = {"code": code, "message": f"mcp-exporter: {text}"}
    if data is not None:
        fault["data"] = data
    reply = {"jsonrpc": "2.0", "id": None if request_id is UNSET else request_id, "error": fault}
    return json.dumps(reply).encode()

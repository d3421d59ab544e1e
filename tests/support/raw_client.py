"""An HTTP client that sends exactly what it is told to, and keeps the bytes that arrive."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]

PATIENCE = 120.0
"""Seconds without a byte after which a test has failed: long, for the machine may be busy."""

MODERN, LEGACY = "2026-07-28", "2025-11-25"
JSON_TYPE = "application/json"
ACCEPTED = {"Content-Type": JSON_TYPE, "Accept": "application/json, text/event-stream"}


@dataclass(frozen=True)
class Reply:
    """One whole reply."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def document(self) -> Any:
        """The body as JSON, or the last event's."""
        if self.values("Content-Type")[0].startswith("text/event-stream"):
            return list(messages(self.body))[-1]
        return json.loads(self.body)


def messages(stream: bytes) -> Iterator[Any]:
    """The messages of a stream of events that each fit on one line."""
    for line in stream.splitlines():
        if line.startswith(b"data:") and line[5:].strip():
            yield json.loads(line[5:])


@contextmanager
def sent(
    url: str,
    body: bytes | Json | None = None,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    patience: float = PATIENCE,
) -> Iterator[http.client.HTTPConnection]:
    """A connection on which a request was sent; it ends with the block, answered or not."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=patience)
    try:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, target, data, {**(headers or {})})
        yield connection
    finally:
        connection.close()


@contextmanager
def open_reply(
    url: str,
    body: bytes | Json | None = None,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    patience: float = PATIENCE,
) -> Iterator[http.client.HTTPResponse]:
    """A reply from its head on; the connection ends with the block, read or not."""
    with sent(url, body, headers, method, patience) as connection:
        reply = connection.getresponse()
        try:
            yield reply
        finally:
            reply.close()


def ask(
    url: str,
    body: bytes | Json | None = None,
    headers: Mapping[str, str] | None = None,
    method: str = "POST",
    patience: float = PATIENCE,
) -> Reply:
    """Send a request and read the whole reply."""
    with open_reply(url, body, headers, method, patience) as reply:
        return Reply(reply.status, reply.reason, reply.getheaders(), reply.read())


def legacy(session: str | None = None, version: str = LEGACY, **more: str) -> dict[str, str]:
    """The headers of a request within a session."""
    headers = {**ACCEPTED, "MCP-Protocol-Version": version, **more}
    return headers if session is None else {**headers, "Mcp-Session-Id": session}


def modern(method: str, name: str | None = None, **more: str) -> dict[str, str]:
    """The headers of a request without a session."""
    headers = {**ACCEPTED, "MCP-Protocol-Version": MODERN, "Mcp-Method": method, **more}
    return headers if name is None else {**headers, "Mcp-Name": name}


def envelope(**more: Any) -> Json:
    """The ``_meta`` that every request of 2026-07-28 bears."""
    return {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
        **more,
    }


def request(number: Any, method: str, **params: Any) -> Json:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(number: Any, how: str, **arguments: Any) -> Json:
    """A call of the tool that does what it is told to."""
    return request(number, "tools/call", name="act", arguments={"how": how, **arguments})


def modern_call(number: Any, how: str, **arguments: Any) -> Json:
    """The same without a session."""
    message = call(number, how, **arguments)
    message["params"]["_meta"] = envelope()
    return message


def initialize(number: Any = 0, version: str = LEGACY) -> Json:
    """The request that begins a session."""
    info = {"name": "raw", "version": "1"}
    return request(number, "initialize", protocolVersion=version, capabilities={}, clientInfo=info)


def open_session(url: str) -> str:
    """Begin a session; its id."""
    reply = ask(url, initialize(), ACCEPTED)
    assert reply.status == 200, reply
    session = reply.values("Mcp-Session-Id")[0]
    notice = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert ask(url, notice, legacy(session)).status == 202
    return session


def dial(host: tuple[str, int]) -> socket.socket:
    """A connection for those who write HTTP by hand."""
    return socket.create_connection(host, timeout=PATIENCE)

"""A client or a server of the official SDK that makes spans of its own, with OpenTelemetry's SDK.

``client URL MODE`` or ``client wrapped COMMAND…`` calls the tool ``act`` once; ``server TRANSPORT``
serves it, and says its port. Spans go where OTEL_EXPORTER_OTLP_ENDPOINT says, at once.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Literal

import anyio
from mcp import Client, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.server.mcpserver import MCPServer
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

Transport = Literal["stdio", "sse", "streamable-http"]


def make_spans(service: str) -> TracerProvider:
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def serve(transport: Transport) -> None:
    make_spans("server")
    server = MCPServer[Any]("traced", log_level="ERROR")

    @server.tool()
    def act(word: str) -> str:
        return word.upper()

    if transport == "stdio":
        server.run()
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    print(port, flush=True)
    server.run(transport, host="127.0.0.1", port=port)


async def call(target: Any, mode: Any) -> None:
    with anyio.fail_after(60):
        async with Client(target, mode=mode, cache=None) as client:
            await client.list_tools()
            result = await client.call_tool("act", {"word": "canary"})
            assert not result.is_error, result


def main(role: str, *words: str) -> None:
    if role == "server":
        serve(words[0])  # type: ignore[arg-type]
        return
    provider = make_spans("client")
    target, *rest = words
    if target == "wrapped":
        command = StdioServerParameters(command=rest[0], args=rest[1:], env=dict(os.environ))
        anyio.run(call, command, "auto")
    elif rest == ["sse"]:
        anyio.run(call, sse_client(target), "legacy")
    else:
        anyio.run(call, target, rest[0])
    provider.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])

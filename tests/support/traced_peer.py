"""A client or a server of the official SDK that makes spans of its own, with OpenTelemetry's SDK.

``client MODE URL MODE URL…`` calls the tool ``act`` of each server once, ``wrapped MODE COMMAND…``
that of a child; ``server TRANSPORT`` serves it, and says its port; ``foreign`` is one that nobody
here wrote, over stdio. Spans go where OTEL_EXPORTER_OTLP_ENDPOINT says, at once.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, Literal

import anyio
import mcp_server_time  # type: ignore[import-untyped]
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


def serve_time() -> None:
    make_spans("server")
    sys.argv[1:] = ["--local-timezone", "UTC"]
    mcp_server_time.main()


def main(role: str, *words: str) -> None:
    if role == "server":
        serve(words[0])  # type: ignore[arg-type]
    elif role == "foreign":
        serve_time()
    else:
        provider = make_spans("client")
        ask(role, words)
        provider.shutdown()


def ask(role: str, words: Sequence[str]) -> None:
    if role == "wrapped":
        mode, command, *rest = words
        child = StdioServerParameters(command=command, args=rest, env=dict(os.environ))
        anyio.run(call, child, mode)
        return
    for mode, url in zip(words[::2], words[1::2], strict=True):
        target = sse_client(url) if mode == "sse" else url
        anyio.run(call, target, "legacy" if mode == "sse" else mode)


if __name__ == "__main__":
    main(*sys.argv[1:])

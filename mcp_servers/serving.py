"""Runs a demonstration server over stdio, or over Streamable HTTP on a loopback address."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import socket
import sys
from dataclasses import dataclass
from typing import Any

import anyio
from mcp.server.mcpserver import MCPServer

PATH = "/mcp"

_DRAIN_SECONDS = 2
"""How long open streams get to end by themselves when the server is told to stop."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """The command line that all the servers share."""
    parser = argparse.ArgumentParser(prog=f"python -m mcp_servers.{name}", description=description)
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        type=loopback_address,
        help=f"serve Streamable HTTP at {PATH} of this loopback address instead of stdio",
    )
    return parser


def loopback_address(text: str) -> Address:
    """The address of "127.0.0.1:8000", "localhost:8000" or "[::1]:8000".

    These servers have no authentication, so every other address is refused with
    ArgumentTypeError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT; write 127.0.0.1:8000")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise argparse.ArgumentTypeError(f"{text!r} is not a loopback address; write 127.0.0.1")
    return Address(host, int(port))


def serve(server: MCPServer[Any], address: Address | None) -> None:
    """Serves until stdin ends, or until a signal to stop."""
    with contextlib.suppress(KeyboardInterrupt):
        if address is None:
            server.run()
        else:
            anyio.run(_serve_http, server, address)


async def _serve_http(server: MCPServer[Any], address: Address) -> None:
    # Imported here because a stdio server has to start fast.
    import uvicorn

    app = server.streamable_http_app(streamable_http_path=PATH, host=address.host)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=_DRAIN_SECONDS
    )

    class Announced(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not (sockets and self.started):
                return
            port = sockets[0].getsockname()[1]
            # Said no earlier: whoever reads it may send a signal, which a start cannot take well.
            print(f"listening on {_url(address.host, port)}", file=sys.stderr, flush=True)  # noqa: T201

    with _listener(address) as listener:
        await Announced(config).serve(sockets=[listener])


def _listener(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        where = f"{address.host}:{address.port}"
        reason = os.strerror(error.errno or 0)
        sys.exit(f"cannot listen on {where}: {reason}; choose another")


def _url(host: str, port: int) -> str:
    """What to connect to."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}{PATH}"

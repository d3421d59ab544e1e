"""Starts the demonstration servers as real processes and connects the SDK's client to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeVar

import anyio
from mcp import Client, StdioServerParameters

from tests.support.paths import ROOT

T = TypeVar("T")
Mode = Literal["auto", "legacy", "2026-07-28"]

DEADLINE_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """A server that listens, and its process."""

    url: str
    process: subprocess.Popen[str]


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"mcp_servers.{name}", *arguments]


def stdio(name: str, *arguments: str, **environ: str) -> StdioServerParameters:
    program, *rest = command(name, *arguments)
    return StdioServerParameters(
        command=program, args=rest, cwd=ROOT, env={**os.environ, **environ}
    )


@contextmanager
def http(name: str, *arguments: str, **environ: str) -> Iterator[Server]:
    """The server on a free port; it is told to stop at the end."""
    process = subprocess.Popen(
        command(name, "--http", "127.0.0.1:0", *arguments),
        cwd=ROOT,
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("listening on http://127.0.0.1:"), line
            yield Server(line.removeprefix("listening on ").strip(), process)
        finally:
            process.send_signal(signal.SIGTERM)


def with_client(
    server: str | StdioServerParameters, use: Callable[[Client], Awaitable[T]], mode: Mode = "auto"
) -> T:
    """What `use` makes of a client that is connected in this mode."""

    async def connect() -> T:
        with anyio.fail_after(DEADLINE_SECONDS):
            async with Client(server, mode=mode, cache=None) as client:
                return await use(client)

    return anyio.run(connect)


def text(result: object) -> str:
    """The text of a tool's result."""
    return "".join(block.text for block in getattr(result, "content", []))

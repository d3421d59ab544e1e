"""Misbehaves on demand: slow, failing, hanging and dying, for the demonstration of alerts.

Modes: ok, slow (a tool call takes some seconds), fail (a tool call is a tool error), error (a
request is a JSON-RPC error), hang (a request waits until the mode changes, except `initialize`),
die (the process exits). Where `set_mode` cannot get through, write the mode into --mode-file."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR
from pydantic import Field

from exporter import __version__
from mcp_servers import serving

MAX_SECONDS = 3600
SLOW_SECONDS = 3.0
POLL_SECONDS = 0.1
DIED = 70

Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
ExitCode = Annotated[int, Field(ge=-64, le=255)]


class Mode(StrEnum):
    """How every request is treated."""

    OK = "ok"
    SLOW = "slow"
    FAIL = "fail"
    ERROR = "error"
    HANG = "hang"
    DIE = "die"


class Switch:
    """The mode, kept in a file if there is one: so it outlives the process, and several processes
    of one server agree. Anyone may write the file; what is no mode is ok."""

    def __init__(self, mode: Mode = Mode.OK, file: Path | None = None) -> None:
        self._mode = mode
        self._file = file

    def get(self) -> Mode:
        if self._file is None or not self._file.exists():
            return self._mode
        word = self._file.read_text("utf-8", errors="replace").strip()
        return Mode(word) if word in set(Mode) else Mode.OK

    def set(self, mode: Mode) -> None:
        self._mode = mode
        if self._file is not None:
            self._file.write_text(f"{mode}\n", "utf-8")


class Mood(ServerMiddleware[Any]):
    """Treats each request as the mode says, except the one that changes the mode."""

    def __init__(self, switch: Switch, die: Callable[[int], None]) -> None:
        self._switch = switch
        self._die = die

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        if ctx.request_id is None or _tool(ctx) == "set_mode":
            return await call_next(ctx)
        # The SDK reads nothing more while it handles `initialize`: hanging there, the process would
        # not even see that its client is gone.
        if ctx.method != "initialize":
            await self._wait_while_hanging()
        return await self._answer(ctx, call_next)

    async def _wait_while_hanging(self) -> None:
        # Polled, because another process may write the file.
        while self._switch.get() is Mode.HANG:  # noqa: ASYNC110
            await anyio.sleep(POLL_SECONDS)

    async def _answer(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        mode = self._switch.get()
        if mode is Mode.DIE:
            self._die(DIED)
        if mode is Mode.ERROR:
            raise MCPError(INTERNAL_ERROR, "the server is in mode error")
        if _tool(ctx) and mode is Mode.SLOW:
            await anyio.sleep(SLOW_SECONDS)
        if _tool(ctx) and mode is Mode.FAIL:
            ctx = replace(ctx, params={**(ctx.params or {}), "name": "fail", "arguments": {}})
        return await call_next(ctx)


def _tool(ctx: ServerRequestContext[Any, Any]) -> str | None:
    name = ctx.params.get("name") if ctx.method == "tools/call" and ctx.params else None
    return name if isinstance(name, str) else None


def leave(code: int) -> None:
    """Ends the process at once, by the signal where the code is negative."""
    print(f"exiting with {code}, as told", file=sys.stderr, flush=True)  # noqa: T201 - for the log
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL and SIGSTOP cannot be set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code % 256)


def build(switch: Switch, die: Callable[[int], None] = leave) -> MCPServer[Any]:
    """The server; `die` ends the process."""
    server = MCPServer(
        "flaky", version=__version__, log_level="WARNING", middleware=[Mood(switch, die)]
    )

    @server.tool()
    def ok() -> str:
        """Succeed."""
        return "ok"

    @server.tool()
    async def slow(seconds: Seconds) -> str:
        """Succeed after so many seconds."""
        await anyio.sleep(seconds)
        return f"took {seconds:g} s"

    @server.tool()
    def fail(message: str = "the server is in mode fail") -> str:
        """Fail with this message, as a tool error."""
        raise ToolError(message)

    @server.tool()
    async def crash(exit_code: ExitCode = 1) -> str:
        """End the process without a reply; a negative code is a signal."""
        die(exit_code)
        return "still here"

    @server.tool()
    def set_mode(mode: Mode) -> str:
        """Change how every request is treated from now on."""
        switch.set(mode)
        return mode

    return server


def main() -> None:
    parser = serving.arguments("flaky", __doc__)
    parser.add_argument(
        "--mode",
        type=_mode,
        default=os.environ.get("FLAKY_MODE", Mode.OK),
        help=f"{', '.join(Mode)} (default: FLAKY_MODE, or ok)",
    )
    parser.add_argument(
        "--mode-file",
        metavar="FILE",
        type=Path,
        default=os.environ.get("FLAKY_MODE_FILE"),
        help="keep the mode in this file, which others may write (default: FLAKY_MODE_FILE)",
    )
    options = parser.parse_args()
    switch = Switch(options.mode, options.mode_file)
    if switch.get() is Mode.DIE:
        leave(DIED)
    serving.serve(build(switch), options.http)


def _mode(text: str) -> Mode:
    if text not in set(Mode):
        raise argparse.ArgumentTypeError(f"{text!r} is not a mode; write one of {', '.join(Mode)}")
    return Mode(text)


if __name__ == "__main__":
    main()

"""A start of a stdio server in which no client has a part: does it reply to the first request?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from exporter import __version__
from exporter.protocol import jsonrpc
from exporter.protocol.failures import UpstreamError
from exporter.protocol.spec import INITIALIZE, LEGACY
from exporter.relay.stdio.host import StartChild
from exporter.transport.process.child import Child

LONGEST = 30.0
"""Seconds in which a server has to reply; one that is silent for longer counts as failed."""

_REQUEST = msgspec.json.encode(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": INITIALIZE,
        "params": {
            "protocolVersion": LEGACY,
            "capabilities": {},
            "clientInfo": {"name": "mcp-exporter", "version": __version__},
        },
    }
)


class Trial:
    """Starts a child and asks it what every server knows, or refuses: both are replies.

    ``on_done`` is told of the child, which is not stopped yet, and whether it replied; ``None``
    where the trial was cancelled.
    """

    def __init__(self, start: StartChild, on_done: Callable[[Child, bool | None], None]) -> None:
        self._on_done = on_done
        self._is_over = False
        self._timer = asyncio.get_running_loop().call_later(LONGEST, self._finish, False)
        self._child = start(self)
        self._child.send(_REQUEST)

    def cancel(self) -> None:
        """Give it up."""
        self._finish(None)

    # ChildOwner

    def child_said(self, line: bytes) -> None:
        """Any reply will do."""
        message = jsonrpc.read(line)
        if message is not None and message.is_reply:
            self._finish(True)

    def child_lost(self, error: UpstreamError) -> None:  # noqa: ARG002  it is in the log
        """The server fails with nobody's help."""
        self._finish(False)

    # Inside

    def _finish(self, works: bool | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._timer.cancel()
            self._on_done(self._child, works)

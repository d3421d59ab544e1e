"""TCP keep-alive: the other side of a silent connection that is gone is noticed."""

from __future__ import annotations

import socket
from typing import Protocol

_OPTIONS = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
"""Seconds of silence before the first question, seconds between questions, and their number."""


class SocketOptions(Protocol):
    """A socket, or what stands for one in an event loop."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set one option."""


def keep_alive(connection: SocketOptions) -> None:
    """Have the system ask a silent peer now and then. Accepted sockets inherit it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS.items():
        option = getattr(socket, name, None)  # not every system has all of them
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)

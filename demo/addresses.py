"""Where each part listens: at its usual port, or at a free one where another program has that."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack

HOST = "127.0.0.1"
USUAL_PORTS = {
    "mcp": 6279,
    "exporter": 6280,
    "prometheus": 9090,
    "alertmanager": 9093,
    "grafana": 3000,
    "echo": 8081,
    "inbox": 1025,
    "traces": 4318,
}

FREE_PORTS = range(20_000, 32_000)
"""Below those that Linux gives to outgoing connections: one of them could take a port between its
choice and the start of its program."""


def choose(usual: Mapping[str, int]) -> dict[str, str]:
    """Return an address "host:port" for each name; a usual port of 0 asks for a free one."""
    with ExitStack() as held:
        # All are held until all are chosen, so that no free port is given twice.
        sockets = {name: held.enter_context(_bound(port)) for name, port in usual.items()}
        return {name: f"{HOST}:{each.getsockname()[1]}" for name, each in sockets.items()}


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


def accepts(address: str) -> bool:
    """Whether a program listens there."""
    with socket.socket() as caller:
        caller.settimeout(1)
        return caller.connect_ex((HOST, port(address))) == 0


def _bound(usual: int) -> socket.socket:
    is_asked = usual and not accepts(f"{HOST}:{usual}")
    for wanted in [*[usual] * bool(is_asked), *random.sample(FREE_PORTS, 100)]:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, wanted))
        except OSError:
            listener.close()
        else:
            return listener
    raise OSError(f"no free port on {HOST}")

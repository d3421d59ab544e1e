"""A connection that is given up while it opens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_of_its_end(protocol: asyncio.BaseProtocol) -> Iterator[None]:
    """Tell a protocol that its connection is lost, where what opens it is cancelled.

    uvloop does not where the connection was made in just that turn: whoever counts those that
    are open would count it for ever. Another loop says it twice.
    """
    try:
        yield
    except asyncio.CancelledError:
        protocol.connection_lost(None)
        raise

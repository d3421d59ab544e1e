"""The streams that clients have open at a server of the 2024-11-05 transport: pure.

Such a server may have a place for one client alone, and turns the prober away while it has one.
"""

from __future__ import annotations


class ClientStreams:
    """How many there are, and when the server last sent something on one (monotonic)."""

    def __init__(self) -> None:
        self._open = 0
        self._heard = float("-inf")

    @property
    def are_open(self) -> bool:
        """Whether a client has one."""
        return self._open > 0

    def opened(self) -> None:
        """The server opened one."""
        self._open += 1

    def closed(self) -> None:
        """One is over."""
        self._open -= 1

    def heard(self, now: float) -> None:
        """The server sent something, be it a comment."""
        self._heard = now

    def heard_since(self, time: float) -> bool:
        """Whether it did at this time or later, on one that may still be open."""
        return self.are_open and self._heard >= time

"""How much may be under way at once: what is over a limit is refused, never queued.

Every request that is let in holds a lease until its reply is complete or its client gone. Streams,
which last as long as somebody listens, are counted apart: they must not crowd out the calls.
"""

from __future__ import annotations

from exporter.config.limits import Bounds


class Slots:
    """Places for so many."""

    __slots__ = ("limit", "setting", "taken")

    def __init__(self, setting: str, limit: int) -> None:
        self.setting = setting
        self.limit = limit
        self.taken = 0


class SlotPair:
    """The way into a server: a place there, and one of those of all servers together."""

    __slots__ = ("own", "total")

    def __init__(self, own: Slots, total: Slots) -> None:
        self.own = own
        self.total = total

    def enter(self) -> Slots | None:
        """Take a place; answers what is full where there is none."""
        own, total = self.own, self.total
        if own.taken >= own.limit:
            return own
        if total.taken >= total.limit:
            return total
        own.taken += 1
        total.taken += 1
        return None

    def leave(self) -> None:
        """Give the place back."""
        self.own.taken -= 1
        self.total.taken -= 1


class ServerSlots:
    """Those of one server."""

    __slots__ = ("requests", "streams")

    def __init__(self, requests: SlotPair, streams: SlotPair) -> None:
        self.requests = requests
        self.streams = streams


class Admission:
    """The places of all servers."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._requests = Slots("requests_total", bounds.requests_total)
        self._streams = Slots("streams_total", bounds.streams_total)
        self._gates: dict[str, ServerSlots] = {}

    def of(self, server: str) -> ServerSlots:
        """The gates of a server, the same ones for each of that name."""
        gates = self._gates.get(server)
        if gates is None:
            bounds = self.bounds
            gates = self._gates[server] = ServerSlots(
                SlotPair(Slots("requests_per_server", bounds.requests_per_server), self._requests),
                SlotPair(Slots("streams_per_server", bounds.streams_per_server), self._streams),
            )
        return gates

    def forget(self, server: str) -> None:
        """The server is gone; who is on the way out still gives back what they hold."""
        self._gates.pop(server, None)

    def apply(self, bounds: Bounds) -> None:
        """Other limits from now on. Nobody who is in has to leave."""
        self.bounds = bounds
        self._requests.limit = bounds.requests_total
        self._streams.limit = bounds.streams_total
        for gates in self._gates.values():
            gates.requests.own.limit = bounds.requests_per_server
            gates.streams.own.limit = bounds.streams_per_server

"""How much may be in progress at once: what is over a limit is rejected, never queued.

Every admitted request holds a slot until its reply is complete or its client gone. Streams, which
last as long as their client listens, are counted apart: they must not take the slots of calls.
"""

from __future__ import annotations

from exporter.config.limits import Bounds


class Slots:
    """A limit, named by its setting, and how much of it is in use."""

    __slots__ = ("limit", "setting", "taken")

    def __init__(self, setting: str, limit: int) -> None:
        self.setting = setting
        self.limit = limit
        self.taken = 0


class SlotPair:
    """A slot of one server, and one of those that all servers share."""

    __slots__ = ("own", "total")

    def __init__(self, own: Slots, total: Slots) -> None:
        self.own = own
        self.total = total

    def acquire(self) -> Slots | None:
        """Take both; return the limit that is reached where one is."""
        own, total = self.own, self.total
        if own.taken >= own.limit:
            return own
        if total.taken >= total.limit:
            return total
        own.taken += 1
        total.taken += 1
        return None

    def release(self) -> None:
        self.own.taken -= 1
        self.total.taken -= 1


class ServerSlots:
    """Those of one server."""

    __slots__ = ("requests", "streams")

    def __init__(self, requests: SlotPair, streams: SlotPair) -> None:
        self.requests = requests
        self.streams = streams


class Admission:
    """The slots of all servers."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._requests = Slots("requests_total", bounds.requests_total)
        self._streams = Slots("streams_total", bounds.streams_total)
        self._servers: dict[str, ServerSlots] = {}

    def of(self, server: str) -> ServerSlots:
        """Return the slots of a server, the same ones for each caller."""
        slots = self._servers.get(server)
        if slots is None:
            bounds = self.bounds
            slots = self._servers[server] = ServerSlots(
                SlotPair(Slots("requests_per_server", bounds.requests_per_server), self._requests),
                SlotPair(Slots("streams_per_server", bounds.streams_per_server), self._streams),
            )
        return slots

    def forget(self, server: str) -> None:
        """The server is gone; its last requests still release what they hold."""
        self._servers.pop(server, None)

    def apply(self, bounds: Bounds) -> None:
        """Other limits from now on. Requests in progress keep their slots."""
        self.bounds = bounds
        self._requests.limit = bounds.requests_total
        self._streams.limit = bounds.streams_total
        for slots in self._servers.values():
            slots.requests.own.limit = bounds.requests_per_server
            slots.streams.own.limit = bounds.streams_per_server

"""A collector that takes every span and looks at none: what is behind an exporter that traces.

``python -m bench.servers.collector`` says its port, and ends with its standard input.
"""

from __future__ import annotations

import uvloop

from bench.servers.http_server import Connection, serve

_TAKEN = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"


class Intake(Connection):
    """One connection of an exporter."""

    def __init__(self) -> None:
        super().__init__(tools=0)

    def on_message_complete(self) -> None:
        self._transport.write(_TAKEN)


if __name__ == "__main__":
    uvloop.run(serve(Intake))

"""Which server a path leads to: ``/{server}/mcp``, and the server's metadata beside it."""

from __future__ import annotations

import re
from typing import Generic, Protocol, TypeVar
from urllib.parse import quote, unquote

from exporter.relay.oauth import WELL_KNOWN

_PATH = re.compile(rb"/(.+)/(mcp|sse|message(?=/[0-9a-f]{32}$))(?:/[0-9a-f]{32}|/)?")
_WELL_KNOWN = WELL_KNOWN.encode()


class Routed(Protocol):
    """A configured server."""

    places: frozenset[str]
    """What may follow its name in a path."""


Server = TypeVar("Server", bound=Routed)


class Routes(Generic[Server]):
    """The servers by their names and paths."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self._known: dict[bytes, Server] = {}

    def add(self, name: str, server: Server) -> None:
        """Route to a server."""
        self.servers[name] = server
        self._known[b"/%b/mcp" % quote(name).encode()] = server

    def remove(self, name: str) -> None:
        """Route to it no more."""
        server = self.servers.pop(name, None)
        self._known = {path: known for path, known in self._known.items() if known is not server}

    def find(self, path: bytes) -> Server | None:
        """The server at this path."""
        found = self._known.get(path)
        if found is not None:
            return found
        name, place = locate(path) or ("", "")
        server = self.servers.get(name)
        return server if server is not None and place in server.places else None


_DEFAULTS = frozenset({b"/authorize", b"/register", b"/token"})
"""Where a client of 2025-03-26 asks whom no metadata tells where to sign in."""


def is_discovery(path: bytes) -> bool:
    """Whether a client looks for what it may find: at its start it asks for several such paths,
    some of them below its server's."""
    return b"/.well-known/" in path or path in _DEFAULTS


def is_metadata(path: bytes) -> bool:
    """Whether a path is that of a server's OAuth metadata."""
    return path.startswith(_WELL_KNOWN)


def locate(path: bytes) -> tuple[str, str] | None:
    """The server's name and the place there: ``mcp``, ``sse`` or ``message``."""
    match = _PATH.fullmatch(path.removeprefix(_WELL_KNOWN))
    if match is None:
        return None
    try:
        return unquote(match[1].decode("ascii"), errors="strict"), match[2].decode()
    except UnicodeDecodeError:
        return None

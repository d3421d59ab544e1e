"""Which server a path leads to."""

from __future__ import annotations

import pytest

from exporter.relay.routes import Routes, is_metadata, locate

METADATA = b"/.well-known/oauth-protected-resource"


class Server:
    def __init__(self, *places: str) -> None:
        self.places = frozenset(places)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/files/mcp", ("files", "mcp")),
        (b"/my%20server/sse", ("my server", "sse")),
        (b"/a/b/mcp", ("a/b", "mcp")),
        (b"/files/message/" + b"0" * 32, ("files", "message")),
        (METADATA + b"/files/mcp", ("files", "mcp")),
        (b"/files/mcp/", ("files", "mcp")),
        (b"/files/mcp//", None),
        (b"/files/message/0", None),
        (b"/%FF/mcp", None),
        (b"/files", None),
        (b"*", None),
    ],
)
def test_a_path_names_a_server_and_a_place(path: bytes, found: tuple[str, str] | None) -> None:
    assert locate(path) == found


def test_a_server_is_found_at_the_places_that_it_has() -> None:
    routes: Routes[Server] = Routes()
    plain, old = Server("mcp"), Server("mcp", "sse")
    routes.add("a b", plain)
    routes.add("old", old)
    assert routes.find(b"/a%20b/mcp") is plain
    assert routes.find(b"/%61%20b/mcp") is plain
    assert routes.find(b"/a%20b/sse") is None
    assert routes.find(b"/old/sse") is old
    assert routes.find(METADATA + b"/old/mcp") is old
    routes.remove("old")
    assert routes.find(b"/old/mcp") is None


def test_metadata_is_beside_the_servers_path() -> None:
    assert is_metadata(METADATA + b"/files/mcp")
    assert not is_metadata(b"/files/mcp")

"""A server that asks its clients back, over stdio or HTTP.

It is the conformance fixture and a few tools more: one that asks for the roots, one that asks
three things at once, and one that says that a resource has changed.
"""

from __future__ import annotations

import asyncio

from mcp.server.mcpserver import Context
from mcp.shared.message import ServerMessageMetadata
from mcp.types import ListRootsRequest, ListRootsResult

from mcp_servers import serving
from tests.conformance.fixture import questions
from tests.conformance.fixture.server import build

WATCHED = "test://watched-resource"


async def roots(context: Context) -> str:
    """Name the client's roots."""
    # Without the related id the request would go to the GET stream, which may not be open yet.
    related = ServerMessageMetadata(related_request_id=context.request_id)
    answer = await context.session.send_request(
        ListRootsRequest(), ListRootsResult, metadata=related
    )
    return " ".join(str(root.uri) for root in answer.roots)


async def three_at_once(prompt: str, context: Context) -> str:
    """Ask the client for three things, and wait for all of them."""
    asked = (
        questions.sampling(prompt, context),
        questions.elicitation(prompt, context),
        roots(context),
    )
    return " | ".join(await asyncio.gather(*asked))


async def touch(context: Context) -> str:
    """Say that a resource has changed."""
    await context.notify_resource_updated(WATCHED)
    return "It changed."


def main() -> None:
    options = serving.arguments("requesting", __doc__).parse_args()
    server = build()
    for tool in (roots, three_at_once, touch):
        server.add_tool(tool, structured_output=False)
    serving.serve(server, options.http)


if __name__ == "__main__":
    main()

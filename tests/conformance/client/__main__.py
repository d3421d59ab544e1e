"""Run one client scenario of the suite: its server's URL is the last argument."""

import asyncio
import json
import os
import sys

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from tests.conformance.client import authorization, exploration


def mode() -> str:
    """``legacy`` forces the handshake; ``auto`` tries the stateless lifecycle first."""
    asked = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION")
    return "auto" if asked is None or asked in MODERN_PROTOCOL_VERSIONS else "legacy"


async def run(url: str) -> None:
    """Connect to the server and use all it offers."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    scenario = os.environ.get("MCP_CONFORMANCE_SCENARIO", "")
    auth = await authorization.provider(scenario, url, context)
    async with (
        authorization.http_client(auth) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode=mode(),
            sampling_callback=exploration.sample,
            list_roots_callback=exploration.list_roots,
            elicitation_callback=exploration.elicit,
        ) as client,
    ):
        await exploration.explore(client, context)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[-1]))

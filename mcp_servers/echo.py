"""Says back what it was told, and shows progress: for trying out a relay."""

from __future__ import annotations

from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from pydantic import Field

from exporter import __version__
from mcp_servers import serving

MAX_COUNT = 10_000
MAX_DELAY_SECONDS = 60
MAX_BYTES = 16 * 1024 * 1024

Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Delay = Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS)]
Size = Annotated[int, Field(ge=0, le=MAX_BYTES)]


def build() -> MCPServer[Any]:
    """The server, with a tool, a resource and a prompt that say the same back."""
    server = MCPServer("echo", version=__version__, log_level="WARNING")

    @server.tool()
    def echo(text: str) -> str:
        """Say the text back."""
        return text

    @server.tool()
    async def count(n: Count, context: Context[Any], delay: Delay = 0.1) -> int:
        """Count to n, waiting for delay seconds and reporting progress at each step."""
        for step in range(1, n + 1):
            await anyio.sleep(delay)
            await context.report_progress(step, n, f"{step} of {n}")
        return n

    @server.tool(structured_output=False)
    def blob(size: Size) -> str:
        """Return a text of that many bytes."""
        return "x" * size

    @server.resource("echo://{text}")
    def echoed(text: str) -> str:
        """The text, as a resource."""
        return text

    @server.prompt()
    def say(text: str) -> str:
        """A prompt that asks for the text."""
        return f"Say this back: {text}"

    return server


def main() -> None:
    options = serving.arguments("echo", __doc__).parse_args()
    serving.serve(build(), options.http)


if __name__ == "__main__":
    main()

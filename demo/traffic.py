"""What a person's assistant would do: list the files and read some, with the official client.

python -m demo.traffic http://127.0.0.1:6279/files/mcp
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from mcp import Client

from demo import instrument

CALLS: dict[str, int] = {"read_file": 10, "list_files": 5}
"""Tool to the number of calls."""
BOOKS = ("welcome.txt", "signals.txt", "alerts.txt")


async def drive(url: str) -> None:
    """Make the calls; raises ExceptionGroup or RuntimeError where one does not succeed."""
    async with Client(url) as client:
        for number in range(CALLS["list_files"]):
            await _call(client, "list_files", {}, number)
        for number in range(CALLS["read_file"]):
            await _call(client, "read_file", {"path": BOOKS[number % len(BOOKS)]}, number)


async def _call(client: Client, tool: str, arguments: dict[str, Any], number: int) -> None:
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        raise RuntimeError(f"call {number + 1} of {tool} failed: {result.content}")


if __name__ == "__main__":
    instrument.set_up("assistant")
    asyncio.run(drive(sys.argv[1]))

"""Calls servers with FastMCP's client, several at once; runs in FastMCP's own environment.

It reads and writes what ``typescript.mjs`` does.
"""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from fastmcp import Client  # type: ignore[import-not-found,unused-ignore]
from fastmcp.client.transports import (  # type: ignore[import-not-found,unused-ignore]
    SSETransport,
    StdioTransport,
    StreamableHttpTransport,
)


def transport_of(kind: str, target: Any) -> Any:
    if kind == "stdio":
        return StdioTransport(command=target[0], args=target[1:], keep_alive=False)
    return (SSETransport if kind == "sse" else StreamableHttpTransport)(target)


async def list_tools(client: Any) -> Any:
    return [tool.name for tool in await client.list_tools()]


async def call(client: Any) -> Any:
    reply = await client.call_tool("act", {})
    text = "".join(getattr(part, "text", part.type) for part in reply.content)
    return {"length": len(text), "begin": text[:20]}


async def ping(client: Any) -> Any:
    return await client.ping()


STEPS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "tools": list_tools,
    "call": call,
    "ping": ping,
}


async def talk(task: dict[str, Any], seconds: float) -> dict[str, Any]:
    said: dict[str, Any] = {}
    step = "connect"
    try:
        transport = transport_of(task["transport"], task["target"])
        options = {"timeout": seconds, "init_timeout": seconds, "mode": "legacy"}
        async with Client(transport, **options) as client:
            said[step] = client.initialize_result.server_info.name
            for step, take in STEPS.items():
                said[step] = await take(client)
    except BaseException as error:  # noqa: BLE001  whatever it is, it is what the client says
        said[step] = {"failed": f"{type(error).__name__} {error}"}
    return said


async def main(seconds: float, width: int) -> None:
    tasks = json.load(sys.stdin)
    verdicts = {}

    async def work() -> None:
        while tasks:
            task = tasks.pop(0)
            # Some failures end no call: they are over for us when the time is.
            talking = asyncio.create_task(talk(task, seconds))
            done, _ = await asyncio.wait([talking], timeout=seconds)
            verdicts[task["key"]] = talking.result() if done else {"late": True}

    await asyncio.gather(*(work() for _ in range(width)))
    json.dump(verdicts, sys.stdout)
    sys.stdout.flush()
    os._exit(0)  # whatever still hangs


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2])))

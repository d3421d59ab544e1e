"""fastmcp's proxy with one client for all its callers; runs in fastmcp's own environment.

``python fastmcp_proxy.py PORT URL`` or ``… PORT COMMAND ARGUMENT …``.
"""

import asyncio
import sys

from fastmcp import Client  # type: ignore[import-not-found,unused-ignore]
from fastmcp.client.transports import StdioTransport  # type: ignore[import-not-found,unused-ignore]
from fastmcp.server import create_proxy  # type: ignore[import-not-found,unused-ignore]


async def main(port: int, target: list[str]) -> None:
    is_url = target[0].startswith("http")
    where = target[0] if is_url else StdioTransport(command=target[0], args=target[1:])
    async with Client(where) as client:
        proxy = create_proxy(client)
        options = {"host": "127.0.0.1", "port": port, "show_banner": False, "log_level": "warning"}
        await proxy.run_http_async(**options, uvicorn_config={"access_log": False})


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))

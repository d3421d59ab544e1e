"""A server of the 2024-11-05 transport: ``python -m tests.misbehaving.sse_server MODE``.

It says where it listens on its first line.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json

from tests.misbehaving import messages
from tests.misbehaving.http_server import FOREVER, Request, announce, read

MODES = ("well", "no_endpoint", "elsewhere", "web_site", "denies_posts", "drops", "mute", "chatty",
         "one_client")  # fmt: skip

OPEN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n"


class Server:
    """Keeps a stream for each client, and sends the replies on it."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._numbers = itertools.count(1)
        self._streams: dict[str, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            request = await read(reader)
            if request.method == "GET":
                await self._stream(reader, writer)
            else:
                self._post(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == "one_client" and self._streams:
            writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            return
        if self._mode == "web_site":
            page = b"<html></html>"
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n" + page
            )
            return
        number = next(self._numbers)
        where = f"/messages?session={number}"
        if self._mode == "elsewhere":
            where = f"http://elsewhere.example{where}"
        self._streams[str(number)] = writer
        before = f"retry: 500\r\n:{' ' * 2048}\r\n\r\nevent: hello\r\ndata: you\r\n\r\n"
        before = before if self._mode == "chatty" else ""
        name = "hello" if self._mode == "no_endpoint" else "endpoint"
        writer.write(OPEN + f"{before}event: {name}\r\ndata: {where}\r\n\r\n".encode())
        await reader.read()  # until the client closes it
        del self._streams[str(number)]

    def _post(self, request: Request, writer: asyncio.StreamWriter) -> None:
        status = b"401 Unauthorized" if self._mode == "denies_posts" else b"202 Accepted"
        writer.write(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % status)
        stream = self._streams[request.target.partition("=")[2]]
        if self._mode == "drops" and request.asks == "ping":
            stream.transport.abort()
        elif "id" in request.message and self._mode not in ("denies_posts", "mute"):
            reply = json.dumps(messages.legacy(request.message))
            stream.write(f"event: message\r\ndata: {reply}\r\n\r\n".encode())


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=MODES)
    options = parser.parse_args()
    listening = await asyncio.start_server(Server(options.mode).serve, "127.0.0.1", 0)
    announce(listening.sockets[0].getsockname()[1])
    await asyncio.sleep(FOREVER)


if __name__ == "__main__":
    asyncio.run(main())

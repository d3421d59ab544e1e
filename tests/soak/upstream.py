"""An MCP server over HTTP for both eras, whose tool ``act`` does what each call says.

python -m tests.soak.upstream HOST:PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.scripted_stdio_server import GREETINGS

Json = dict[str, Any]

JSON, EVENTS = "application/json", "text/event-stream"
LARGE = "x" * 200_000
FOREVER = 3600.0


def whole(status: int, body: bytes = b"", kind: str = "", session: str = "") -> bytes:
    """A reply with a length."""
    lines = [f"HTTP/1.1 {status} Some Reason", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    lines += [f"Mcp-Session-Id: {session}"] if session else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def encoded(**members: Any) -> bytes:
    """A message on the wire."""
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def result(call: Json, text: str = "done", **members: Any) -> bytes:
    """The reply to a call that went well."""
    content = [{"type": "text", "text": text}]
    return encoded(id=call["id"], result={"content": content, **members})


def chunk(event: bytes) -> bytes:
    """An event as a chunk."""
    data = b"data: " + event + b"\n\n"
    return b"%x\r\n" % len(data) + data + b"\r\n"


STREAM = f"HTTP/1.1 200 OK\r\nContent-Type: {EVENTS}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
LAST = b"0\r\n\r\n"
WAIT, HANG_UP = object(), object()
NOTICE = encoded(method="notifications/progress", params={"progressToken": "t", "progress": 1})

# What is sent, piece by piece, for each thing that a call may ask for.
BEHAVIOURS: dict[str, Callable[[Json], Iterator[object]]] = {
    "ok": lambda call: iter([whole(200, result(call), JSON)]),
    "fail": lambda call: iter([whole(200, result(call, isError=True), JSON)]),
    "fault": lambda call: iter([whole(200, _error(call), JSON)]),
    "ask": lambda call: iter([whole(200, result(call, resultType="input_required"), JSON)]),
    "large": lambda call: iter([whole(200, result(call, LARGE), JSON)]),
    "stream": lambda call: iter([STREAM, *[chunk(NOTICE)] * 3, chunk(result(call)), LAST]),
    "wait": lambda _: iter([WAIT]),
    "progress": lambda _: iter([STREAM, chunk(NOTICE), WAIT]),
    "hang_up": lambda _: iter([HANG_UP]),
    "cut": lambda _: iter([STREAM, chunk(NOTICE), HANG_UP]),
    "short": lambda call: iter([whole(200, result(call), JSON)[:-9], HANG_UP]),
    "refuse": lambda _: iter([whole(401)]),
    "broken": lambda _: iter([whole(500, b"oops", "text/plain")]),
    "babble": lambda _: iter([whole(200, b"{this is not JSON", JSON)]),
}


def _error(call: Json) -> bytes:
    return encoded(id=call["id"], error={"code": -32603, "message": "inside"})


class Server:
    """Sessions, and what they are told to do."""

    def __init__(self) -> None:
        self._sessions: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        gone = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with contextlib.suppress(*gone):
            while await self._serve_one(reader, writer):
                pass
        writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        for piece in self._answer(lines[0].split(" ")[0], headers, body):
            if piece is HANG_UP:
                return False
            if piece is WAIT:
                await reader.read(1)  # until the other side hangs up
                return False
            assert isinstance(piece, bytes)
            writer.write(piece)
            await writer.drain()
        return True

    def _answer(self, method: str, headers: dict[str, str], body: bytes) -> Iterator[object]:
        session = headers.get("mcp-session-id", "")
        message = json.loads(body or b"{}")
        if session and session not in self._sessions:
            missing = {"code": -32001, "message": "no such session"}
            yield whole(404, encoded(id=message.get("id"), error=missing), JSON)
        elif method == "GET":
            yield from (STREAM, chunk(NOTICE), WAIT)
        elif method == "DELETE":
            self._sessions.discard(session)
            yield whole(200)
        elif "id" not in message or "method" not in message:
            yield whole(202)
        elif message["method"] == "tools/call":
            yield from BEHAVIOURS[message["params"]["arguments"]["how"]](message)
        else:
            yield self._greet(message)

    def _greet(self, message: Json) -> bytes:
        session = ""
        if message["method"] == "initialize":
            session = uuid.uuid4().hex
            self._sessions.add(session)
        greeting = {"resultType": "complete", **GREETINGS.get(message["method"], {})}
        return whole(200, encoded(id=message["id"], result=greeting), JSON, session)


async def main(address: str) -> None:
    """Serve until killed."""
    host, _, port = address.rpartition(":")
    listening = await asyncio.start_server(Server().serve, host, int(port), reuse_address=True)
    async with listening:
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

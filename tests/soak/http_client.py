"""One kept HTTP connection of a client: it says how a reply ended, and never asks twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.raw_client import Json, messages

PATIENCE = 60.0
"""Seconds after which a reply is a failure of the test: nothing here may hang."""


class CutError(Exception):
    """The connection ended before the reply did."""


@dataclass(frozen=True)
class Reply:
    """A whole reply; ``body`` is without its transfer coding."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> Any:
        """The JSON-RPC reply in the body, or the last one of its stream; ``None`` without one."""
        with contextlib.suppress(ValueError):
            is_stream = self.headers.get("content-type", "").startswith("text/event-stream")
            found = list(messages(self.body)) if is_stream else [json.loads(self.body)]
            replies = [each for each in found if isinstance(each, dict) and "method" not in each]
            return replies[-1] if replies else None
        return None


class Connection:
    """One connection at a time, opened as needed, one request at a time."""

    def __init__(self, host: tuple[str, int]) -> None:
        self._host = host
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._is_done = False

    async def ask(
        self,
        path: str,
        body: Json | bytes | None,
        headers: Mapping[str, str],
        method: str = "POST",
    ) -> Reply:
        """Send a request and read the whole reply. Raises ``CutError``."""
        async with self.sent(path, body, headers, method), asyncio.timeout(PATIENCE):
            status, fields = await self.head()
            return Reply(status, fields, b"".join([part async for part in self.parts(fields)]))

    @contextlib.asynccontextmanager
    async def sent(
        self,
        path: str,
        body: Json | bytes | None,
        headers: Mapping[str, str],
        method: str = "POST",
    ) -> AsyncIterator[None]:
        """A request is under way; whatever is not read of the reply when the block ends is lost."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body or b""
        fields = {"Host": "localhost", "Content-Length": str(len(data)), **headers}
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(*self._host)
        self._is_done = False
        self._writer.write("\r\n".join(lines).encode() + data)
        try:
            yield
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise CutError from error
        finally:
            if not self._is_done:
                self.close()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and the headers, by lower-case name."""
        assert self._reader is not None
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in pairs}

    async def parts(self, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The body as it comes."""
        assert self._reader is not None
        if "content-length" in headers:
            yield await self._reader.readexactly(int(headers["content-length"]))
        while "transfer-encoding" in headers:
            size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            data = await self._reader.readexactly(size + 2)
            if not size:
                break
            yield data[:-2]
        self._is_done = headers.get("connection", "") != "close"

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

"""Probes a server that speaks Streamable HTTP."""

from __future__ import annotations

import asyncio
import contextlib

from exporter import message as jsonrpc
from exporter import sse
from exporter.call import Fault, UpstreamError
from exporter.config import Server
from exporter.listener import Headers
from exporter.message import Message
from exporter.observation import MODERN
from exporter.pool import Flight, Pool
from exporter.probe import INITIALIZED, LEGACY, Probe, UnauthorizedError, is_discovered

_LIMIT = 8 * 1024 * 1024


class HttpProbe(Probe):
    """Finds the server's era once, then asks ``server/discover``, or ``ping`` in its session."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.probe.timeout)
        self._server = server
        self._pool = Pool(server.url or "", asyncio.get_running_loop())
        self._session: bytes | None = None

    async def close(self) -> None:
        """End the session at the server, so that none is leaked."""
        with contextlib.suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._leave()
        self._pool.close()

    async def _check(self) -> None:
        if self._modern is None:
            await self._greet()
        elif self._modern:
            await self._rediscover()
        elif self._session is None:
            await self._begin()  # without sessions ``initialize`` leaves nothing behind
        else:
            await self._ping()

    async def _greet(self) -> None:
        number, body = self._compose("server/discover", {}, modern=True)
        reply = await self._post(body, number, self._modern_headers(b"server/discover"))
        if reply.message is not None and is_discovered(reply.message):
            self._meet_modern(reply.data)
        elif reply.status < 500:
            await self._begin()
        else:
            raise _refused(reply)

    async def _begin(self) -> None:
        self._session = None
        number, body = self._initialize()
        reply = await self._post(body, number, [])
        if reply.message is None:
            raise _refused(reply)
        self._session = reply.session
        self._meet_legacy(reply.data)
        await self._post(INITIALIZED, None, self._legacy_headers())

    async def _rediscover(self) -> None:
        number, body = self._compose("server/discover", {}, modern=True)
        reply = await self._post(body, number, self._modern_headers(b"server/discover"))
        if reply.message is None:
            self._modern = None
            raise _refused(reply)
        if not is_discovered(reply.message):
            await self._begin()  # another server answers here now
        else:
            self._meet_modern(reply.data)

    async def _ping(self) -> None:
        number, body = self._compose("ping", {}, modern=False)
        reply = await self._post(body, number, self._legacy_headers())
        if reply.status == 404:
            self._dialogue.note("note", "the session is gone: starting over")
            self._modern = self._session = None
            await self._greet()
        elif reply.message is None:
            raise _refused(reply)

    async def _ask(self, method: str, params: dict[str, object]) -> tuple[Message, bytes]:
        modern = bool(self._modern)
        number, body = self._compose(method, params, modern)
        headers = self._modern_headers(method.encode()) if modern else self._legacy_headers()
        reply = await self._post(body, number, headers)
        if reply.message is None:
            raise _refused(reply)
        return reply.message, reply.data

    async def _leave(self) -> None:
        if self._session is not None:
            await self._send(b"DELETE", b"", None, self._legacy_headers())
            self._session = None

    async def _post(self, body: bytes, number: int | None, headers: Headers) -> _Reply:
        self._dialogue.note("sent", body)
        reply = await self._send(b"POST", body, number, headers)
        shown = reply.data or reply.rest or b"(empty)"
        self._dialogue.note("received", f"HTTP {reply.status} " + shown.decode(errors="replace"))
        if reply.status in (401, 403):
            raise UnauthorizedError(f"HTTP {reply.status}")
        return reply

    async def _send(
        self, method: bytes, body: bytes, number: int | None, headers: Headers
    ) -> _Reply:
        fields: Headers = [
            (b"Host", self._pool.authority),
            (b"Content-Type", b"application/json"),
            (b"Accept", b"application/json, text/event-stream"),
            (b"Content-Length", b"%d" % len(body)),
            *headers,
            *((k.encode(), v.encode("latin-1")) for k, v in self._server.headers.items()),
        ]
        head = [b"%b %b HTTP/1.1" % (method, self._pool.target)]
        head += [b"%b: %b" % field for field in fields]
        reply = _Reply(number)
        flight = self._pool.send(b"\r\n".join([*head, b"", body]), reply)
        reply.flight = flight
        try:
            await reply.arrived
        finally:
            flight.abort()
        return reply

    def _legacy_headers(self) -> Headers:
        version = self.identity.protocol_version if self.identity else LEGACY
        headers: Headers = [(b"MCP-Protocol-Version", version.encode("latin-1", "replace"))]
        if self._session is not None:
            headers.append((b"Mcp-Session-Id", self._session))
        return headers

    def _modern_headers(self, method: bytes) -> Headers:
        return [(b"MCP-Protocol-Version", MODERN.encode()), (b"Mcp-Method", method)]


class _Reply:
    """Collects a reply until the message with the wanted id is in it, or it ends."""

    def __init__(self, number: int | None) -> None:
        self.status = 0
        self.session: bytes | None = None
        self.message: Message | None = None
        self.data = b""
        self.rest = b""
        self.location = b""
        self.flight: Flight | None = None
        self.arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._number = number
        self._events: sse.Reader | None = None

    def head(self, status: int, reason: bytes, headers: Headers) -> None:  # noqa: ARG002
        """The reply's head."""
        self.status = status
        for name, value in headers:
            lower = name.lower()
            if lower == b"mcp-session-id":
                self.session = value
            elif lower == b"location":
                self.location = value
            elif lower == b"content-type" and value.lower().startswith(b"text/event-stream"):
                self._events = sse.Reader(_LIMIT)

    def body(self, data: bytes) -> None:
        """A part of the body."""
        if self._events is not None:
            for event in self._events.feed(data):
                self._take(event.data)
        elif len(self.rest) < _LIMIT:
            self.rest += data

    def end(self) -> None:
        """The reply is complete."""
        self._take(self.rest)
        self._resolve()

    def flush(self) -> None:
        """Nothing more for now; of a stream the wanted event is enough."""
        if self.message is not None:
            self._resolve()

    def lost(self, error: UpstreamError) -> None:
        """There will be no reply."""
        if not self.arrived.done():
            self.arrived.set_exception(error)

    def _take(self, data: bytes) -> None:
        message = jsonrpc.read(data) if data else None
        if message is None or not message.is_reply or self.message is not None:
            return
        if message.id == self._number or self.status >= 400:
            self.message, self.data = message, data

    def _resolve(self) -> None:
        if not self.arrived.done():
            self.arrived.set_result(None)


def _refused(reply: _Reply) -> UpstreamError:
    hint = f", redirects to {reply.location.decode('latin-1')}" if reply.location else ""
    if reply.status == 429:
        hint = ": too many requests; a longer probe.interval may help"
    return UpstreamError(f"HTTP {reply.status} without a JSON-RPC reply{hint}", Fault.PROTOCOL)

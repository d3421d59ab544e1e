"""A server that speaks Streamable HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

from msgspec import UNSET

from exporter.config.model import Server
from exporter.probe.http_client import ProbeClient, Reply
from exporter.probe.identity import read_offer
from exporter.probe.target import (
    DISCOVER_SHARE,
    INITIALIZED,
    Era,
    ProbeEvents,
    ReachedError,
    Replied,
    Target,
    error_text,
)
from exporter.protocol import errors
from exporter.protocol.failures import UpstreamError
from exporter.protocol.jsonrpc import Message
from exporter.protocol.spec import DISCOVER, LEGACY, MODERN
from exporter.transport.http.connector import connector_of
from exporter.transport.http.head import Headers
from exporter.transport.http.pool import Pool

_END_TIMEOUT = 1.0
"""Seconds that the end of a session may take."""


class HttpTarget(Target):
    """Finds the server's era once, then asks ``server/discover``, or ``ping`` in its session."""

    def __init__(self, server: Server, events: ProbeEvents | None = None) -> None:
        super().__init__(server, events)
        self._pool = Pool(server.url or "", asyncio.get_running_loop(), connector_of(server))
        self._client = ProbeClient(server, self._pool)
        self._session: bytes | None = None
        self._ignores_discover = False
        self._is_fresh = True

    async def close(self) -> None:
        """End the session at the server, so that none is leaked."""
        await self._end_session()
        self._pool.close()

    def detach(self) -> None:
        """End the probe: its connection is not kept."""
        super().detach()
        self._pool.close()

    async def _check(self) -> None:
        if self.era is Era.UNKNOWN:
            await self._negotiate()
        elif self.era is Era.MODERN:
            await self._rediscover()
        elif self._session is None:
            await self._begin()  # without sessions ``initialize`` leaves nothing behind
        else:
            await self._ping()

    async def _negotiate(self) -> None:
        """Find the era: what is no reply of the newest one is followed by ``initialize``."""
        self.era, self._ignores_discover = Era.UNKNOWN, False
        reply = await self._try_discover()
        if reply is None or not self._discovered(reply.data):
            await self._begin()

    async def _try_discover(self) -> Reply | None:
        try:
            async with asyncio.timeout(self._timeout * DISCOVER_SHARE):
                return await self._discover()
        except TimeoutError:
            self._ignores_discover = True
            self._transcript.note("note", "no reply so far: perhaps an older server")
        except UpstreamError as error:
            if not self._client.was_sent:
                raise
            self._transcript.note("note", f"{error}: perhaps an older server")
        return None

    async def _discover(self) -> Reply:
        number, body = self._compose(DISCOVER, {})
        return await self._post(body, number, _modern_headers(DISCOVER))

    async def _rediscover(self) -> None:
        reply = await self._discover()
        if not self._discovered(reply.data):
            self._transcript.note("note", "not the era that it was: starting over")
            await self._begin()

    async def _begin(self) -> None:
        """Open a session, where the server has sessions."""
        self.era = Era.UNKNOWN
        self._session = None
        reply = await self._initialize(LEGACY)
        message = _message_of(reply)
        offer = None if message.error is UNSET else read_offer(reply.data)
        if offer is not None:
            self._transcript.note("note", f"asking in {offer}, which the server offers")
            reply = await self._initialize(offer)
            message = _message_of(reply)
        if message.error is not UNSET:
            raise ReachedError(error_text("initialize", message))
        self._session, self._is_fresh = reply.session, True
        self._initialized(reply.data)
        await self._post(INITIALIZED, None, self._legacy_headers())

    async def _initialize(self, version: str) -> Reply:
        number, body = self._compose_initialize(version)
        return await self._post(body, number, [])

    async def _ping(self) -> None:
        number, body = self._compose("ping", {})
        reply = await self._post(body, number, self._legacy_headers())
        message = reply.message
        if message is not None and message.error is UNSET:
            self._is_fresh = False
        elif message is not None and _lacks_method(message):
            await self._do_without_ping(message)
        elif message is not None and self._is_fresh and reply.status < 300:
            # It never liked any: the session is not why, and another one would be no better.
            raise ReachedError(error_text("ping", message))
        elif message is not None or 400 <= reply.status < 500:
            self._transcript.note("note", "the session is lost: starting over")
            if reply.status != 404:  # then it may still be there
                await self._end_session()
            await self._negotiate()
        else:
            raise reply.failure()

    async def _do_without_ping(self, message: Message) -> None:
        """The server is alive, and knows no ``ping``: perhaps it is of the newest era now.

        It keeps its session otherwise: another one would be no better.
        """
        discovery = None if self._ignores_discover else await self._try_discover()
        if discovery is None or not self._discovered(discovery.data):
            raise ReachedError(error_text("ping", message))

    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        number, body = self._compose(method, params)
        is_modern = self.era is Era.MODERN
        headers = _modern_headers(method) if is_modern else self._legacy_headers()
        reply = await self._post(body, number, headers)
        return _message_of(reply), reply.data

    def _timed_out(self) -> str:
        if self._client.was_sent:
            return super()._timed_out()
        return f"no connection within {self._timeout:.3g} s"

    async def _end_session(self) -> None:
        headers, session = self._legacy_headers(), self._session
        self._session = None
        if session is None:
            return
        with contextlib.suppress(UpstreamError, ReachedError, TimeoutError):
            async with asyncio.timeout(_END_TIMEOUT):
                await self._client.call(self._transcript, b"DELETE", headers, b"", None)

    async def _post(self, body: bytes, number: int | None, headers: Headers) -> Reply:
        return await self._client.call(self._transcript, b"POST", headers, body, number)

    def _legacy_headers(self) -> Headers:
        version = self.identity.protocol_version if self.identity else LEGACY
        headers: Headers = [(b"MCP-Protocol-Version", version.encode("latin-1", "replace"))]
        if self._session is not None:
            headers.append((b"Mcp-Session-Id", self._session))
        return headers


def _message_of(reply: Reply) -> Message:
    """The message in a reply. Raises ``UpstreamError`` where there is none."""
    if reply.message is None:
        raise reply.failure()
    return reply.message


def _lacks_method(message: Message) -> bool:
    return message.error is not UNSET and message.error.code == errors.METHOD_NOT_FOUND


def _modern_headers(method: str) -> Headers:
    return [(b"MCP-Protocol-Version", MODERN.encode()), (b"Mcp-Method", method.encode())]

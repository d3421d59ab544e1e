"""Probes a server that speaks HTTP with SSE, the transport of 2024-11-05.

A GET opens a stream of events; the first says where to POST; the replies come on the stream. It
is kept between probes, as a client keeps it; where it ends meanwhile, the next probe opens
another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import SplitResult, urljoin, urlsplit

from msgspec import UNSET

from exporter.config.model import Server
from exporter.probe.base import INITIALIZED, Era, ReachedError, refusal_of
from exporter.probe.duplex import WireProbe
from exporter.probe.http_client import ProbeClient, Reply
from exporter.protocol.failures import Fault, UpstreamError
from exporter.transport.http.pool import Pool


class SseProbe(WireProbe):
    """Opens a session on a stream, then asks ``ping``."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        loop = asyncio.get_running_loop()
        self._streams = ProbeClient(server, Pool(server.url or "", loop))
        self._posts = ProbeClient(server, Pool(server.url or "", loop))
        self._stream: Stream | None = None
        self._endpoint = b""
        self._posting: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End the session: the server forgets it with its stream."""
        self._hang_up()
        for task in list(self._posting):
            task.cancel()
        self._streams.pool.close()
        self._posts.pool.close()

    def hush(self) -> None:
        """The probe is over; the stream stays, the connection for the POSTs does not."""
        super().hush()
        self._posts.pool.close()

    async def _check(self) -> None:
        if self._stream is None:
            await self._open()
        if self.era is Era.UNKNOWN:
            await self._begin()
        message, _ = await self._ask("ping", {})
        if message.error is not UNSET:
            raise ReachedError(refusal_of("ping", message))

    def _time_out(self) -> str:
        # The server may have replied to a stream that was cut without a word on its way.
        self._hang_up()
        return super()._time_out()

    async def _open(self) -> None:
        stream = Stream(self._said, self._stream_lost)
        self._waiting_for = "GET, which should open a stream of events"
        request = b"GET %b" % self._streams.pool.target
        headers = [(b"Accept", b"text/event-stream")]
        await self._streams.send(self._dialogue, request, headers, b"", stream)
        if stream.endpoint is None:
            raise stream.failure()
        if not stream.endpoint:
            stream.hang_up()
            raise UpstreamError("does not begin its stream with endpoint", Fault.PROTOCOL)
        self._stream = stream
        self._endpoint = self._resolve(stream.endpoint.decode(errors="replace"))

    async def _begin(self) -> None:
        number, body = self._compose_initialize()
        try:
            message, data = await self._send(number, body)
        finally:
            self._replies.pop(number, None)
        if message.error is not UNSET:
            raise ReachedError(refusal_of("initialize", message))
        self._meet_legacy(data)
        self._tell(INITIALIZED)

    def _resolve(self, endpoint: str) -> bytes:
        """Where to POST. A server must not send a client, and its headers, elsewhere."""
        base = self.server.url or ""
        there = urlsplit(urljoin(base, endpoint))
        if _origin(there) != _origin(urlsplit(base)):
            self._hang_up()
            raise UpstreamError("wants its messages at another origin", Fault.PROTOCOL)
        query = f"?{there.query}" if there.query else ""
        return f"{there.path or '/'}{query}".encode("ascii", "replace")

    def _tell(self, body: bytes) -> None:
        self._write(body)  # which is written down as a POST

    def _write(self, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._post(body))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post(self, body: bytes) -> None:
        reply = Reply(None)
        try:
            await self._posts.send(self._dialogue, b"POST %b" % self._endpoint, [], body, reply)
            if reply.status >= 400:
                raise reply.failure()
        except (UpstreamError, ReachedError) as error:
            self._stream_lost(error)

    def _stream_lost(self, error: UpstreamError | ReachedError) -> None:
        self._hang_up()
        self._lost(error)

    def _hang_up(self) -> None:
        stream, self._stream = self._stream, None
        self.era = Era.UNKNOWN
        if stream is not None:
            stream.hang_up()


class Stream(Reply):
    """The reply to the GET: a stream that stays open once its first event has come."""

    is_standing = True

    def __init__(
        self, said: Callable[[bytes], None], on_lost: Callable[[UpstreamError], None]
    ) -> None:
        super().__init__(None)
        self.endpoint: bytes | None = None
        self._said = said
        self._on_lost: Callable[[UpstreamError], None] | None = on_lost

    def hang_up(self) -> None:
        """Close it."""
        self._on_lost = None
        self.abort()

    def heard(self, name: bytes, data: bytes) -> None:
        """An event has come."""
        if self.endpoint is None:
            self.endpoint, self.data = data if name == b"endpoint" else b"", data
        elif name == b"message":
            self._said(data)

    def flush(self) -> None:
        """Nothing more for now; the first event is enough to begin with."""
        if self.endpoint is not None:
            self.resolve()

    def end(self) -> None:
        """The stream ended, or was none."""
        self.resolve()
        self._tell(UpstreamError("ended its stream of events"))

    def lost(self, error: UpstreamError) -> None:
        """The stream broke."""
        super().lost(error)
        self._tell(error)

    def _tell(self, error: UpstreamError) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None and self.endpoint is not None:
            on_lost(error)


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()

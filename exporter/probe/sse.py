"""A server that speaks HTTP with SSE, the transport of 2024-11-05.

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
from exporter.probe.duplex import DuplexTarget
from exporter.probe.http_client import ProbeClient, Reply
from exporter.probe.target import INITIALIZED, Era, ProbeEvents, ReachedError, refusal_of
from exporter.protocol.failures import Fault, UpstreamError
from exporter.transport.http.pool import Pool


class SseTarget(DuplexTarget):
    """Opens a session on a stream, then asks ``ping``."""

    def __init__(self, server: Server, events: ProbeEvents | None = None) -> None:
        super().__init__(server, events)
        loop = asyncio.get_running_loop()
        self._streams = ProbeClient(server, Pool(server.url or "", loop))
        self._posts = ProbeClient(server, Pool(server.url or "", loop))
        self._stream: Stream | None = None
        self._endpoint = b""
        self._posting: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """End the session: the server forgets it with its stream."""
        self._close_stream()
        for task in list(self._posting):
            task.cancel()
        self._streams.pool.close()
        self._posts.pool.close()

    def detach(self) -> None:
        """End the probe: the stream stays, the connection for the POSTs does not."""
        super().detach()
        self._posts.pool.close()

    async def _check(self) -> None:
        if self._stream is None:
            await self._open()
        if self.era is Era.UNKNOWN:
            await self._begin()
        message, _ = await self._ask("ping", {})
        if message.error is not UNSET:
            raise ReachedError(refusal_of("ping", message))

    def _timed_out(self) -> str:
        # The server may have replied on a stream that was cut on its way, without a sign here.
        self._close_stream()
        return super()._timed_out()

    async def _open(self) -> None:
        stream = Stream(self._received, self._stream_lost)
        self._awaited = "GET, which should open a stream of events"
        request = b"GET %b" % self._streams.pool.target
        headers = [(b"Accept", b"text/event-stream")]
        await self._streams.send(self._transcript, request, headers, b"", stream)
        if stream.endpoint is None:
            raise stream.failure()
        if not stream.endpoint:
            stream.close()
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
        self._initialized(data)
        self._send_noted(INITIALIZED)

    def _resolve(self, endpoint: str) -> bytes:
        """Where to POST. A server must not send the prober, and its headers, to another origin."""
        base = self.server.url or ""
        there = urlsplit(urljoin(base, endpoint))
        if _origin(there) != _origin(urlsplit(base)):
            self._close_stream()
            raise UpstreamError("wants its messages at another origin", Fault.PROTOCOL)
        query = f"?{there.query}" if there.query else ""
        return f"{there.path or '/'}{query}".encode("ascii", "replace")

    def _send_noted(self, body: bytes) -> None:
        self._write(body)  # which notes the POST

    def _write(self, body: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._post(body))
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)

    async def _post(self, body: bytes) -> None:
        reply = Reply(None)
        try:
            await self._posts.send(self._transcript, b"POST %b" % self._endpoint, [], body, reply)
            if reply.status >= 400:
                raise reply.failure()
        except (UpstreamError, ReachedError) as error:
            self._stream_lost(error)

    def _stream_lost(self, error: UpstreamError | ReachedError) -> None:
        self._close_stream()
        self._lost(error)

    def _close_stream(self) -> None:
        stream, self._stream = self._stream, None
        self.era = Era.UNKNOWN
        if stream is not None:
            stream.close()


class Stream(Reply):
    """The reply to the GET: a stream that stays open once its first event has come."""

    is_standing = True

    def __init__(
        self, receive: Callable[[bytes], None], on_lost: Callable[[UpstreamError], None]
    ) -> None:
        super().__init__(None)
        self.endpoint: bytes | None = None
        self._receive = receive
        self._on_lost: Callable[[UpstreamError], None] | None = on_lost

    def close(self) -> None:
        """Close it without a word to ``on_lost``."""
        self._on_lost = None
        self.abort()

    def take(self, name: bytes, data: bytes) -> None:
        """Take one event."""
        if self.endpoint is None:
            self.endpoint, self.data = data if name == b"endpoint" else b"", data
        elif name == b"message":
            self._receive(data)

    def flush(self) -> None:
        """Nothing more for now; the first event is enough to begin with."""
        if self.endpoint is not None:
            self.resolve()

    def end(self) -> None:
        """The stream ended, or was none."""
        self.resolve()
        self._report(UpstreamError("ended its stream of events"))

    def lost(self, error: UpstreamError) -> None:
        """The stream broke."""
        super().lost(error)
        self._report(error)

    def _report(self, error: UpstreamError) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None and self.endpoint is not None:
            on_lost(error)


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()

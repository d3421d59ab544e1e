"""A server that speaks HTTP with SSE, the transport of 2024-11-05.

A GET opens a stream of events; its event ``endpoint`` says where to POST; the replies come on the
stream. It ends with each probe: a server may have places for few clients, and they are the
clients'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from time import monotonic
from urllib.parse import SplitResult, urljoin, urlsplit

from msgspec import UNSET

from exporter.config.model import Server
from exporter.probe.duplex import DuplexTarget
from exporter.probe.http_client import ProbeClient, Reply
from exporter.probe.identity import read_offer
from exporter.probe.target import (
    INITIALIZED,
    Era,
    ProbeEvents,
    ProbeResult,
    ReachedError,
    Replied,
    error_text,
)
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import Fault, UpstreamError
from exporter.protocol.label_values import SUCCESS
from exporter.protocol.spec import LEGACY
from exporter.telemetry.client_streams import ClientStreams
from exporter.transport.http.connector import connector_of
from exporter.transport.http.pool import Pool

_GATEWAY_ERRORS = (502, 504)
"""Statuses that say of another server that it does not reply."""

MAX_STREAM_EVENTS = 10_000
"""Events of one stream that are read; it is open for one probe."""


class SseTarget(DuplexTarget):
    """Opens a session on a stream for each probe, then asks ``ping``."""

    def __init__(
        self,
        server: Server,
        events: ProbeEvents | None = None,
        clients: ClientStreams | None = None,
    ) -> None:
        super().__init__(server, events)
        self._clients = clients or ClientStreams()
        loop = asyncio.get_running_loop()
        self._streams = ProbeClient(server, Pool(server.url or "", loop, connector_of(server)))
        self._posts = ProbeClient(server, Pool(server.url or "", loop, connector_of(server)))
        self._stream: Stream | None = None
        self._endpoint = b""
        self._opening: Stream | None = None
        self._posting: set[asyncio.Task[None]] = set()

    async def check(self, transcript: Transcript, timeout: float, ends_at: float) -> ProbeResult:  # noqa: ASYNC109
        """Do so; a server that is there for a client, and for nobody else, is alive."""
        since = monotonic() - self.server.probe.interval
        result = await super().check(transcript, timeout, ends_at)
        if result.is_alive or not self._serves_a_client(since):
            return result
        transcript.note("note", "a client has a stream that lives, which is as good")
        return replace(result, value=SUCCESS)

    def _serves_a_client(self, since: float) -> bool:
        """Whether it turned the prober away while a client's stream showed signs of life."""
        turned_away = self._opening
        if turned_away is None or not self._clients.are_open:
            return False
        status = turned_away.status
        has_replied = status >= 400 and status not in _GATEWAY_ERRORS
        return has_replied or self._clients.heard_since(since)

    async def close(self) -> None:
        """End the session: the server forgets it with its stream."""
        self._close_stream()
        for task in list(self._posting):
            task.cancel()
        self._streams.pool.close()
        self._posts.pool.close()

    def detach(self) -> None:
        """End the probe, and with it its stream and the connection for the POSTs."""
        super().detach()
        self._close_stream()
        self._posts.pool.close()

    @property
    def can_list(self) -> bool:
        """Whether its tools can be asked for: it replied once, and will on another stream."""
        return self.identity is not None

    async def _ask(self, method: str, params: Mapping[str, object]) -> Replied:
        await self._connect()
        return await super()._ask(method, params)

    async def _connect(self) -> None:
        if self._stream is None:
            await self._open()
        if self.era is Era.UNKNOWN:
            await self._begin()

    async def _check(self) -> None:
        message, _ = await self._ask("ping", {})
        if message.error is not UNSET:
            raise ReachedError(error_text("ping", message))

    def _timed_out(self) -> str:
        if self._opening is not None and self._opening.events:
            return f"no event named endpoint on its stream within {self._timeout:.3g} s"
        return super()._timed_out()

    async def _open(self) -> None:
        stream = Stream(self._received, self._stream_lost)
        self._awaited = "GET, which should open a stream of events"
        request = b"GET %b" % self._streams.pool.target
        headers = [(b"Accept", b"text/event-stream")]
        self._opening = stream
        await self._streams.send(self._transcript, request, headers, b"", stream)
        if stream.problem or stream.endpoint is None:
            raise stream.failure()
        self._opening = None
        self._stream = stream
        self._endpoint = self._resolve(stream.endpoint.decode(errors="replace"))

    async def _begin(self) -> None:
        message, data = await self._initialize(LEGACY)
        offer = None if message.error is UNSET else read_offer(data)
        if offer is not None:
            self._transcript.note("note", f"asking in {offer}, which the server offers")
            message, data = await self._initialize(offer)
        if message.error is not UNSET:
            raise ReachedError(error_text("initialize", message))
        self._initialized(data)
        self._send_noted(INITIALIZED)

    async def _initialize(self, version: str) -> Replied:
        number, body = self._compose_initialize(version)
        try:
            return await self._send(number, body)
        finally:
            self._replies.pop(number, None)

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
    max_events = MAX_STREAM_EVENTS

    def __init__(
        self, receive: Callable[[bytes], None], on_lost: Callable[[UpstreamError], None]
    ) -> None:
        super().__init__(None)
        self.endpoint: bytes | None = None
        self.events = 0
        self._receive = receive
        self._on_lost: Callable[[UpstreamError], None] | None = on_lost

    def close(self) -> None:
        """Close it without a word to ``on_lost``."""
        self._on_lost = None
        self.abort()

    def take(self, name: bytes, data: bytes) -> None:
        """Take one event."""
        self.events += 1
        if name == b"endpoint" and data and self.endpoint is None:
            self.endpoint, self.data = data, data
        elif name == b"message" and self.endpoint is not None:
            self._receive(data)

    def give_up(self, problem: str) -> None:
        """Read no more of the stream."""
        super().give_up(problem)
        self._report(UpstreamError(problem, Fault.PROTOCOL))

    def flush(self) -> None:
        """Nothing more for now; the endpoint is enough to begin with."""
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

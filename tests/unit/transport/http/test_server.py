"""One listener over real sockets on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from exporter.transport.http import server, sockets
from exporter.transport.http.parser import ListenerLimits
from exporter.transport.http.server import HttpServer
from exporter.transport.http.tls import ServerTls
from tests.support.certificates import Authority
from tests.support.fakes import Reply, Scribe, parse_replies
from tests.unit.transport.http.test_connection import GET, Echo


def over_a_socket(
    app: Scribe, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]
) -> None:
    """Run a conversation over a real connection on loopback."""

    async def run() -> None:
        listener = HttpServer(app, asyncio.get_running_loop(), ListenerLimits(body_bytes=1000))
        host, port = await listener.open("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(host, port)
        try:
            async with asyncio.timeout(10):
                await talk(reader, writer)  # type: ignore[misc]
        finally:
            writer.close()
            await listener.close(1)

    asyncio.run(run())


def test_a_refusal_arrives_although_the_client_still_sends() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
        for _ in range(50):
            writer.write(b"x" * 100_000)
            await writer.drain()
        reply: list[Reply] = parse_replies(await reader.read())
        assert reply[0].status == 413

    over_a_socket(Scribe(), talk)


def test_requests_are_served_over_a_real_connection() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET + GET + b"GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        replies = parse_replies(await reader.read())
        assert [reply.body for reply in replies] == [b"GET /a ", b"GET /a ", b"GET /b "]

    over_a_socket(Echo(), talk)


def test_a_slow_reader_holds_the_server_back_and_gets_everything() -> None:
    class Paced(Scribe):
        def client_paused(self, paused: bool) -> None:
            super().client_paused(paused)
            if not paused:
                resumed.set()

    app, resumed = Paced(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GET)
        request = await app.next()
        request.response.start(200, [(b"Content-Length", b"20000000")])
        size = 0
        while not app.paces:
            request.response.write(b"x" * 100_000)
            request.response.flush()
            size += 100_000
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        received = 0
        while not resumed.is_set() or received < size:
            received += len(await reader.read(1_000_000))
        assert received == size
        assert app.paces == [True, False]

    over_a_socket(app, talk)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_end_waits_for_nobody_who_was_cut_on_arrival(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    class Ending(Scribe):
        """Has its listener end with the first connection."""

        listener: HttpServer
        end: asyncio.Task[None]

        def admits(self, transport: asyncio.BaseTransport) -> bool:
            self.end = asyncio.create_task(self.listener.drain(60))
            return super().admits(transport)

    async def run() -> None:
        app = Ending()
        app.listener = HttpServer(app, asyncio.get_running_loop())
        reader, writer = await asyncio.open_connection(*await app.listener.open("127.0.0.1", 0))
        assert await reader.read() == b""
        writer.close()
        async with asyncio.timeout(30):
            await app.end
        assert not app.listener.connections

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_an_address_that_is_taken_is_an_error() -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        first, second = HttpServer(Echo(), loop), HttpServer(Echo(), loop)
        host, port = await first.open("127.0.0.1", 0)
        with pytest.raises(OSError, match="ddress already in use"):
            await second.open(host, port)
        await first.close(0)

    asyncio.run(run())


def test_new_certificates_are_shown_from_the_next_connection_on(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")
    client = ssl.create_default_context(cafile=str(authority.file))

    async def run() -> None:
        listener = HttpServer(Echo(), asyncio.get_running_loop())
        host, port = await listener.open("127.0.0.1", 0)
        listener.renew(ServerTls(own.cert, own.key).context())
        async with asyncio.timeout(60):
            _, writer = await asyncio.open_connection(
                host, port, ssl=client, server_hostname="localhost"
            )
        writer.transport.abort()
        await listener.close(0)

    asyncio.run(run())


async def reply_to(address: tuple[str, int], said: bytes) -> bytes:
    """What a new connection is told first; nothing where it is closed at once."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(said)
    try:
        async with asyncio.timeout(60):
            return await reader.read(100)
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("uses_reserve", [False, True])
def test_the_last_descriptors_are_for_a_listener_that_may_use_them(
    monkeypatch: pytest.MonkeyPatch, uses_reserve: bool
) -> None:
    monkeypatch.setattr(server, "takes_reserve", lambda descriptor: descriptor >= 0)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        listener = HttpServer(Echo(), loop, uses_reserve=uses_reserve)
        reply = await reply_to(await listener.open("127.0.0.1", 0), GET)
        assert reply.startswith(b"HTTP/1.1 200") is uses_reserve
        await listener.close(0)

    asyncio.run(run())


def test_a_client_that_never_shakes_hands_takes_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_HANDSHAKE_TIMEOUT", 1000.0)
    monkeypatch.setattr(server, "SURPLUS", 0)
    own = Authority(tmp_path).issue("own")

    async def run() -> None:
        loop = asyncio.get_running_loop()
        listener = HttpServer(Echo(), loop, ListenerLimits(connections=1))
        address = await listener.open("127.0.0.1", 0, ServerTls(own.cert, own.key).context())
        _, silent = await asyncio.open_connection(*address)
        assert await reply_to(address, b"") == b""
        assert len(listener.sockets.arriving) == 1
        silent.transport.abort()
        await listener.close(0)

    asyncio.run(run())

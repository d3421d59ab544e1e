"""Listening sockets whose certificates change under way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from pathlib import Path
from typing import cast
from unittest.mock import Mock, patch

import pytest
import uvloop

from exporter.transport.http import sockets
from exporter.transport.http.sockets import ListeningSockets
from exporter.transport.http.tls import ServerTls
from tests.support.certificates import Authority


def everybody(connection: socket.socket) -> bool:
    del connection
    return True


LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Greeter(asyncio.Protocol):
    """Says one word, and says it again to whatever comes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)
        self.transport.write(b"hello")

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def greeting(
    port: int, client: ssl.SSLContext | None
) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=client, server_hostname="localhost" if client else None
    )
    return await reader.readexactly(5), reader, writer


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def serial(writer: asyncio.StreamWriter) -> object:
    certificate = writer.get_extra_info("peercert")
    return certificate["serialNumber"]


@pytest.mark.parametrize("new_loop", LOOPS)
def test_new_connections_see_new_certificates_and_old_ones_live_on(
    tmp_path: Path, new_loop: type[asyncio.AbstractEventLoop]
) -> None:
    authority = Authority(tmp_path)
    first, second = authority.issue("first"), authority.issue("second")
    client = ssl.create_default_context(cafile=str(authority.file))

    async def run() -> None:
        listening = ListeningSockets(asyncio.get_running_loop(), Greeter, everybody)
        _, port = await listening.open("127.0.0.1", 0, ServerTls(first.cert, first.key).context())
        word, reader, writer = await greeting(port, client)
        assert word == b"hello"
        listening.tls = ServerTls(second.cert, second.key).context()
        _, _, other = await greeting(port, client)
        assert serial(writer) != serial(other)
        writer.write(b"still")
        assert await reader.readexactly(5) == b"still"
        listening.tls = None
        word, _, plain = await greeting(port, None)
        assert word == b"hello"
        for each in (writer, other, plain):
            each.transport.abort()
        listening.close()
        await asyncio.sleep(0)
        with pytest.raises(OSError, match=r"Connect|connect"):
            await asyncio.open_connection("127.0.0.1", port)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_nothing_is_left_behind(tmp_path: Path, new_loop: type[asyncio.AbstractEventLoop]) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")

    async def run() -> None:
        before = 0
        for renewals in (1, 20):  # what a loop opens once for itself does not count
            listening = ListeningSockets(asyncio.get_running_loop(), Greeter, everybody)
            await listening.open("127.0.0.1", 0, None)
            for _ in range(renewals):
                listening.tls = ServerTls(own.cert, own.key).context()
            listening.close()
            await asyncio.sleep(0.01)
            before = before or descriptors()
        assert descriptors() == before

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_client_that_never_shakes_hands_is_cut_off(
    tmp_path: Path, new_loop: type[asyncio.AbstractEventLoop]
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")

    async def run() -> None:
        listening = ListeningSockets(asyncio.get_running_loop(), Greeter, everybody)
        _, port = await listening.open("127.0.0.1", 0, ServerTls(own.cert, own.key).context())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.transport.abort()
        listening.close()

    with (
        patch.object(sockets, "_HANDSHAKE_TIMEOUT", 0.1),
        asyncio.Runner(loop_factory=new_loop) as runner,
    ):
        runner.run(run())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_connection_counts_before_its_handshake(
    tmp_path: Path, new_loop: type[asyncio.AbstractEventLoop]
) -> None:
    own = Authority(tmp_path).issue("own")

    async def run() -> None:
        asked = asyncio.Queue[socket.socket]()

        def admits(connection: socket.socket) -> bool:
            asked.put_nowait(connection)
            return len(listening.arriving) < 2

        listening = ListeningSockets(asyncio.get_running_loop(), Greeter, admits)
        tls = ServerTls(own.cert, own.key).context()
        _, port = await listening.open("127.0.0.1", 0, tls)
        async with asyncio.timeout(10):
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _ in silent:
                await asked.get()
            assert len(listening.arriving) == 2
            assert await silent[2][0].read() == b"", "the third one is cut"
            arriving = set(listening.arriving)
            listening.close()
            await asyncio.wait(arriving)
            assert await silent[0][0].read() == b""
        for _, writer in silent:
            writer.transport.abort()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_without_a_descriptor_nothing_is_accepted_for_a_while(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        listening = ListeningSockets(asyncio.get_running_loop(), Greeter, everybody)
        _, port = await listening.open("127.0.0.1", 0, None)
        broken = Mock(accept=Mock(side_effect=OSError(24, "Too many open files")))
        listening._accept(broken)
        assert broken.accept.call_count == 1
        async with asyncio.timeout(10):
            word, _, writer = await greeting(port, None)
        assert word == b"hello"
        writer.transport.abort()
        listening.close()

    with patch.object(sockets, "_PAUSE", 0.1):
        asyncio.run(run())
    (record,) = caplog.records
    assert record.message == "no connection accepted"
    assert vars(record)["reason"] == "Too many open files"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_is_said_with_the_last_word_of_the_handshake_is_heard(
    tmp_path: Path, new_loop: type[asyncio.AbstractEventLoop]
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")
    client = ssl.create_default_context(cafile=str(authority.file))

    async def run() -> None:
        listening = ListeningSockets(asyncio.get_running_loop(), Greeter, everybody)
        _, port = await listening.open("127.0.0.1", 0, ServerTls(own.cert, own.key).context())
        for _ in range(20):
            word, _, writer = await asyncio.wait_for(spoken_at_once(port, client), 10)
            assert word == b"helloearly"
            writer.transport.abort()
        listening.close()

    async def spoken_at_once(
        port: int, client: ssl.SSLContext
    ) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        speech = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            try:
                speech.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
        speech.write(b"early")
        writer.write(outgoing.read())  # the client's Finished and its first words at once
        heard = b""
        while len(heard) < 10:
            incoming.write(await reader.read(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                while True:
                    heard += speech.read(100)
        return heard, reader, writer

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())

"""Listening sockets whose certificates change under way."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import cast
from unittest.mock import patch

import pytest
import uvloop

from exporter.transport.http import sockets
from exporter.transport.http.sockets import ListeningSockets
from exporter.transport.http.tls import ServerTls
from tests.support.certificates import Authority

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
        door = ListeningSockets(asyncio.get_running_loop(), Greeter)
        _, port = await door.open("127.0.0.1", 0, ServerTls(first.cert, first.key).context())
        word, reader, writer = await greeting(port, client)
        assert word == b"hello"
        await door.renew(ServerTls(second.cert, second.key).context())
        _, _, other = await greeting(port, client)
        assert serial(writer) != serial(other)
        writer.write(b"still")
        assert await reader.readexactly(5) == b"still"
        await door.renew(None)
        word, _, plain = await greeting(port, None)
        assert word == b"hello"
        for each in (writer, other, plain):
            each.transport.abort()
        door.close()
        await asyncio.sleep(0)
        with pytest.raises(OSError, match=r"Connect|connect"):
            await asyncio.open_connection("127.0.0.1", port)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_a_closed_door_leaves_no_socket_behind(
    tmp_path: Path, new_loop: type[asyncio.AbstractEventLoop]
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")

    async def run() -> None:
        before = 0
        for renewals in (1, 20):  # what a loop opens once for itself does not count
            door = ListeningSockets(asyncio.get_running_loop(), Greeter)
            await door.open("127.0.0.1", 0, None)
            for _ in range(renewals):
                await door.renew(ServerTls(own.cert, own.key).context())
            door.close()
            await asyncio.sleep(0.01)
            before = before or descriptors()
        assert descriptors() == before

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())


def test_where_nothing_more_can_be_opened_the_old_certificates_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")
    client = ssl.create_default_context(cafile=str(authority.file))

    async def run() -> None:
        door = ListeningSockets(asyncio.get_running_loop(), Greeter)
        _, port = await door.open("127.0.0.1", 0, ServerTls(own.cert, own.key).context())
        with patch.object(os, "dup", side_effect=OSError(24, "Too many open files")):
            await door.renew(None)
        word, _, writer = await greeting(port, client)
        assert word == b"hello"
        writer.transport.abort()
        door.close()

    asyncio.run(run())
    (record,) = caplog.records
    assert record.message == "certificates not renewed"
    assert vars(record)["reason"] == "Too many open files"


@pytest.mark.parametrize("new_loop", LOOPS)
def test_who_never_shakes_hands_is_cut_off(
    tmp_path: Path, new_loop: type[asyncio.AbstractEventLoop]
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue("own")

    async def run() -> None:
        door = ListeningSockets(asyncio.get_running_loop(), Greeter)
        _, port = await door.open("127.0.0.1", 0, ServerTls(own.cert, own.key).context())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.transport.abort()
        door.close()

    with (
        patch.object(sockets, "_HANDSHAKE_TIMEOUT", 0.1),
        asyncio.Runner(loop_factory=new_loop) as runner,
    ):
        runner.run(run())

"""A peer that is gone without a word is noticed."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from exporter.transport.http.pool import Pool
from exporter.transport.http.server import HttpServer
from tests.support.fakes import Scribe

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Consumer:
    """Takes no reply."""

    def __getattr__(self, name: str) -> object:
        return lambda *_: None


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_sides_of_the_relay_are_asked_whether_they_are_there(
    new_loop: type[asyncio.AbstractEventLoop],
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        app = Scribe()
        listener = HttpServer(app, loop)
        host, port = await listener.open("127.0.0.1", 0)
        pool = Pool(f"http://{host}:{port}/", loop)
        pool.send(GET, Consumer())  # type: ignore[arg-type]
        async with asyncio.timeout(10):
            await app.next()
        (up,), (down,) = pool.live, listener.connections
        for side in (up, down):
            assert side._transport is not None
            connection = side._transport.get_extra_info("socket")
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        pool.close()
        await listener.close(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())

"""Ways to a host: by several addresses, through a proxy, with TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import uvloop

from exporter.transport.http import connector
from exporter.transport.http.connector import Address, Connector, ProxyError, proxy_for, race
from exporter.transport.http.pool import Pool
from exporter.transport.http.tls import ServerTls
from tests.support.certificates import Authority
from tests.support.fakes import settle
from tests.unit.transport.http.test_pool import Reader

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await test(tmp_path)
                left = asyncio.all_tasks() - {asyncio.current_task()}
                if left:  # the servers' sides of connections that are closed
                    await asyncio.wait(left)

        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(bounded())

    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("new_loop", loops)(run)


async def listen(talk: Talk, tls: ssl.SSLContext | None = None) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    return server, server.sockets[0].getsockname()[1]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing until the client has gone."""
    await reader.read()
    writer.close()


def dead() -> Address:
    """An address that says nothing: its queue is full."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    HELD.append(full)
    for _ in range(3):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(full.getsockname())
        HELD.append(client)
    return socket.AF_INET, full.getsockname()


HELD: list[socket.socket] = []


def refusing() -> Address:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return socket.AF_INET, closed.getsockname()


@on_both_loops
async def test_an_address_that_is_dead_or_refuses_costs_a_moment(folder: Path) -> None:
    del folder
    server, port = await listen(silent)
    alive: Address = (socket.AF_INET, ("127.0.0.1", port))
    for bad in (dead(), refusing()):
        connection = await race([bad, alive], head_start=0.05)
        assert connection.getpeername()[1] == port
        connection.close()
    with pytest.raises(ConnectionRefusedError):
        await race([refusing(), refusing()], head_start=0.05)
    for held in HELD:
        held.close()
    server.close()


@on_both_loops
async def test_no_connection_to_a_server_takes_what_is_kept_for_the_scrape_listener(
    folder: Path,
) -> None:
    del folder
    server, port = await listen(silent)
    with patch("exporter.transport.descriptors.first_reserved", return_value=0):
        for host in ("127.0.0.1", "localhost"):
            with pytest.raises(OSError, match="Too many open files"):
                await Connector(f"http://{host}:{port}/mcp").connect(asyncio.Protocol)
        with pytest.raises(OSError, match="Too many open files"):
            await race([(socket.AF_INET, ("127.0.0.1", port))])
    server.close()


@on_both_loops
async def test_of_a_connection_that_is_given_up_as_it_opens_nothing_is_kept(folder: Path) -> None:
    del folder

    class Leaving(Connector):
        async def connect(self, factory: Callable[[], Any]) -> Any:
            protocol = factory()
            made = protocol.connection_made

            def leave(transport: asyncio.BaseTransport) -> None:
                made(transport)
                pending.abort()

            with patch.object(protocol, "connection_made", leave):
                return await super().connect(lambda: protocol)

    server, port = await listen(silent)
    pools = []
    for host in ("127.0.0.1", "localhost"):
        url = f"http://{host}:{port}/mcp"
        pools.append(Pool(url, asyncio.get_running_loop(), Leaving(url)))
        pending = pools[-1].send(b"GET / HTTP/1.1\r\n\r\n", Reader())
        task = pending.task
        assert task is not None
        await asyncio.wait([task])
        assert task.cancelled()
    server.close()
    await settle()  # some loops close a connection in the next turn
    assert [len(pool.live) for pool in pools] == [0, 0]


async def ask(url: str, way: Connector) -> Reader:
    loop = asyncio.get_running_loop()
    pool, taker = Pool(url, loop, way), Reader()
    pool.send(b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}", taker)
    while not taker.is_over:  # noqa: ASYNC110  the pool tells it, in its own time
        await asyncio.sleep(0.01)
    pool.close()
    return taker


@on_both_loops
async def test_a_plain_request_goes_to_the_proxy_with_its_whole_url(folder: Path) -> None:
    del folder
    heard: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"{}"))
        writer.write(REPLY)
        await reader.read()
        writer.close()

    server, port = await listen(proxy)
    url = "http://up.invalid:8000/mcp"
    taker = await ask(url, Connector(url, f"http://me:p%40ss@127.0.0.1:{port}"))
    assert taker.text == b"ok"
    lines = heard[0].split(b"\r\n")
    assert lines[0] == b"POST http://up.invalid:8000/mcp HTTP/1.1"
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==" in lines
    server.close()


@on_both_loops
async def test_a_server_over_https_is_reached_through_a_tunnel(folder: Path) -> None:
    authority = Authority(folder)
    own = authority.issue("own")
    asked: list[bytes] = []

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(REPLY)
        await reader.read()
        writer.close()

    server, port = await listen(upstream, ServerTls(own.cert, own.key).context())

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if b"denied" in asked[-1]:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(copy(reader, up_writer), copy(up_reader, writer))

    front, proxy_port = await listen(proxy)
    trust = ssl.create_default_context(cafile=str(authority.file))
    url, via = "https://up.invalid:8443/mcp", f"http://127.0.0.1:{proxy_port}"
    taker = await ask(url, Connector(url, via, trust, "localhost"))
    assert taker.text == b"ok"
    assert asked[0].startswith(b"CONNECT up.invalid:8443 HTTP/1.1\r\nHost: up.invalid:8443\r\n")
    denied = "https://denied.invalid/mcp"
    with pytest.raises(ProxyError, match=r"the proxy 127\.0\.0\.1 answered '407' to CONNECT"):
        await Connector(denied, via, trust).connect(asyncio.Protocol)
    front.close()
    server.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


@on_both_loops
async def test_a_private_authority_and_a_certificate_of_ours(folder: Path) -> None:
    authority = Authority(folder)
    own = authority.issue("own")
    tls = ServerTls(own.cert, own.key, authority.file, ssl.CERT_REQUIRED)

    async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(REPLY)
        await reader.read()
        writer.close()

    server, port = await listen(upstream, tls.context())
    trust = ssl.create_default_context(cafile=str(authority.file))
    trust.load_cert_chain(own.cert, own.key)
    url = f"https://127.0.0.1:{port}/mcp"
    taker = await ask(url, Connector(url, None, trust, "localhost"))
    assert taker.text == b"ok"
    with pytest.raises(ssl.SSLError):
        await Connector(url).connect(asyncio.Protocol)
    server.close()


EXEMPT = {"HTTP_PROXY": "http://p:1", "NO_PROXY": "b.example, .c.example:81,d"}


@pytest.mark.parametrize(
    ("url", "configured", "environ", "expected"),
    [
        ("http://a/mcp", None, {}, None),
        ("http://a/mcp", None, {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://a/mcp", None, {"HTTP_PROXY": "http://p:1", "http_proxy": "q:2"}, "http://q:2"),
        ("https://a/mcp", None, {"HTTP_PROXY": "http://p:1"}, None),
        ("https://a/mcp", None, {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("http://localhost/mcp", None, {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1:8/mcp", None, {"HTTP_PROXY": "http://p:1"}, None),
        ("http://127.0.0.1:8/mcp", "http://q:2", {}, "http://q:2"),
        ("http://a/mcp", "direct", {"HTTP_PROXY": "http://p:1"}, None),
        ("http://a/mcp", "http://q:2", {"HTTP_PROXY": "http://p:1"}, "http://q:2"),
        *(
            (
                url,
                None,
                {"HTTP_PROXY": "http://p:1", "NO_PROXY": "b.example, .c.example:81,d"},
                proxy,
            )
            for url, proxy in (
                ("http://b.example/", None),
                ("http://x.b.example/", None),
                ("http://xb.example/", "http://p:1"),
                ("http://c.example:81/", None),
                ("http://c.example/", "http://p:1"),
                ("http://D/", None),
            )
        ),
        ("http://a/", None, {"HTTP_PROXY": "http://p:1", "no_proxy": "*"}, None),
    ],
)
def test_which_proxy_stands_between(
    url: str, configured: str | None, environ: dict[str, str], expected: str | None
) -> None:
    assert proxy_for(url, configured, environ) == expected


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    v4, v6 = socket.AF_INET, socket.AF_INET6
    found = [(v6, "a"), (v6, "b"), (v4, "c"), (v6, "a")]

    async def run() -> list[Any]:
        loop = asyncio.get_running_loop()

        async def getaddrinfo(*_: object, **__: object) -> list[Any]:
            return [(family, socket.SOCK_STREAM, 6, "", (name, 80)) for family, name in found]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        return await connector._resolve("up.example", 80)

    assert asyncio.run(run()) == [(v6, ("a", 80)), (v4, ("c", 80)), (v6, ("b", 80))]

"""A server's metadata is fetched for the client from wherever it is."""

from __future__ import annotations

import asyncio

import pytest

from exporter.relay.http.metadata import MetadataRelay
from exporter.relay.oauth import ProtectedResource
from exporter.transport.deadlines import Deadlines
from exporter.transport.http.pool import Pool
from exporter.transport.http.request import Request
from tests.support.fakes import Downstream, Network, OpenApplication, Reply, on_fake_time, settle

WELL_KNOWN = b"/.well-known/oauth-protected-resource"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"


class Setup(OpenApplication, Network):
    """A client that asks for metadata, and the server that may have it."""

    def __init__(self, url: str = "http://up:8000/mcp") -> None:
        super().__init__()
        self.name = "files"
        self.pool = Pool(url, self.loop)
        self.resource = ProtectedResource(url)
        self.metadata_deadlines = Deadlines(5.0, MetadataRelay.expire, self.loop)
        self.client = Downstream(self)
        self.under_way: set[MetadataRelay] = set()

    def handle(self, request: Request) -> None:
        relay = MetadataRelay(self, request, "http://own/files/mcp")
        self.under_way.add(relay)
        relay.send(self.loop.time())

    def described(self, relay: MetadataRelay) -> None:
        self.under_way.remove(relay)

    def reject(self, request: Request, status: int, reason: str) -> None:
        raise AssertionError((request, status, reason))

    async def ask(self, *headers: bytes) -> None:
        lines = [b"GET /x HTTP/1.1", b"Host: localhost", *headers, b"", b""]
        self.client.say(b"\r\n".join(lines))
        await settle()

    def heard(self) -> list[bytes]:
        return self.connections[-1].take().split(b"\r\n")

    @property
    def reply(self) -> Reply:
        (reply,) = self.client.replies()
        return reply


@on_fake_time
async def test_metadata_comes_with_its_headers_and_the_exporters_url() -> None:
    setup = Setup()
    await setup.ask(b"MCP-Protocol-Version: 2025-11-25", b"Authorization: Bearer t", b"Accept: */*")
    assert setup.heard() == [
        b"GET %b/mcp HTTP/1.1" % WELL_KNOWN,
        b"Host: up:8000",
        b"Accept: */*",
        b"MCP-Protocol-Version: 2025-11-25",
        b"",
        b"",
    ]
    body = b'{"resource":"http://up:8000/mcp"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: no-store\r\n\r\n" % len(body)
    setup.say(head + body[:9])
    setup.say(body[9:])
    assert setup.reply.json == {"resource": "http://own/files/mcp"}
    assert setup.reply.header(b"Cache-Control") == b"no-store"
    assert setup.reply.is_complete


@on_fake_time
async def test_the_root_is_asked_where_the_path_has_none() -> None:
    setup = Setup()
    await setup.ask()
    setup.heard()
    setup.say(NOT_FOUND)
    await settle()
    assert setup.heard()[0] == b"GET %b HTTP/1.1" % WELL_KNOWN
    setup.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert setup.reply.json == {}


@pytest.mark.parametrize("status", [b"404 Not Found", b"405 Method Not Allowed", b"500 Oops"])
@on_fake_time
async def test_a_server_without_metadata_says_so_itself(status: bytes) -> None:
    setup = Setup("http://up:8000")
    await setup.ask()
    setup.say(NOT_FOUND.replace(b"404 Not Found", status))
    assert setup.reply.status == int(status[:3])
    assert setup.reply.body == b"no"


@on_fake_time
async def test_a_server_that_cannot_be_reached_is_a_502() -> None:
    setup = Setup()
    setup.refusal = ConnectionRefusedError(111, "Connection refused")
    await setup.ask()
    assert setup.reply.status == 502
    assert setup.reply.json["error"]["code"] == -32000


@on_fake_time
async def test_metadata_without_end_is_not_collected() -> None:
    setup = Setup()
    await setup.ask()
    setup.say(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1024 * 1024)
    assert setup.client.sent == b""
    setup.say(b"x")
    await settle()
    assert setup.reply.status == 502
    assert setup.connections[0].is_closing()


@on_fake_time
async def test_a_client_that_leaves_ends_the_question() -> None:
    setup = Setup()
    await setup.ask()
    setup.client.lose(None)
    await settle()
    assert setup.connections[0].is_closing()
    assert setup.under_way == set()


@on_fake_time
async def test_a_server_that_does_not_reply_is_a_504() -> None:
    setup = Setup()
    await setup.ask()
    await asyncio.sleep(4)
    assert setup.client.sent == b""
    await asyncio.sleep(2)
    assert setup.reply.status == 504
    assert setup.reply.json["error"]["code"] == -32001
    assert setup.connections[0].is_closing()
    assert setup.under_way == set()


@on_fake_time
async def test_the_end_of_the_exporter_is_a_502() -> None:
    setup = Setup()
    await setup.ask()
    (relay,) = setup.under_way
    relay.give_up("is given up: the exporter is stopping")
    assert setup.reply.status == 502
    assert setup.under_way == set()


@on_fake_time
async def test_metadata_that_is_nested_too_deep_to_be_read_passes_as_it_is() -> None:
    setup = Setup()
    await setup.ask()
    body = b'{"resource":"http://up:8000/mcp","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    setup.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert setup.reply.body == body
    assert setup.under_way == set()

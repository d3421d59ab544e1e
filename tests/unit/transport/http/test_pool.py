"""The client side of HTTP/1.1: a request is sent once, and its reply arrives whole or is lost."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol.failures import Fault, UpstreamError
from exporter.transport.http.connector import Connector
from exporter.transport.http.head import Headers, ReplyHead
from exporter.transport.http.pool import KEEP_IDLE, MAX_HEAD, PendingRequest, Pool
from tests.support.fakes import FullTurn, Network, on_fake_time, settle, virtual_loop

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Reader:
    """Takes a reply, and checks that its parts come in order."""

    def __init__(self) -> None:
        self.status = 0
        self.reason = b""
        self.headers: Headers = []
        self.text = b""
        self.events: list[str] = []
        self.error: UpstreamError | None = None

    def head(self, head: ReplyHead) -> None:
        assert {"head", "body"}.isdisjoint(self.events)
        self.status, self.reason, self.headers = head.status, head.reason, head.headers
        self.events.append("head")

    def body(self, data: bytes) -> None:
        assert "head" in self.events
        assert not self.is_over
        self.text += data
        self.events.append("body")

    def flush(self) -> None:
        assert not self.is_over
        self.events.append("flush")

    def end(self) -> None:
        assert not self.is_over
        self.events.append("end")

    def lost(self, error: UpstreamError) -> None:
        assert not self.is_over
        self.error = error
        self.events.append("lost")

    @property
    def is_over(self) -> bool:
        return bool({"end", "lost"} & set(self.events))


class Broken(Reader):
    """Fails in itself."""

    def head(self, head: ReplyHead) -> None:
        raise AttributeError(head)


class Upstream(Network):
    """A pool, and the server's side of its connections."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = Pool("http://server:8000/mcp", self.loop)

    async def send(self) -> tuple[Reader, PendingRequest]:
        reader = Reader()
        flight = self.pool.send(REQUEST, reader)
        if not self.delay:
            await settle()
        return reader, flight

    async def exchange(
        self, reply: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    ) -> Reader:
        reader, _ = await self.send()
        self.say(reply)
        assert reader.is_over
        return reader


@on_fake_time
async def test_a_reply_comes_in_pieces_as_they_arrive() -> None:
    net = Upstream()
    reader, flight = await net.send()
    assert net.connections[0].take() == REQUEST
    net.say(b"HTTP/1.1 200 Fine\r\nContent-Length: 6\r\nA: 1\r\na: 2\r\n\r\nabc")
    assert (reader.status, reader.reason, reader.text) == (200, b"Fine", b"abc")
    assert reader.headers[1:] == [(b"A", b"1"), (b"a", b"2")]
    assert reader.events == ["head", "body", "flush"]
    net.say(b"def")
    assert reader.text == b"abcdef"
    assert reader.events[-1] == "end"
    assert flight.done


@given(st.lists(st.integers(0, 200), max_size=10))
def test_it_does_not_matter_how_a_reply_is_cut(cuts: list[int]) -> None:
    stream = (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
        b"3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\nTrailer: z\r\n\r\n"
    )

    @on_fake_time
    async def run() -> None:
        net = Upstream()
        reader, _ = await net.send()
        places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
        for start, end in pairwise(places):
            if start < end:
                net.say(stream[start:end])
        assert (reader.status, reader.text) == (200, b"abcdefgh")
        assert (b"X", b"y") in reader.headers
        assert reader.events[-1] == "end"
        assert len(net.connections) == 1
        await net.exchange()
        assert len(net.connections) == 1

    run()


@on_fake_time
async def test_a_kept_connection_is_used_again() -> None:
    net = Upstream()
    for _ in range(3):
        await net.exchange()
    assert len(net.connections) == 1
    assert net.connections[0].sent == REQUEST * 3


@on_fake_time
async def test_two_requests_at_a_time_take_two_connections() -> None:
    net = Upstream()
    first, _ = await net.send()
    second, _ = await net.send()
    assert len(net.connections) == 2
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", 0)
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2", 1)
    assert (first.text, second.text) == (b"1", b"2")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
@on_fake_time
async def test_a_connection_that_the_server_will_not_keep_is_closed(reply: bytes) -> None:
    net = Upstream()
    reader = await net.exchange(reply)
    assert reader.events[-1] == "end"
    assert net.connections[0].is_closing()
    await net.exchange()
    assert len(net.connections) == 2


@on_fake_time
async def test_an_old_server_may_keep_its_connection() -> None:
    net = Upstream()
    await net.exchange(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n")
    await net.exchange()
    assert len(net.connections) == 1


@on_fake_time
async def test_a_connection_is_given_up_before_the_server_may_close_it() -> None:
    net = Upstream()
    await net.exchange()
    await asyncio.sleep(KEEP_IDLE + 0.1)
    await net.exchange()
    assert len(net.connections) == 2
    assert net.connections[0].is_closing()


@on_fake_time
async def test_what_is_kept_can_be_dropped_without_what_is_in_use() -> None:
    net = Upstream()
    waiting, _ = await net.send()
    await net.exchange()
    net.pool.drop_idle()
    assert [connection.is_closing() for connection in net.connections] == [False, True]
    await net.exchange()
    assert len(net.connections) == 3
    assert not waiting.is_over


@on_fake_time
async def test_a_connection_that_the_server_closed_is_not_used_again() -> None:
    net = Upstream()
    await net.exchange()
    net.connections[0].end()
    reader, _ = await net.send()
    assert len(net.connections) == 2
    assert not reader.is_over
    assert net.connections[0].sent == REQUEST
    assert net.connections[1].sent == REQUEST


@on_fake_time
async def test_a_request_whose_connection_is_lost_is_not_sent_again() -> None:
    net = Upstream()
    await net.exchange()
    reader, flight = await net.send()
    net.connections[0].lose(ConnectionResetError("reset by peer"))
    await settle()
    assert reader.error is not None
    assert reader.error.fault is Fault.CONNECTION
    assert "before the reply was complete" in str(reader.error)
    assert flight.done
    assert len(net.connections) == 1


@on_fake_time
async def test_interim_replies_are_passed_over() -> None:
    net = Upstream()
    reader, _ = await net.send()
    net.say(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert reader.events == ["flush"]
    net.say(b"HTTP/1.1 103 Early Hints\r\nA: 1\r\n\r\nHTTP/1.1 204 No Content\r\nB: 2\r\n\r\n")
    assert (reader.status, reader.headers) == (204, [(b"B", b"2")])
    assert reader.events[-1] == "end"


@on_fake_time
async def test_a_switch_of_protocols_is_no_reply() -> None:
    net = Upstream()
    reader, _ = await net.send()
    net.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert reader.error is not None
    assert reader.error.fault is Fault.PROTOCOL
    assert net.connections[0].is_closing()


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@on_fake_time
async def test_a_reply_that_can_have_no_body_ends_with_its_head(status: bytes) -> None:
    net = Upstream()
    reader = await net.exchange(b"HTTP/1.1 " + status + b"\r\n\r\n")
    assert reader.events[-1] == "end"
    await net.exchange()
    assert len(net.connections) == 1


@pytest.mark.parametrize("is_given_up", [False, True])
@pytest.mark.parametrize("refusal", [None, ConnectionRefusedError()])
@on_fake_time
async def test_where_many_are_lost_at_once_each_is_told_in_its_turn(
    refusal: OSError | None, is_given_up: bool
) -> None:
    net = Upstream()
    net.pool.turn = turn = FullTurn(net.loop)
    net.refusal = refusal
    reader, flight = await net.send()
    if refusal is None:
        net.connections[0].lose(ConnectionResetError())
        await settle()
    assert not reader.is_over
    if is_given_up:
        flight.abort()
    turn.go()
    assert reader.is_over is not is_given_up
    assert flight.done


@on_fake_time
async def test_a_body_without_length_ends_with_the_connection() -> None:
    net = Upstream()
    reader, _ = await net.send()
    net.say(b"HTTP/1.1 200 OK\r\n\r\nabc")
    net.say(b"def")
    assert not reader.is_over
    net.connections[0].end()
    await settle()
    assert reader.text == b"abcdef"
    assert reader.events[-1] == "end"


@on_fake_time
async def test_a_body_without_length_that_is_reset_is_lost() -> None:
    net = Upstream()
    reader, _ = await net.send()
    net.say(b"HTTP/1.1 200 OK\r\n\r\nabc")
    net.connections[0].lose(ConnectionResetError())
    await settle()
    assert reader.error is not None


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
@on_fake_time
async def test_a_reply_that_is_cut_short_is_lost(reply: bytes) -> None:
    net = Upstream()
    reader, _ = await net.send()
    if reply:
        net.say(reply)
    net.connections[0].end()
    await settle()
    assert reader.error is not None
    assert reader.error.fault is Fault.CONNECTION
    assert reader.events[-1] == "lost"


@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x01\x00\x02\x02",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
@on_fake_time
async def test_what_is_not_http_is_a_fault_of_protocol(reply: bytes) -> None:
    net = Upstream()
    reader, _ = await net.send()
    net.say(reply)
    assert reader.error is not None
    assert reader.error.fault is Fault.PROTOCOL
    assert net.connections[0].is_aborted


@on_fake_time
async def test_a_server_that_speaks_out_of_turn_is_not_used_again() -> None:
    net = Upstream()
    await net.exchange()
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nunasked")
    reader, _ = await net.send()
    assert len(net.connections) == 2
    assert not reader.is_over


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"])
@on_fake_time
async def test_what_follows_a_reply_is_never_taken_for_another_one(extra: bytes) -> None:
    net = Upstream()
    first = await net.exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1" + extra)
    assert first.text == b"1"
    assert first.error is None
    await settle()
    second, _ = await net.send()
    third, _ = await net.send()
    assert len(net.connections) == 3, "a connection that is out of step must not be reused"
    assert not second.is_over
    assert not third.is_over


@on_fake_time
async def test_a_server_that_cannot_be_reached_loses_the_request() -> None:
    net = Upstream()
    net.refusal = ConnectionRefusedError(111, "Connection refused")
    reader, flight = await net.send()
    assert reader.events == ["lost"]
    assert reader.error is not None
    assert "cannot be reached" in str(reader.error)
    assert "refused" in str(reader.error)
    assert flight.done


@on_fake_time
async def test_a_server_that_does_not_answer_the_call_loses_the_request() -> None:
    net = Upstream()
    net.delay = 3600
    reader, _ = await net.send()
    await asyncio.sleep(9)
    assert not reader.is_over
    await asyncio.sleep(2)
    assert str(reader.error) == "cannot be reached: no connection within 10 s"


@on_fake_time
async def test_a_request_that_is_given_up_is_heard_of_no_more() -> None:
    net = Upstream()
    reader, flight = await net.send()
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    flight.abort()
    flight.abort()
    await settle()
    assert net.connections[0].is_aborted
    assert not reader.is_over
    assert net.pool.live == set()


@on_fake_time
async def test_a_request_may_be_given_up_before_it_was_sent() -> None:
    net = Upstream()
    net.delay = 1
    reader, flight = await net.send()
    flight.abort()
    await asyncio.sleep(5)
    assert reader.events == []
    assert net.connections == []


@on_fake_time
async def test_giving_up_what_is_over_leaves_the_connection_alone() -> None:
    net = Upstream()
    _, flight = await net.send()
    net.say(b"HTTP/1.1 204 No Content\r\n\r\n")
    await net.send()
    flight.abort()
    flight.pause(True)
    await settle()
    assert not net.connections[0].is_closing()
    assert not net.connections[0].is_paused


@on_fake_time
async def test_the_pace_of_the_client_is_that_of_the_server() -> None:
    net = Upstream()
    _, flight = await net.send()
    for paused in (True, True, False, False, True):
        flight.pause(paused)
        assert net.connections[0].is_paused is paused
    net.say(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert not net.connections[0].is_paused


FULL = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 200_000


@on_fake_time
async def test_after_a_full_read_others_have_their_turn() -> None:
    net = Upstream()
    await net.send()
    net.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\nx")
    assert not net.connections[0].is_paused
    net.say(b"x" * 200_000)
    assert net.connections[0].is_paused
    await settle()
    assert not net.connections[0].is_paused


@on_fake_time
async def test_a_client_that_is_slow_meanwhile_is_waited_for() -> None:
    net = Upstream()
    _, flight = await net.send()
    net.say(FULL)
    flight.pause(True)
    await settle()
    assert net.connections[0].is_paused
    flight.pause(False)
    assert not net.connections[0].is_paused


@on_fake_time
async def test_a_request_that_is_given_up_after_a_full_read_reads_no_more() -> None:
    net = Upstream()
    _, flight = await net.send()
    net.say(FULL)
    flight.abort()
    await settle()
    assert net.connections[0].is_aborted


@on_fake_time
async def test_close_ends_idle_connections_and_loses_what_is_under_way() -> None:
    net = Upstream()
    await net.exchange()
    reader, _ = await net.send()
    other, _ = await net.send()
    net.say(b"HTTP/1.1 204 No Content\r\n\r\n", 1)
    net.pool.close()
    await settle()
    assert all(connection.is_closing() for connection in net.connections)
    assert reader.events == ["lost"]
    assert other.events[-1] == "end"


@pytest.mark.parametrize(
    ("url", "target", "authority"),
    [
        ("http://server:8000/mcp", b"/mcp", b"server:8000"),
        ("http://server", b"/", b"server"),
        ("http://server/a%20b/?k=v&w", b"/a%20b/?k=v&w", b"server"),
        ("https://user:secret@server:8443/mcp", b"/mcp", b"server:8443"),
        ("http://[::1]:80/mcp", b"/mcp", b"[::1]:80"),
        ("http://bücher.example/mcp", b"/mcp", b"xn--bcher-kva.example"),
    ],
)
@on_fake_time
async def test_a_url_says_where_to_and_what_for(url: str, target: bytes, authority: bytes) -> None:
    pool = Pool(url, virtual_loop())
    assert (pool.target, pool.authority) == (target, authority)


# Sockets

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


async def over_sockets(serve: Serve, requests: int) -> list[Reader]:
    """Send requests one after the other to a server on loopback."""
    served: list[asyncio.Task[None]] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(cast("asyncio.Task[None]", asyncio.current_task()))
        await serve(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = Pool(f"http://127.0.0.1:{port}/mcp", asyncio.get_running_loop())
    readers = []
    for _ in range(requests):
        reader = Waiting()
        pool.send(REQUEST, reader)
        async with asyncio.timeout(10):
            await reader.over.wait()
        readers.append(reader)
    pool.close()
    server.close()
    await asyncio.gather(*served)
    return list(readers)


class Waiting(Reader):
    """A reader that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    def end(self) -> None:
        super().end()
        self.over.set()

    def lost(self, error: UpstreamError) -> None:
        super().lost(error)
        self.over.set()


def test_replies_come_over_a_real_connection() -> None:
    served = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(1000):
            served.append(request)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    readers = asyncio.run(over_sockets(serve, 3))
    assert [reader.text for reader in readers] == [b"ok"] * 3
    assert served == [REQUEST] * 3


def test_a_real_connection_that_is_reset_loses_its_request_alone() -> None:
    served = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        served.append(1)
        if len(served) == 1:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            writer.transport.abort()
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    readers = asyncio.run(over_sockets(serve, 2))
    assert [reader.events[-1] for reader in readers] == ["lost", "end"]


def test_nobody_listening_is_said_so() -> None:
    async def run() -> Waiting:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        reader = Waiting()
        Pool(f"http://127.0.0.1:{port}", asyncio.get_running_loop()).send(REQUEST, reader)
        async with asyncio.timeout(10):
            await reader.over.wait()
        return reader

    assert "cannot be reached" in str(asyncio.run(run()).error)


# Heads that were seen before

KNOWN = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\n"


FIELDS = st.sampled_from([b"X: y", b"Mcp-Session-Id: s"])


@given(
    st.lists(st.tuples(FIELDS, st.sampled_from([b"abc", b"def"]), st.integers(0, 70)), max_size=8)
)
def test_a_reply_arrives_the_same_whether_its_head_is_known_or_not(
    replies: list[tuple[bytes, bytes, int]],
) -> None:
    @on_fake_time
    async def run() -> None:
        net = Upstream()
        for field, body, cut in replies:
            reader, flight = await net.send()
            text = KNOWN.replace(b"X: y", field) + body
            for piece in (text[:cut], text[cut:]):
                if piece:
                    net.say(piece)
            assert (reader.status, reader.reason, reader.text) == (200, b"OK", body)
            assert reader.headers == [(b"Content-Length", b"3"), tuple(field.split(b": "))]
            assert reader.events[-1] == "end"
            assert flight.done
        assert len(net.connections) <= 1

    run()


@on_fake_time
async def test_a_head_that_is_known_goes_past_the_parser() -> None:
    net = Upstream()
    await net.exchange(KNOWN + b"abc")
    (connection,) = net.pool.live
    connection._parser = cast("Any", None)
    assert (await net.exchange(KNOWN + b"def")).text == b"def"


@pytest.mark.parametrize("rest", [b"abcd", KNOWN + b"abc"])
@on_fake_time
async def test_what_follows_a_known_reply_unasked_costs_the_connection(rest: bytes) -> None:
    net = Upstream()
    await net.exchange(KNOWN + b"abc")
    reader = await net.exchange(KNOWN + b"abc" + rest)
    assert reader.text == b"abc"
    await settle()
    assert net.connections[0].is_closing()


@on_fake_time
async def test_a_known_head_of_a_connection_that_closes_is_not_kept() -> None:
    net = Upstream()
    closing = KNOWN.replace(b"X: y", b"Connection: close")
    for _ in range(2):
        assert (await net.exchange(closing + b"abc")).text == b"abc"
        assert net.connections[-1].is_closing()


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
    ],
    ids=["header", "reason", "trailer"],
)
@on_fake_time
async def test_one_part_of_a_head_without_an_end_is_given_up(begin: bytes) -> None:
    net = Upstream()
    reader, _ = await net.send()
    net.say(begin)
    for _ in range(MAX_HEAD // 65536 + 1):
        if not reader.is_over:
            net.say(65536 * b"y")
    assert "a head of more than" in str(reader.error)
    assert net.connections[0].is_aborted


@pytest.mark.parametrize("status", [b"000 OK", b"105 Odd"])
@on_fake_time
async def test_a_body_never_comes_without_a_head(status: bytes) -> None:
    net = Upstream()
    reader, _ = await net.send()
    net.say(b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" % status)
    assert (reader.status, reader.text) == (0, b"")
    assert "sent what is not HTTP" in str(reader.error)


@on_fake_time
async def test_a_failure_of_our_own_is_not_said_to_be_the_servers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = Upstream()
    reader = Broken()
    setup.pool.send(REQUEST, reader)
    await settle()
    setup.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nok")
    assert reader.error is not None
    assert reader.error.fault is not Fault.PROTOCOL
    assert "the exporter itself failed" in str(reader.error)
    assert [record.message for record in caplog.records] == ["a reply could not be passed on"]
    other, _ = await setup.send()
    setup.connections[-1].lose(AttributeError("our own"))  # as loops do with what a callback raises
    await settle()
    assert "the exporter itself failed" in str(other.error)


@on_fake_time
async def test_what_is_given_up_while_its_connection_opens_is_let_go() -> None:
    class Never(Connector):
        async def connect(self, factory: Callable[[], Any]) -> Any:
            factory()
            await asyncio.get_running_loop().create_future()

    pool = Pool("http://x/mcp", asyncio.get_running_loop(), Never("http://x/mcp"))
    payload = bytes(1000)
    gc.disable()
    try:
        holders = sys.getrefcount(payload)
        pending = pool.send(payload, Reader())
        await settle()
        assert sys.getrefcount(payload) > holders
        pending.abort()
        del pending
        await settle()
        assert sys.getrefcount(payload) == holders
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Transfer-Encoding: gzip, chunked", "the transfer coding 'gzip, chunked'"),
        (b"Transfer-Encoding: gzip", "the transfer coding 'gzip'"),
        (b"\r\n".join([b"a: b"] * 201), "more than 200 headers"),
    ],
)
@on_fake_time
async def test_what_cannot_be_passed_on_is_no_reply(head: bytes, words: str) -> None:
    setup = Upstream()
    reader, _ = await setup.send()
    setup.say(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")
    assert reader.error is not None
    assert reader.error.fault is Fault.PROTOCOL
    assert words in str(reader.error)


@on_fake_time
async def test_a_reply_whose_coding_is_identity_ends_with_its_connection() -> None:
    setup = Upstream()
    reader, _ = await setup.send()
    setup.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nall of it")
    setup.connections[-1].end()
    await settle()
    assert (reader.text, reader.error) == (b"all of it", None)

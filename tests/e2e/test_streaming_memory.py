"""A reply of any size flows through in constant memory, at the pace of its reader."""

from __future__ import annotations

import itertools
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import raw_server
from tests.support.exporting import Exporter, exporter
from tests.support.raw_client import ACCEPTED, PATIENCE, Reply, ask, open_reply
from tests.support.raw_server import Received, head
from tests.support.running import wait_for

pytestmark = pytest.mark.alone

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE
MOST_IN_MEMORY = 32 * MEBIBYTE
# What may lie between a server and a client that does not read: the buffers of four sockets, which
# Linux lets grow to 6 MiB, and those of the exporter.
MOST_UNDER_WAY = 64 * MEBIBYTE
STANDSTILL = 0.5
"""Seconds without a byte that are taken for a standstill; too few only make the test milder."""

PING = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
START, END = b'{"jsonrpc":"2.0","id":1,"result":{"t":"', b'"}}'
NOTICE = b'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"data":"'
FILLER = bytes(range(0x23, 0x5B)) * (MEBIBYTE // 0x38)


class Source:
    """Writes a large reply, and knows how far it has come."""

    def __init__(self, kind: str, pieces: Iterator[bytes]) -> None:
        self.sent = 0
        self.checksum = 0
        self._kind = kind
        self._pieces = pieces
        self._moved = threading.Event()

    def __call__(self, _: Received) -> Iterator[bytes]:
        yield head(200, f"Content-Type: {self._kind}", "Transfer-Encoding: chunked")
        for piece in self._pieces:
            yield b"%x\r\n" % len(piece) + piece + b"\r\n"
            self.sent += len(piece)
            self.checksum = zlib.crc32(piece, self.checksum)
        yield b"0\r\n\r\n"

    def wait_for_standstill(self) -> None:
        """Wait until nobody takes anything of it any more."""
        before = -1
        while before != self.sent:
            before = self.sent
            time.sleep(STANDSTILL)


def one_message(size: int) -> Iterator[bytes]:
    """One JSON text."""
    yield START
    yield from itertools.repeat(FILLER, size // len(FILLER) + 1)
    yield END


def many_events(size: int) -> Iterator[bytes]:
    """Many notifications, the first of a quarter of the size, and then the reply."""
    yield NOTICE
    yield from itertools.repeat(FILLER, size // 4 // len(FILLER))
    yield END + b"\n\n"
    for _ in range(size * 3 // 4 // len(FILLER) + 1):
        yield NOTICE + FILLER + END + b"\n\n"
    yield b"data: " + START + END + b"\n\n"


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [("application/json", one_message), ("text/event-stream", many_events)],
    ids=["one message", "a stream of events"],
)
def test_a_reply_of_1_gb_flows_through_in_constant_memory_at_its_readers_pace(
    tmp_path: Path, kind: str, pieces: object
) -> None:
    assert callable(pieces)
    source = Source(kind, pieces(GIBIBYTE))
    with (
        raw_server.serving(lambda _: raw_server.whole(200, START + END)) as server,
        exporter(tmp_path, {"large": {"url": server.url}}) as running,
    ):
        warm_up(running)
        server.script = source
        running.forget_peak()
        before = running.status("VmHWM")
        size, checksum = read_slowly(running.url("large"), source)
        raised = running.status("VmHWM") - before
        assert (size, checksum) == (source.sent, source.checksum)
        assert size > GIBIBYTE
        assert raised < MOST_IN_MEMORY
        # The client has its last byte before the copy of it was read.
        wait_for(lambda: running.scrape().outcomes("large") == {"ok": 3}, 60, "all are counted")
        scrape = running.scrape()
        labels = {"server": "large", "reason": "too_large"}
        assert scrape.total("mcp_exporter_unparsed_messages_total", **labels) == 1
        carried = {"server": "large", "direction": "to_client"}
        assert scrape.total("mcp_message_bytes_total", **carried) > size


def warm_up(running: Exporter) -> None:
    """Have it load and allocate what any request needs."""
    replies: list[Reply] = [ask(running.url("large"), PING, ACCEPTED) for _ in range(2)]
    assert {reply.status for reply in replies} == {200}
    running.scrape()


def read_slowly(url: str, source: Source) -> tuple[int, int]:
    """Read nothing until all stands still, twice, and then the rest; its size and checksum."""
    size = checksum = 0
    buffer = memoryview(bytearray(MEBIBYTE))
    with open_reply(url, PING, ACCEPTED, patience=2 * PATIENCE) as reply:
        for pause in (True, True, False):
            if pause:
                source.wait_for_standstill()
                assert source.sent - size < MOST_UNDER_WAY
            until = size + 100 * MEBIBYTE
            while (pause and size < until) or not pause:
                count = reply.readinto(buffer)
                if not count:
                    break
                checksum = zlib.crc32(buffer[:count], checksum)
                size += count
    return size, checksum

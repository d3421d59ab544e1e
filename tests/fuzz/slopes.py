"""What a byte costs the readers at worst: ``python -m tests.fuzz.slopes``.

Each reader gets megabytes of what makes it work hardest. What is told is processor time, for the
whole and for the worst turn of the loop (what comes by one read from the network), and the exit
code is 1 where a byte costs more than 50 ns, or a turn more than 100 ms.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from functools import partial
from time import thread_time

from exporter.protocol import jsonrpc, trace_context
from exporter.protocol.tool_page import read_tools
from exporter.relay.http.endpoint import EndpointRewriter
from exporter.relay.http.reply_reader import EventBudget, reader_of
from exporter.telemetry.exchange import Exchange
from tests.support.fakes import Telemetry

MEBIBYTE = 1024 * 1024
TURN = 256 * 1024
"""Bytes that one read from the network brings at most."""

MOST = 50.0
"""Nanoseconds a byte."""

MOST_IN_A_TURN = 100.0
"""Milliseconds: everybody else waits for so long."""

TRIFLES = [b"1,", b'"",', b"{},", b'{"id":1,"params":1},', b'{"method":"a"},', b'{"a":"\\ud800"},']
EVENTS = [
    b"\n",
    b"\r",
    b":\n",
    b"a\n\n",
    b"id\n\n",
    b"data:1\n",
    b"data:1\n\n",
    b"x",
    b"data: [1]\n\n",
]


def filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


def odd(unit: bytes) -> bytes:
    return b'{"id":1,"result":{"isError":5,"x":[' + filled(unit, 8 * MEBIBYTE) + b"1]}}"


class Consumer:
    """Observes what a reply says, as a relay does."""

    limit = 8 * MEBIBYTE

    def __init__(self) -> None:
        telemetry = Telemetry()
        self._observer, self._exchange = telemetry.observer, Exchange(telemetry.recorder)

    def message(self, data: bytes, now: float) -> None:
        self._observer.server_sent(self._exchange, data, (), now)

    def event_id(self) -> None:
        pass

    def unread(self, reason: str) -> None:
        self._observer.recorder.unparsed(reason)


def turns(data: bytes, feed: Callable[[bytes], object]) -> tuple[float, float]:
    """Feed it in pieces; return the nanoseconds a byte, and the milliseconds of the worst turn."""
    spent = []
    for start in range(0, len(data), TURN):
        begun = thread_time()
        feed(data[start : start + TURN])
        spent.append(thread_time() - begun)
    return sum(spent) / len(data) * 1e9, max(spent) * 1000


def whole(data: bytes, read: Callable[[bytes], object]) -> tuple[float, float]:
    """Read it at once."""
    begun = thread_time()
    read(data)
    spent = thread_time() - begun
    return spent / len(data) * 1e9, spent * 1000


def stream(unit: bytes, *, packed: bool = False) -> tuple[float, float]:
    """An event stream; packed, what counts is the byte that is inflated."""
    return events(filled(unit, 16 * MEBIBYTE), packed=packed)


def one_event(line: bytes) -> tuple[float, float]:
    """One event of many lines, read when its last byte has come."""
    return events(filled(line, Consumer.limit - MEBIBYTE) + b"\n\n", packed=False)


def events(data: bytes, *, packed: bool) -> tuple[float, float]:
    reader = reader_of(Consumer(), EventBudget(), b"gzip" if packed else b"", is_stream=True)
    sent = gzip.compress(data) if packed else data
    a_byte, worst = turns(sent, lambda piece: reader.feed(piece, 1.0))
    return a_byte * len(sent) / len(data), worst


def rows() -> dict[str, tuple[float, float]]:
    found = {}
    for unit in TRIFLES:
        batch = b"[" + filled(unit, jsonrpc.LONGEST_BATCH - 10) + b"1]"
        found[f"batch of {unit!r}"] = whole(batch, jsonrpc.read_all)
        found[f"odd message with {unit!r}"] = whole(odd(unit), jsonrpc.read)
        found[f"members beside {unit!r}"] = whole(odd(unit), jsonrpc.members)
    for unit in (rb"\ud83d\ude00", rb"\n", b"9"):
        for form in (
            b'{"id":1,"result":"%b"}',
            b'{"id":1,"result":{"serverInfo":{"name":5,"x":"%b"}}}',
        ):
            found[f"odd {form!r} with {unit!r}"] = whole(
                form % filled(unit, 8 * MEBIBYTE), jsonrpc.read
            )
    emoji = filled(rb"\ud83d\ude00", 8 * MEBIBYTE)
    listing = b'{"id":1,"result":{"tools":[{"name":"a","description":"%b"}]}}' % emoji
    found["a listing of emoji"] = whole(listing, read_tools)
    halves = b'{"id":1,"result":{"x":"' + filled(rb"\ud800", 8 * MEBIBYTE) + b'"}}'
    found["halves of characters"] = whole(halves, jsonrpc.read)
    found["halves, members"] = whole(halves, jsonrpc.members)
    contexts = [f"00-{1:032x}-{number:016x}-01" for number in range(1, jsonrpc.BATCH + 1)]
    for unit in (b"0", b"00-", contexts[0].encode()):
        body, ours = filled(unit, 4 * MEBIBYTE), contexts[0]
        one = partial(trace_context.exchange, context=contexts[-1], other=ours)
        found[f"a context in {unit!r}"] = whole(body, one)
        all_of_them = partial(trace_context.exchange_all, others=dict.fromkeys(contexts, ours))
        found[f"{len(contexts)} contexts in {unit!r}"] = whole(body, all_of_them)
    for unit in EVENTS:
        found[f"events {unit!r}"] = stream(unit)
        found[f"packed events {unit!r}"] = stream(unit, packed=True)
        found[f"an event of {unit!r}"] = one_event(unit.strip(b"\n") + b"\n")
        rewriter = EndpointRewriter(lambda _: None)
        data = filled(b"event: endpoint\n" + unit, 4 * MEBIBYTE)
        found[f"endpoints with {unit!r}"] = turns(data, rewriter.feed)
    return found


def main() -> int:
    found = rows()
    for name, (a_byte, worst) in sorted(found.items(), key=lambda row: -row[1][0]):
        sys.stdout.write(f"{a_byte:7.1f} ns a byte, {worst:7.1f} ms in a turn: {name}\n")
    a_byte, worst = (max(column) for column in zip(*found.values(), strict=True))
    return int(a_byte > MOST or worst > MOST_IN_A_TURN)


if __name__ == "__main__":
    sys.exit(main())

"""What it costs to record one call: ``python -m bench.scenarios.recording`` says seconds as JSON.

A request and its reply, read already, go through the exchange into the metrics, with all that is
counted on the way: in flight, duration, outcome, bytes, time inside the exporter.

What is said is the least of many short turns. Whoever else uses the same core makes a program
slower, often twice as slow for seconds, and never faster.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from time import thread_time

from bench.load.messages import FIRST_ID, Talk
from bench.servers.answers import answer
from exporter.protocol.jsonrpc import Message, read
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.recorder import ServerRecorder

CALLS = 2_000
TURNS = 90


def main() -> None:
    recorder = ServerRecorder(Metrics.throwaway(), "bench", "http")
    recorder.listed(dict.fromkeys(Talk().names, b"{}"))
    exchange = Exchange(recorder)
    _, head, tail = Talk().bodies()[0]
    call = head + b"%d" % FIRST_ID + tail
    result = answer(call)[0]
    asked, answered = one(call), one(result)
    record(exchange, recorder, asked, answered, len(call), len(result))
    gc.collect()
    times = [
        record(exchange, recorder, asked, answered, len(call), len(result)) for _ in range(TURNS)
    ]
    found = {"recording": min(times), "reading": min(reading(call, result) for _ in range(TURNS))}
    sys.stdout.write(json.dumps(found))


def more_with_tracing(spent: Callable[[bool], float]) -> float:
    """How much more is spent with tracing than without, which take turns."""
    gc.collect()
    turns = [(spent(True), spent(False)) for _ in range(TURNS)]
    return min(traced for traced, _ in turns) - min(untraced for _, untraced in turns)


def one(data: bytes) -> Message:
    message = read(data)
    if message is None:
        raise ValueError(f"no message: {data!r}")
    return message


def record(
    exchange: Exchange,
    recorder: ServerRecorder,
    asked: Message,
    answered: Message,
    sent: int,
    received: int,
) -> float:
    """Seconds of processor time a call."""
    began = thread_time()
    for _ in range(CALLS):
        pending = exchange.begin(asked, 1.0)
        recorder.carried(sent, to_server=True)
        recorder.carried(received, to_server=False)
        exchange.finish(pending, answered, received, 1.001)
        recorder.spent(0.0001)
    return (thread_time() - began) / CALLS


def reading(call: bytes, result: bytes) -> float:
    """Seconds to read the request and the reply of a call."""
    began = thread_time()
    for _ in range(CALLS):
        read(call)
        read(result)
    return (thread_time() - began) / CALLS


if __name__ == "__main__":
    main()

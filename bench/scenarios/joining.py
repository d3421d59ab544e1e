"""What a join costs the thread that relays: ``python -m bench.scenarios.joining``.

Says as JSON how many seconds of processor time a call of 300 bytes takes more, where its server is
told of the exporter's span, than with tracing off. Both spans are encoded, and thrown away.
"""

from __future__ import annotations

import json
import sys
from time import thread_time
from typing import cast

from bench.load.messages import FIRST_ID, Talk
from bench.scenarios.recording import CALLS, more_with_tracing, one
from bench.scenarios.recording_spans import Nowhere
from bench.servers.answers import answer
from exporter.config.model import TracingSettings
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.observer import Observer
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.spans.details import Peer
from exporter.telemetry.spans.joiner import Joiner
from exporter.telemetry.spans.otlp import OtlpEncoder
from exporter.telemetry.spans.tracer import Tracer
from exporter.transport.http.head import RequestHead
from exporter.transport.http.request import Request
from exporter.transport.http.response import Response, ResponseSink
from tests.support.fakes import FakeEvents

LENGTH = 300
"""Bytes of a request."""

CONTEXT = f"00-{'a' * 32}-{'b' * 16}-01"
KINDS = {
    "joined in the message": (Talk(trace_flags="01"), None),
    "joined in the header": (Talk(), CONTEXT),
}
"""What is called, and the context of its header."""


def main() -> None:
    sys.stdout.write(json.dumps({name: more(*kind) for name, kind in KINDS.items()}))


def more(talk: Talk, header: str | None) -> float:
    """Seconds of processor time more a call with tracing.

    Raises ``ValueError`` where a call was not joined: that would cost less.
    """
    metrics = Metrics.throwaway()
    recorder = ServerRecorder(metrics, "bench", "http")
    recorder.listed(dict.fromkeys(talk.names, b"{}"))
    joiner = Joiner(metrics.tracing, metrics.spans, True, Peer("127.0.0.1", 8000))
    observer = Observer(recorder, FakeEvents(recorder), joiner)
    settings = TracingSettings("", per_second=0, propagate=True)
    tracer = Tracer(settings, OtlpEncoder({}, "0"), Nowhere(), metrics.spans)
    body = call(talk)

    def spent(traced: bool) -> float:
        metrics.tracing.tracer = tracer if traced else None
        return relay(observer, body, header)

    spent(True)
    joined = metrics.spans.joins["joined"].value
    if joined != CALLS:
        raise ValueError(f"{joined:g} of {CALLS} calls were joined")
    return more_with_tracing(spent)


def call(talk: Talk) -> bytes:
    """A call of just ``LENGTH`` bytes."""
    _, head, tail = talk.bodies()[0]
    body = head + b"%d" % FIRST_ID + tail
    return body.replace(b'"hello"', b'"hello%b"' % (b"o" * (LENGTH - len(body))))


def relay(observer: Observer, body: bytes, header: str | None) -> float:
    """Seconds of processor time a call, from its request to its reply, each read already."""
    exchange, recorder = Exchange(observer.recorder), observer.recorder
    asked, result = [one(body)], answer(body)[0]
    answered, received = one(result), len(result)
    # What a request with a known head is.
    request = Request(Response(cast("ResponseSink", None)), cast("RequestHead", object()))
    began = thread_time()
    for _ in range(CALLS):
        request.body, request.traceparent = body, header
        pending = observer.client_sent(exchange, asked, len(body), 1.0, header)
        if observer.tracing.tracer is not None:
            observer.trace(request, pending)
        recorder.carried(received, to_server=False)
        exchange.finish(pending[0], answered, received, 1.001)
        recorder.spent(0.0001)
    return (thread_time() - began) / CALLS


if __name__ == "__main__":
    main()

"""What a span costs the thread that relays: ``python -m bench.scenarios.recording_spans``.

Says as JSON how many seconds of processor time a call takes more with tracing on than with it off,
each kind of call beside itself. A span that is kept is encoded too, and thrown away.
"""

from __future__ import annotations

import json
import sys

from bench.load.messages import FIRST_ID, Talk
from bench.scenarios.recording import more_with_tracing, one, record
from bench.servers.answers import answer
from exporter.config.model import TracingSettings
from exporter.telemetry.exchange import Exchange
from exporter.telemetry.metrics import Metrics
from exporter.telemetry.recorder import ServerRecorder
from exporter.telemetry.spans.otlp import OtlpEncoder
from exporter.telemetry.spans.tracer import Tracer

NOTHING = TracingSettings("", sample=0.0, always=frozenset())
EVERYTHING = TracingSettings("", per_second=0)
KINDS = {
    "no context": (Talk(), NOTHING),
    "unsampled": (Talk(trace_flags="00"), NOTHING),
    "sampled": (Talk(trace_flags="01"), EVERYTHING),
}
"""What is called, and how it is traced."""


class Nowhere:
    """Takes every slice of spans."""

    is_full = False

    def put(self, data: bytes, count: int) -> None:
        """Forget it."""


def main() -> None:
    sys.stdout.write(json.dumps({name: more(*kind) for name, kind in KINDS.items()}))


def more(talk: Talk, settings: TracingSettings) -> float:
    """Seconds of processor time more a call with tracing."""
    metrics = Metrics.throwaway()
    recorder = ServerRecorder(metrics, "bench", "http")
    recorder.listed(dict.fromkeys(talk.names, b"{}"))
    exchange = Exchange(recorder)
    _, head, tail = talk.bodies()[0]
    call = head + b"%d" % FIRST_ID + tail
    result = answer(call)[0]
    tracer = Tracer(settings, OtlpEncoder({}, "0"), Nowhere(), metrics.spans)

    def spent(traced: bool) -> float:
        metrics.tracing.tracer = tracer if traced else None
        return record(exchange, recorder, one(call), one(result), len(call), len(result))

    spent(True)
    return more_with_tracing(spent)


if __name__ == "__main__":
    main()

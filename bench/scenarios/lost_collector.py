"""What a collector costs that is not there: one that hangs, and one that nobody listens for.

Exporters with tracing off, before a collector that is stopped, and where there is none take turns,
small calls at 16 sessions, every call kept. The queue is full within seconds: what an hour without
a collector would add is what comes after that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

import msgspec
import psutil

from bench.contenders import Exporter
from bench.load.generator import Job, Measured
from bench.load.scrapes import samples
from bench.load.usage import memory_of
from bench.rounds import execute
from bench.scenarios.tracing import OFF, Traced, p99, plain, ratio, turn
from bench.testbed import Testbed, TestbedError
from tests.support.running import free_address

HANGS, REFUSES = "collector hangs", "no collector"
LOST = (HANGS, REFUSES)
FULL = 'mcp_exporter_spans_dropped_total{reason="queue_full"}'
SECONDS_TO_FILL = 300.0
"""On a slow machine. It takes about one."""

Memory = Mapping[str, float]
Jobs = Mapping[str, Job]


class LostCollectorCost(msgspec.Struct):
    """By what the collector does. Memory in MiB, without what the same calls take untraced."""

    p99: dict[str, float]
    """A share of that with tracing off."""
    full_queue: dict[str, float]
    """Memory with a full queue, more than idle."""
    growth: dict[str, float]
    """Of memory since then."""
    calls: int
    """How many of each there were since then, at least."""
    seconds: float
    """How long that took."""
    busy: list[float]
    """Processors that were busy with other work, for each measurement."""


def measure(
    testbed: Testbed, rounds: int, seconds: float, settling: float, calls: int, longest: float
) -> LostCollectorCost:
    """Measure in as many rounds, and go on until so many calls of each, or for so long."""
    backend, (address, collector) = testbed.backend(testbed.rest), testbed.collector()
    exporters = {
        OFF: Exporter(),
        HANGS: Traced(HANGS, address, per_second=0),
        REFUSES: Traced(REFUSES, free_address(), per_second=0),
    }
    with hanging(collector):
        for exporter in exporters.values():
            exporter.start(testbed, backend)
        time.sleep(settling)
        idle = memory(exporters)
        jobs = {name: each.job(plain(testbed, seconds)) for name, each in exporters.items()}
        fill(exporters, jobs)
        turns: list[dict[str, Measured]] = []
        looks: list[Memory] = []
        began = time.monotonic()
        while len(turns) < rounds or (called(turns) < calls and time.monotonic() - began < longest):
            turns.append(turn(jobs, len(turns)))
            looks.append(memory(exporters))
    full, last = middle(looks[:rounds]), middle(looks[-rounds:])
    return LostCollectorCost(
        p99={name: ratio(turns, name, OFF, p99) for name in LOST},
        full_queue=more(idle, full),
        growth=more(full, last),
        calls=called(turns),
        seconds=time.monotonic() - began,
        busy=[measured.other for each in turns for measured in each.values()],
    )


@contextmanager
def hanging(process: int) -> Iterator[None]:
    """Let a process take connections, for the system does that, and say nothing."""
    collector = psutil.Process(process)
    collector.suspend()
    try:
        yield
    finally:
        collector.resume()


def memory(exporters: Mapping[str, Exporter]) -> Memory:
    return {name: memory_of(exporter.process.pid) for name, exporter in exporters.items()}


def fill(exporters: Mapping[str, Exporter], jobs: Jobs) -> None:
    """Make as many calls of each until both queues are full."""
    deadline = time.monotonic() + SECONDS_TO_FILL
    while not all(samples(exporters[name].web)[FULL] for name in LOST):
        if time.monotonic() > deadline:
            raise TestbedError(f"no full queue within {SECONDS_TO_FILL:.0f} s")
        for job in jobs.values():
            execute(msgspec.structs.replace(job, seconds=max(job.seconds, 0.5)))


def called(turns: list[dict[str, Measured]]) -> int:
    return min(sum(each[name].calls for each in turns) for name in LOST)


def middle(looks: Sequence[Memory]) -> Memory:
    """The median of several looks: what waits for a lost collector comes and goes."""
    return {name: median(look[name] for look in looks) for name in looks[0]}


def more(before: Memory, after: Memory) -> dict[str, float]:
    """What tracing takes more than before, beside tracing off."""
    untraced = after[OFF] - before[OFF]
    return {name: after[name] - before[name] - untraced for name in LOST}

"""How the cost grows: with tools, servers, sessions and the size of messages; what a session costs.

Every point is measured in turn with the others, so that a bad minute hits all alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import msgspec
import psutil

from bench.contenders import Exporter, ExporterStdio
from bench.load.client import Caller
from bench.load.generator import Job
from bench.load.messages import Talk
from bench.load.scrapes import Scraper
from bench.rounds import execute
from bench.scenarios.figures import ManyTools, proxy_cpu
from bench.testbed import Testbed

TOOLS = (10, 100, 300, 1000)
SERVERS = (1, 10, 50, 200)
SESSIONS = (1, 4, 16, 64, 256)
SIZES = (100, 1_000, 10_000, 100_000, 1_000_000)
HELD = 100
"""Sessions that are held for their cost."""
SETTLING = 8.0


class Slope(msgspec.Struct, frozen=True):
    """The cost at several points. Processor time in seconds a call, memory in MiB."""

    points: list[float]
    cpu: list[float]
    memory: list[float]


class Held(msgspec.Struct, frozen=True):
    """What one session costs the exporter, and what its child has."""

    memory_kib: float
    descriptors: float
    child_memory_mib: float = 0.0


class ManyServers(Exporter):
    """In front of so many servers, all probed; calls go to one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.name = f"exporter with {count} servers"

    def servers(self, testbed: Testbed) -> dict[str, object]:  # noqa: ARG002
        names = ["bench", *(f"server-{number}" for number in range(1, self.count))]
        return {name: {"url": f"http://{self._backend[0]}/mcp"} for name in names}


def with_tools(testbed: Testbed, rounds: int, seconds: float) -> Slope:
    """Calls of all tools in turn."""
    exporters = [ManyTools(tools) for tools in TOOLS]
    for exporter in exporters:
        exporter.start(testbed, testbed.backend(testbed.rest, exporter.tools))
    talks = [Talk(tools=tools) for tools in TOOLS]
    return _over(testbed, exporters, TOOLS, talks, rounds, seconds)


def with_servers(testbed: Testbed, rounds: int, seconds: float) -> Slope:
    """Calls of one server among others that are only probed."""
    backend = testbed.backend(testbed.rest)
    exporters = [ManyServers(count) for count in SERVERS]
    for exporter in exporters:
        exporter.start(testbed, backend)
    return _over(testbed, exporters, SERVERS, [Talk()] * len(SERVERS), rounds, seconds)


def with_sessions(testbed: Testbed, rounds: int, seconds: float) -> Slope:
    """More and more sessions, each with a call in flight."""
    exporter = _one(testbed)
    jobs = [exporter.job(_job(testbed, Talk(), sessions, seconds)) for sessions in SESSIONS]
    return _slope(testbed, SESSIONS, [(exporter, job) for job in jobs], rounds)


def with_size(testbed: Testbed, rounds: int, seconds: float) -> Slope:
    """Results of more and more characters, at 16 sessions."""
    exporter = _one(testbed)
    jobs = [exporter.job(_job(testbed, Talk(size=size), 16, seconds)) for size in SIZES]
    return _slope(testbed, SIZES, [(exporter, job) for job in jobs], rounds)


SLOPES: dict[str, Callable[[Testbed, int, float], Slope]] = {
    "tools": with_tools,
    "servers": with_servers,
    "sessions": with_sessions,
    "size": with_size,
}


def _one(testbed: Testbed) -> Exporter:
    exporter = Exporter()
    exporter.start(testbed, testbed.backend(testbed.rest))
    return exporter


def _over(
    testbed: Testbed,
    exporters: Sequence[Exporter],
    points: Sequence[int],
    talks: Sequence[Talk],
    rounds: int,
    seconds: float,
) -> Slope:
    """One exporter for each point."""
    pairs = [
        (exporter, exporter.job(_job(testbed, talk, 16, seconds)))
        for exporter, talk in zip(exporters, talks, strict=True)
    ]
    return _slope(testbed, points, pairs, rounds)


def _slope(
    testbed: Testbed, points: Sequence[int], pairs: Sequence[tuple[Exporter, Job]], rounds: int
) -> Slope:
    exporters = list({exporter.name: exporter for exporter, _ in pairs}.values())
    spent: list[list[float]] = [[] for _ in points]
    memory = [0.0] * len(points)
    with Scraper([exporter.web for exporter in exporters], 5.0):
        time.sleep(SETTLING)
        for _ in range(rounds):
            for index, (exporter, job) in enumerate(pairs):
                spent[index].append(proxy_cpu(execute(job)))
                memory[index] = resident(exporter)
    for exporter in exporters:
        testbed.end(exporter.process)
    return Slope([float(point) for point in points], [median(each) for each in spent], memory)


def _job(testbed: Testbed, talk: Talk, sessions: int, seconds: float) -> Job:
    return Job(talk=talk, sessions=sessions, seconds=seconds, processor=testbed.rest)


def held(testbed: Testbed, exporter: Exporter) -> Held:
    """Open sessions that each made a call, and see what is there more than before."""
    exporter.start(testbed, testbed.backend(testbed.rest))
    time.sleep(SETTLING)
    Caller(exporter.url, Talk()).open().leave()
    process = psutil.Process(exporter.process.pid)
    memory, descriptors = resident(exporter), process.num_fds()
    before = {child.pid for child in process.children()}
    callers = [Caller(exporter.url, Talk()).open() for _ in range(HELD)]
    for caller in callers:
        caller.call()
    children = [child for child in process.children() if child.pid not in before]
    sizes = [child.memory_info().rss / 2**20 for child in children]
    result = Held(
        (resident(exporter) - memory) * 1024 / HELD,
        (process.num_fds() - descriptors) / HELD,
        median(sizes) if sizes else 0.0,
    )
    for caller in callers:
        caller.close()
    testbed.end(exporter.process)
    return result


def sessions_held(testbed: Testbed) -> dict[str, Held]:
    """Of a session over HTTP, and of one with a child of its own."""
    return {"http": held(testbed, Exporter()), "stdio": held(testbed, ExporterStdio())}


def resident(exporter: Exporter) -> float:
    """Memory of the exporter alone, in MiB."""
    return float(psutil.Process(exporter.process.pid).memory_info().rss) / 2**20

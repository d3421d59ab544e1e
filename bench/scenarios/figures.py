"""What is measured once, beside the rounds: memory, start, recording, scrapes, tools, overhead."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from statistics import median

import msgspec

from bench.contenders import Direct, Exporter, Nginx
from bench.load.client import Caller
from bench.load.generator import Job, Measured
from bench.load.messages import Talk
from bench.load.scrapes import Scraper, samples
from bench.load.usage import cpu_of, memory_of
from bench.rounds import execute
from bench.servers.answers import MODERN
from bench.testbed import Testbed

SETTLING = 12.0
"""Seconds until the first probes and scrapes are over."""
MILLION = 1_000_000


class Figures(msgspec.Struct):
    """Memory in MiB, times in seconds. None: was not measured."""

    idle_memory: float | None = None
    calls: int | None = None
    """How many calls there were between the two looks at memory."""
    growth: float | None = None
    start: float | None = None
    start_cpu: float | None = None
    """Processor time until then."""
    nginx_start: float | None = None
    recording: float | None = None
    reading: float | None = None
    tools_rate: float | None = None
    """Calls/s at 1,000 tools as a share of those at 10 tools."""
    tools_cpu: float | None = None
    """Processor time of a call likewise."""
    scraped_p99: dict[str, float] = {}
    """p99 with a scrape every second as a multiple of p99 without, by the number of sessions."""
    overhead_inside: float | None = None
    overhead_outside: float | None = None


class ManyTools(Exporter):
    """In front of a server with so many tools."""

    def __init__(self, tools: int) -> None:
        self.tools = tools
        self.name = f"exporter with {tools} tools"
        self.settings = {"limits": {"tools_per_server": max(500, tools + 10)}}


class ThreeServers(Exporter):
    """In front of three servers: two over HTTP, one over stdio."""

    name = "exporter with 3 servers"

    def servers(self, testbed: Testbed) -> dict[str, object]:
        command, *arguments = testbed.child()
        http = {"url": f"http://{self._backend[0]}/mcp"}
        return {"bench": http, "second": http, "third": {"command": command, "args": arguments}}


def idle_memory(testbed: Testbed, figures: Figures) -> None:
    """Resident memory of the exporter alone, after the first probes and scrapes."""
    exporter = ThreeServers()
    exporter.start(testbed, testbed.backend(testbed.rest))
    with Scraper([exporter.web], 5.0):
        time.sleep(SETTLING)
    figures.idle_memory = memory_of(exporter.process.pid)
    testbed.end(exporter.process)


def growth(testbed: Testbed, figures: Figures, calls: int, seconds: float) -> None:
    """Memory after so many calls less that after the first few, or what a time has room for."""
    exporter = Exporter()
    exporter.start(testbed, testbed.backend(testbed.rest))
    job = exporter.job(Job(sessions=16, seconds=min(20.0, seconds / 4), processor=testbed.rest))
    with Scraper([exporter.web], 5.0):
        execute(job)
        before, done, deadline = memory_of(exporter.process.pid), 0, time.monotonic() + seconds
        while done < calls and time.monotonic() < deadline:
            done += execute(job).calls
    figures.growth = memory_of(exporter.process.pid) - before
    figures.calls = done
    testbed.end(exporter.process)


def start(testbed: Testbed, figures: Figures, times: int = 5) -> None:
    """From the start of the process to the first reply to a call, in turn with nginx."""
    backend = testbed.backend(testbed.rest)
    exporters = [first_call(testbed, Exporter(), backend) for _ in range(times)]
    figures.start = median(taken for taken, _ in exporters)
    figures.start_cpu = median(spent for _, spent in exporters)
    figures.nginx_start = median(first_call(testbed, Nginx(), backend)[0] for _ in range(times))


def first_call(
    testbed: Testbed, proxy: Exporter | Nginx, backend: tuple[str, int]
) -> tuple[float, float]:
    """Seconds until a call that is tried again and again has its reply; processor time by then."""
    proxy.prepare(testbed, backend)
    began = time.perf_counter()
    proxy.launch(testbed)
    Caller(proxy.url, Talk(era=MODERN)).insist()
    taken, used = time.perf_counter() - began, cpu_of(proxy.processes()).total
    testbed.end(proxy.process)
    return taken, used


def recording(figures: Figures) -> None:
    """What one call costs in the books."""
    command = [sys.executable, "-m", "bench.scenarios.recording"]
    seconds = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    figures.recording, figures.reading = seconds["recording"], seconds["reading"]


def tools(testbed: Testbed, figures: Figures, rounds: int, seconds: float) -> None:
    """Calls/s at 1,000 tools against 10, both called in turn."""
    few, many = ManyTools(10), ManyTools(1000)
    for exporter in (few, many):
        exporter.start(testbed, testbed.backend(testbed.rest, exporter.tools))
    with Scraper([few.web, many.web], 5.0):
        time.sleep(SETTLING)
        pairs = [
            tuple(
                execute(exporter.job(spread(testbed, exporter.tools, 16, seconds)))
                for exporter in (few, many)
            )
            for _ in range(rounds)
        ]
    figures.tools_rate = median(b.calls / b.seconds / (a.calls / a.seconds) for a, b in pairs)
    figures.tools_cpu = median(proxy_cpu(b) / proxy_cpu(a) for a, b in pairs)
    for exporter in (few, many):
        testbed.end(exporter.process)


def scraping(testbed: Testbed, figures: Figures, rounds: int, seconds: float) -> None:
    """p99 with a scrape every second against p99 without, with 200 tools."""
    exporter = ManyTools(200)
    exporter.start(testbed, testbed.backend(testbed.rest, exporter.tools))
    with Scraper([exporter.web], 5.0):
        time.sleep(SETTLING)
    for sessions in (1, 16):
        job = exporter.job(spread(testbed, exporter.tools, sessions, seconds))
        ratios = [scraped(exporter, job) / execute(job).p99 for _ in range(rounds)]
        figures.scraped_p99[str(sessions)] = median(ratios)
    testbed.end(exporter.process)


def scraped(exporter: Exporter, job: Job) -> float:
    """p99 with a scrape every second."""
    with Scraper([exporter.web], 1.0):
        return execute(job).p99


def overhead(testbed: Testbed, figures: Figures, rounds: int, seconds: float) -> None:
    """The exporter's own word for the time it takes, and the difference seen from outside."""
    backend = testbed.backend(testbed.rest)
    direct, exporter = Direct(), Exporter()
    direct.start(testbed, backend)
    exporter.start(testbed, backend)
    job = Job(sessions=1, seconds=seconds, processor=testbed.rest)
    inside, outside = [], []
    for _ in range(rounds):
        alone = execute(direct.job(job)).mean
        before = spent(exporter.web)
        through = execute(exporter.job(job)).mean
        after = spent(exporter.web)
        inside.append((after[0] - before[0]) / (after[1] - before[1]))
        outside.append(through - alone)
    figures.overhead_inside, figures.overhead_outside = median(inside), median(outside)
    testbed.end(exporter.process)


def spent(web: str) -> tuple[float, float]:
    """Sum and count of what the exporter says it took, so far."""
    name, found = "mcp_exporter_relay_overhead_seconds", samples(web)
    sums = [value for series, value in found.items() if series.startswith(f"{name}_sum")]
    counts = [value for series, value in found.items() if series.startswith(f"{name}_count")]
    return sum(sums), sum(counts)


def spread(testbed: Testbed, tools: int, sessions: int, seconds: float) -> Job:
    """A job that calls all tools in turn."""
    return Job(talk=Talk(tools=tools), sessions=sessions, seconds=seconds, processor=testbed.rest)


def proxy_cpu(measured: Measured) -> float:
    return sum(measured.cpu["proxy"])

"""What tracing costs: off, on with nothing kept, and on with every call kept, in one run.

All take turns, small calls at 16 sessions. A ratio is the median of those within the rounds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median

import msgspec

from bench.contenders import Exporter, Nginx
from bench.load.generator import Job, Measured
from bench.load.messages import Talk
from bench.load.scrapes import samples
from bench.load.usage import memory_of
from bench.rounds import execute
from bench.scenarios.figures import proxy_cpu
from bench.testbed import Testbed

SESSIONS = 16
SENT = "mcp_exporter_spans_sent_total"
RECORDED = "mcp_exporter_spans_recorded_total"

OFF, HEADER = "tracing off", "tracing off, header"
NOTHING, UNSAMPLED = "nothing kept", "unsampled context"
EVERYTHING = "every call kept"
NGINX = "nginx"


class TracingCost(msgspec.Struct):
    """Ratios; times in seconds a call, memory in MiB."""

    cpu: dict[str, float]
    """Processor time of the whole process, by what is called: a share of that with tracing off."""
    p99: dict[str, float]
    """Likewise."""
    sampled: float
    """Processor time that a kept call takes more, with its sending."""
    of_nginx: float
    """Processor time with nothing kept, a share of nginx's."""
    memory: float
    """Idle, more than without tracing."""
    relaying: dict[str, float]
    """Processor time that a call takes more on the relaying thread, by its context."""
    sent: float
    """Share of the recorded spans that were sent: the rest was dropped."""
    busy: list[float]
    """Processors that were busy with other work, for each measurement."""


class Traced(Exporter):
    """With tracing on."""

    def __init__(self, name: str, collector: str, **settings: object) -> None:
        self.name = name
        self.settings = {"tracing": {"endpoint": f"http://{collector}", **settings}}


def measure(testbed: Testbed, rounds: int, seconds: float, settling: float) -> TracingCost:
    """Measure all of it."""
    backend, collector = testbed.backend(testbed.rest), testbed.collector()[0]
    off, nginx = Exporter(), Nginx()
    nothing = Traced("nothing kept", collector, sample=0, always=[])
    everything = Traced("every call kept", collector, per_second=0)
    for contender in (off, nginx, nothing, everything):
        contender.start(testbed, backend)
    time.sleep(settling)
    memory = memory_of(nothing.process.pid) - memory_of(off.process.pid)
    asked = plain(testbed, seconds)
    jobs = {
        OFF: off.job(asked),
        HEADER: off.job(_with(asked, Talk(has_trace_header=True))),
        NOTHING: nothing.job(asked),
        UNSAMPLED: nothing.job(_with(asked, Talk(trace_flags="00"))),
        EVERYTHING: everything.job(asked),
        NGINX: nginx.job(asked),
    }
    turns = [turn(jobs, number) for number in range(rounds)]
    wanted = (HEADER, NOTHING, UNSAMPLED, EVERYTHING)
    return TracingCost(
        cpu={name: ratio(turns, name, OFF, proxy_cpu) for name in wanted},
        p99={name: ratio(turns, name, OFF, p99) for name in wanted},
        sampled=median(proxy_cpu(each[EVERYTHING]) - proxy_cpu(each[OFF]) for each in turns),
        of_nginx=ratio(turns, NOTHING, NGINX, proxy_cpu),
        memory=memory,
        relaying=relaying(),
        sent=_sent(everything.web),
        busy=[measured.other for each in turns for measured in each.values()],
    )


def relaying() -> dict[str, float]:
    """What the relaying thread takes more, in processes of their own."""
    found: dict[str, float] = {}
    for module in ("recording_spans", "joining"):
        command = [sys.executable, "-m", f"bench.scenarios.{module}"]
        found |= json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def _with(job: Job, talk: Talk) -> Job:
    return msgspec.structs.replace(job, talk=talk)


def plain(testbed: Testbed, seconds: float) -> Job:
    """Small calls without a trace context."""
    return Job(
        sessions=SESSIONS,
        seconds=seconds,
        warm_up=min(0.4, seconds / 3),
        processor=testbed.rest,
    )


def turn(jobs: Mapping[str, Job], number: int) -> dict[str, Measured]:
    """Each job once; each second turn backwards, so that nobody is always first."""
    names = list(jobs) if number % 2 == 0 else list(jobs)[::-1]
    return {name: execute(jobs[name]) for name in names}


def ratio(
    turns: list[dict[str, Measured]], name: str, other: str, figure: Callable[[Measured], float]
) -> float:
    return median(figure(each[name]) / figure(each[other]) for each in turns)


def p99(measured: Measured) -> float:
    return measured.p99


def _sent(web: str) -> float:
    found = samples(web)
    return found[SENT] / found[RECORDED]

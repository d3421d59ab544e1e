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
import requests

from bench.contenders import Exporter, Nginx
from bench.load.generator import Job, Measured
from bench.load.messages import Talk
from bench.load.scrapes import HEADERS
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
    backend, collector = testbed.backend(testbed.rest), testbed.collector()
    off, nginx = Exporter(), Nginx()
    nothing = Traced("nothing kept", collector, sample=0, always=[])
    everything = Traced("every call kept", collector, per_second=0)
    for contender in (off, nginx, nothing, everything):
        contender.start(testbed, backend)
    time.sleep(settling)
    memory = memory_of(nothing.process.pid) - memory_of(off.process.pid)
    plain = Job(
        sessions=SESSIONS,
        seconds=seconds,
        warm_up=min(0.4, seconds / 3),
        processor=testbed.rest,
    )
    jobs = {
        OFF: off.job(plain),
        HEADER: off.job(_with(plain, Talk(has_trace_header=True))),
        NOTHING: nothing.job(plain),
        UNSAMPLED: nothing.job(_with(plain, Talk(trace_flags="00"))),
        EVERYTHING: everything.job(plain),
        NGINX: nginx.job(plain),
    }
    turns = [_turn(jobs, number) for number in range(rounds)]
    wanted = (HEADER, NOTHING, UNSAMPLED, EVERYTHING)
    return TracingCost(
        cpu={name: _ratio(turns, name, OFF, proxy_cpu) for name in wanted},
        p99={name: _ratio(turns, name, OFF, _p99) for name in wanted},
        sampled=median(proxy_cpu(turn[EVERYTHING]) - proxy_cpu(turn[OFF]) for turn in turns),
        of_nginx=_ratio(turns, NOTHING, NGINX, proxy_cpu),
        memory=memory,
        relaying=relaying(),
        sent=_sent(everything.web),
        busy=[measured.other for turn in turns for measured in turn.values()],
    )


def relaying() -> dict[str, float]:
    """What the relaying thread takes more, in a process of its own."""
    command = [sys.executable, "-m", "bench.scenarios.recording_spans"]
    found: dict[str, float] = json.loads(
        subprocess.run(command, capture_output=True, check=True).stdout
    )
    return found


def _with(job: Job, talk: Talk) -> Job:
    return msgspec.structs.replace(job, talk=talk)


def _turn(jobs: Mapping[str, Job], number: int) -> dict[str, Measured]:
    """Each job once; each second turn backwards, so that nobody is always first."""
    names = list(jobs) if number % 2 == 0 else list(jobs)[::-1]
    return {name: execute(jobs[name]) for name in names}


def _ratio(
    turns: list[dict[str, Measured]], name: str, other: str, figure: Callable[[Measured], float]
) -> float:
    return median(figure(turn[name]) / figure(turn[other]) for turn in turns)


def _p99(measured: Measured) -> float:
    return measured.p99


def _sent(web: str) -> float:
    text = requests.get(f"http://{web}/metrics", headers=HEADERS, timeout=10).text
    lines = [line.split() for line in text.splitlines()]
    found = {line[0]: float(line[1]) for line in lines if line[:1] in ([SENT], [RECORDED])}
    return found[SENT] / found[RECORDED]

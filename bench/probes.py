"""What it costs to probe 200 servers, half of them dead, every five seconds.

``python -m bench.probes --minutes 10`` starts an exporter in front of them, scrapes it as
Prometheus would, and measures: how late a probe starts, as the servers see it; the processor time
and the memory of the exporter. It ends with 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.support.paths import ROOT
from tests.support.running import free_address

INTERVAL = 5.0
TIMEOUT = 2.0
JITTER = 0.1
SCRAPE_INTERVAL = 15.0
SETTLING = 60.0
"""Seconds that are left out: the first probes start all children, and every page is filled."""

HTTP = {"modern": 45, "legacy": 45, "refused": 40, "silent": 30, "html": 15, "broken": 10}
STDIO = {"legacy": 10, "exits_at_start": 5}

MAX_LATE = 1.0
MAX_CORE = 0.10
MAX_GROWTH = 0.02


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds, shares of one core, MiB. ``late_seconds`` is an upper bound: an interval may be
    ten per cent longer by intention."""

    servers: int
    seconds: float
    probes: int
    probes_a_second: float
    core: float
    late_seconds: float
    late_in_log: int
    memory_mib: list[float]
    memory_growth: float

    @property
    def is_within_bounds(self) -> bool:
        is_on_time = self.late_seconds <= MAX_LATE and not self.late_in_log
        return is_on_time and self.core < MAX_CORE and self.memory_growth < MAX_GROWTH


class Run:
    """An exporter in front of the servers, for as long as it is measured."""

    def __init__(self, folder: Path, urls: dict[str, str]) -> None:
        self.log = folder / "exporter.log"
        self.web = free_address()
        servers = {name: {"url": url} for name, url in urls.items()} | stdio_servers()
        self.count = len(servers)
        probe = {"interval": f"{INTERVAL:g}s", "timeout": f"{TIMEOUT:g}s"}
        file = folder / "mcp.json"
        file.write_text(json.dumps({"probe": probe, "servers": servers}))
        command = [sys.executable, "-m", "exporter", "serve", f"--config.file={file}"]
        command += [f"--mcp.listen-address={free_address()}", f"--web.listen-address={self.web}"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        self._usage = psutil.Process(self.process.pid)

    def scrape(self) -> int:
        """Scrape as Prometheus would; answers how many probes there were."""
        headers = {"Accept": "application/openmetrics-text;version=1.0.0"}
        text = requests.get(f"http://{self.web}/metrics", headers=headers, timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith("mcp_probes_total{")]
        return int(sum(float(line.split()[1]) for line in lines))

    def cpu(self) -> float:
        """Processor time of the exporter alone, without its children, in seconds."""
        times = self._usage.cpu_times()
        return float(times.user + times.system)

    def memory(self) -> float:
        """Resident memory of the exporter alone, in MiB."""
        return float(self._usage.memory_info().rss) / 2**20

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=60)


def measure(run: Run, seconds: float) -> Measured:
    """Let it settle, then measure for so many seconds."""
    wait_for_start(run)
    time.sleep(SETTLING)
    began, cpu, probes = time.monotonic(), run.cpu(), run.scrape()
    memory = [run.memory()]
    while time.monotonic() - began < seconds:
        time.sleep(min(SCRAPE_INTERVAL, max(0.0, began + seconds - time.monotonic())))
        done = run.scrape() - probes
        memory.append(run.memory())
        report(time.monotonic() - began, done, memory[-1])
    elapsed = time.monotonic() - began
    third = max(1, len(memory) // 3)
    first, last = average(memory[:third]), average(memory[-third:])
    return Measured(
        servers=run.count,
        seconds=round(elapsed, 1),
        probes=done,
        probes_a_second=round(done / elapsed, 2),
        core=round((run.cpu() - cpu) / elapsed, 4),
        late_seconds=0.0,
        late_in_log=run.log.read_text().count("probe starts late"),
        memory_mib=[round(memory[0], 2), round(max(memory), 2), round(memory[-1], 2)],
        memory_growth=round(last / first - 1, 4),
    )


def lateness(seen: dict[str, list[float]], since: float) -> float:
    """The longest time between two probes of one server, beyond the longest intended."""
    gaps = [
        after - before
        for times in seen.values()
        for before, after in pairwise(moment for moment in times if moment >= since)
    ]
    return max(gaps) - INTERVAL * (1 + JITTER)


@contextmanager
def probed_servers() -> Iterator[tuple[dict[str, str], subprocess.Popen[str]]]:
    """The HTTP servers; their URLs."""
    counts = [f"{mode}={count}" for mode, count in HTTP.items()]
    command = [sys.executable, "-m", "bench.servers.probed_servers", *counts]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            yield json.loads(process.stdout.readline() if process.stdout else ""), process
        finally:
            process.kill()


def stdio_servers() -> dict[str, Any]:
    """Servers that are children of the exporter: small ones, for they are not what is measured."""
    return {
        f"stdio-{mode}-{number}": {
            "command": sys.executable,
            "args": ["-S", "-m", "tests.misbehaving.stdio_server", mode],
            "cwd": str(ROOT),
        }
        for mode, count in STDIO.items()
        for number in range(count)
    }


def wait_for_start(run: Run) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if requests.get(f"http://{run.web}/-/ready", timeout=1).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise SystemExit(f"the exporter did not start:\n{run.log.read_text()[-2000:]}")


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def report(elapsed: float, probes: int, memory: float) -> None:
    load = os.getloadavg()[0]
    line = f"{elapsed:6.0f} s {probes:7d} probes {memory:7.2f} MiB  (load {load:.1f})\n"
    sys.stderr.write(line)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    seconds = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory() as folder, probed_servers() as (urls, servers):
        run = Run(Path(folder), urls)
        try:
            began = time.monotonic()
            measured = measure(run, seconds)
        finally:
            run.end()
        seen = json.loads(servers.communicate("")[0])
    late = round(lateness(seen, began + SETTLING), 3)
    measured = Measured(**{**asdict(measured), "late_seconds": late})
    sys.stdout.write(json.dumps(asdict(measured), indent=2) + "\n")
    return 0 if measured.is_within_bounds else 1


if __name__ == "__main__":
    sys.exit(main())

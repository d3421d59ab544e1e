"""What the children of each server use: memory and processor time, read when it is asked for.

A server is often started by something else (``npx``, ``uvx``, a shell), so the children's own
descendants count too. Processor time never goes down: of a child that has ended, what was last
read stays in the sum.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class Usage:
    """Resident memory in bytes, processor time in seconds."""

    memory: float = 0.0
    cpu: float = 0.0


Measure = Callable[[Iterable[int]], Mapping[int, Usage]]
"""Measures each of these processes with its descendants; one that is gone is left out."""


def measure(pids: Iterable[int]) -> dict[int, Usage]:
    """Measure processes with one look at the system's process table."""
    wanted = list(pids)
    children = _children() if wanted else {}
    found = {}
    for pid in wanted:
        with contextlib.suppress(psutil.Error):
            found[pid] = _sum(_tree(pid, children))
    return found


def glance(pid: int) -> Usage:
    """Measure one process without its descendants, which is quick."""
    with contextlib.suppress(psutil.Error):
        return _sum([psutil.Process(pid)])
    return Usage()


class Processes:
    """The live children of every server. Children come and go on the loop that relays, usage is
    asked for on the web listener's thread."""

    def __init__(self, measure: Measure = measure, glance: Callable[[int], Usage] = glance) -> None:
        self._measure = measure
        self._glance = glance
        self._lock = threading.Lock()
        # Whole microseconds: a sum of floats in another order may be smaller by the last bit, and
        # Prometheus takes any counter that went down for one that began anew.
        self._live: dict[str, dict[int, int]] = {}
        self._ended: dict[str, int] = {}

    def expect(self, server: str) -> None:
        """This server runs as child processes: its usage is known, if only as 0."""
        with self._lock:
            self._live.setdefault(server, {})

    def started(self, server: str, pid: int) -> None:
        """A child runs."""
        self.exited(server, pid)  # where the end of one with the same number was not reported
        with self._lock:
            self._live.setdefault(server, {})[pid] = 0

    def ending(self, server: str, pid: int) -> None:
        """A child is about to be stopped: the last chance to see what it has used."""
        usage = self._glance(pid)
        with self._lock:
            self._note(server, pid, usage)

    def exited(self, server: str, pid: int) -> None:
        """A child has ended."""
        with self._lock:
            if server in self._live:
                used = self._live[server].pop(pid, 0)
                self._ended[server] = self._ended.get(server, 0) + used

    def forget(self, server: str) -> None:
        """The server is no longer configured."""
        with self._lock:
            self._live.pop(server, None)
            self._ended.pop(server, None)

    def usage(self) -> dict[str, Usage]:
        """What the children of each server use now, and have used so far."""
        with self._lock:
            live = {server: list(pids) for server, pids in self._live.items()}
        measured = self._measure([pid for pids in live.values() for pid in pids])
        with self._lock:
            for server, pids in live.items():
                for pid in pids:
                    self._note(server, pid, measured.get(pid, Usage()))
            return {server: self._total(server, measured) for server in self._live}

    def _note(self, server: str, pid: int, usage: Usage) -> None:
        """Keep the highest reading: a descendant may end without its parent waiting for it."""
        live = self._live.get(server, {})
        if pid in live:
            live[pid] = max(live[pid], round(usage.cpu * 1e6))

    def _total(self, server: str, measured: Mapping[int, Usage]) -> Usage:
        pids = self._live[server]
        memory = sum(measured[pid].memory for pid in pids if pid in measured)
        return Usage(memory, (self._ended.get(server, 0) + sum(pids.values())) / 1e6)


def _children() -> dict[int, list[psutil.Process]]:
    children: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(process)
    return children


def _tree(pid: int, children: Mapping[int, list[psutil.Process]]) -> Iterator[psutil.Process]:
    yield psutil.Process(pid)
    todo = [pid]
    while todo:
        for process in children.get(todo.pop(), []):
            yield process
            todo.append(process.pid)


def _sum(processes: Iterable[psutil.Process]) -> Usage:
    memory = cpu = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error), process.oneshot():
            times = process.cpu_times()
            # Of a child that was waited for, the time is in its parent's: nothing is lost.
            cpu += times.user + times.system
            cpu += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            memory += process.memory_info().rss
    return Usage(memory, cpu)


class ProcessUsage(Collector):
    """Reads what the servers' children use at the moment of the scrape."""

    def __init__(self, children: Processes) -> None:
        self._children = children

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families without samples."""
        return self._families({})

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The families with a sample for every server that runs as a child process."""
        return self._families(self._children.usage())

    @staticmethod
    def _families(usage: dict[str, Usage]) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        memory = GaugeMetricFamily(
            "mcp_server_process_resident_memory_bytes",
            "Resident memory of the server's child processes and their descendants.",
            labels=["server"],
        )
        cpu = CounterMetricFamily(
            "mcp_server_process_cpu_seconds",
            "Processor time of the server's child processes and their descendants.",
            labels=["server"],
        )
        for server, used in usage.items():
            memory.add_metric([server], used.memory)
            cpu.add_metric([server], used.cpu)
        yield memory
        yield cpu

"""What processes use: processor time, memory, descriptors; and where they may run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Cpu:
    """Processor time in seconds."""

    user: float = 0.0
    system: float = 0.0

    @property
    def total(self) -> float:
        return self.user + self.system

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user + other.user, self.system + other.system)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)


def cpu_by_process(processes: Iterable[int]) -> dict[int, Cpu]:
    """What these processes used so far, all their threads, without their children.

    One that has ended is left out: a probed server over stdio may have come and gone.
    """
    found = {}
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(process).cpu_times()
            found[process] = Cpu(times.user, times.system)
    return found


def difference(before: dict[int, Cpu], after: dict[int, Cpu]) -> Cpu:
    """What the processes that were there at both times used in between."""
    spent = (used - before[process] for process, used in after.items() if process in before)
    return sum(spent, Cpu())


def cpu_of(processes: Iterable[int]) -> Cpu:
    """What these processes used so far, together."""
    return sum(cpu_by_process(processes).values(), Cpu())


def children_of(process: int) -> list[int]:
    """The children of a process, and theirs."""
    return [child.pid for child in psutil.Process(process).children(recursive=True)]


def cpu_of_machine() -> float:
    """What everything on this machine used so far, in seconds over all processors."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def memory_of(process: int) -> float:
    """Resident memory in MiB."""
    return float(psutil.Process(process).memory_info().rss) / 2**20


def peak_memory_of(process: int) -> float:
    """The most that was resident so far, in MiB; where the system keeps no account, what is now."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return memory_of(process)
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def pin(processor: int | None) -> None:
    """Keep this process and its children on one processor, where the system can."""
    if processor is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {processor})


def processors() -> tuple[int | None, int | None]:
    """The processor for what is measured, and the one for all else; none where there is but one."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)

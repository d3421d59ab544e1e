"""What children use: the sum over each server's, and processor time that never goes down."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

from hypothesis import example, given
from hypothesis import strategies as st

from exporter.telemetry.process_usage import Processes, Usage, glance, measure


class Machine:
    """A process table that the test writes."""

    def __init__(self) -> None:
        self.running: dict[int, Usage] = {}
        self.processes = Processes(self.measure, self.glance)

    def measure(self, pids: Iterable[int]) -> dict[int, Usage]:
        return {pid: self.running[pid] for pid in pids if pid in self.running}

    def glance(self, pid: int) -> Usage:
        return self.running.get(pid, Usage())


def test_a_server_without_children_uses_nothing_and_says_so() -> None:
    machine = Machine()
    machine.processes.expect("files")
    assert machine.processes.usage() == {"files": Usage()}


def test_children_are_summed_for_each_server() -> None:
    machine = Machine()
    machine.running = {1: Usage(100, 1.0), 2: Usage(50, 0.5), 3: Usage(7, 0.25)}
    for server, pid in (("files", 1), ("files", 2), ("echo", 3)):
        machine.processes.started(server, pid)
    assert machine.processes.usage() == {"files": Usage(150, 1.5), "echo": Usage(7, 0.25)}


def test_time_stays_when_its_process_ends_and_memory_does_not() -> None:
    machine = Machine()
    machine.processes.started("files", 1)
    machine.running = {1: Usage(100, 2.0)}
    machine.processes.usage()
    machine.running = {}
    assert machine.processes.usage() == {"files": Usage(0, 2.0)}
    machine.processes.exited("files", 1)
    assert machine.processes.usage() == {"files": Usage(0, 2.0)}


def test_a_child_that_is_stopped_between_two_scrapes_is_counted() -> None:
    machine = Machine()
    machine.processes.started("files", 1)
    machine.running = {1: Usage(100, 3.0)}
    machine.processes.ending("files", 1)
    machine.running = {}
    machine.processes.exited("files", 1)
    assert machine.processes.usage()["files"].cpu == 3.0


def test_a_number_that_the_system_uses_again_is_another_process() -> None:
    machine = Machine()
    for _ in range(2):
        machine.processes.started("files", 1)
        machine.running = {1: Usage(1, 2.0)}
        machine.processes.usage()
        machine.processes.exited("files", 1)
    assert machine.processes.usage()["files"].cpu == 4.0


def test_a_forgotten_server_leaves_nothing_even_if_its_child_ends_later() -> None:
    machine = Machine()
    machine.processes.started("files", 1)
    machine.processes.forget("files")
    machine.processes.ending("files", 1)
    machine.processes.exited("files", 1)
    assert machine.processes.usage() == {}


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from("+-=s"), st.floats(0, 5))))
@example(
    [
        (1, "+", 0),
        (1, "=", 4.399963772010355),
        (2, "+", 0),
        (2, "=", 3.909838800102632),
        (2, "+", 0),
        (2, "=", 1.2642039277934727),
        (1, "+", 0),
    ]
)
def test_processor_time_never_goes_down(events: list[tuple[int, str, float]]) -> None:
    machine = Machine()
    machine.processes.expect("files")
    before = 0.0
    for pid, event, cpu in events:
        if event == "+":
            machine.processes.started("files", pid)
            machine.running[pid] = Usage(1, 0.0)
        elif event == "-":
            machine.processes.exited("files", pid)
            machine.running.pop(pid, None)
        elif event == "s":
            machine.processes.ending("files", pid)
        elif pid in machine.running:
            machine.running[pid] = Usage(1, cpu)
        after = machine.processes.usage()["files"].cpu
        assert after >= before
        before = after


SPIN = "sum(range(10**7))"
HOLD = "x = bytearray(b'x') * 30_000_000; print('ready', flush=True); input()"
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {SPIN!r}])
subprocess.run([sys.executable, "-c", {HOLD!r}])
"""


def test_descendants_count_alive_and_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        alone, whole = glance(parent.pid), measure([parent.pid])[parent.pid]
        parent.kill()
    assert alone.cpu >= 0.02  # the child that has ended and was waited for
    assert whole.cpu >= alone.cpu
    assert whole.memory > alone.memory + 30_000_000


def test_a_process_that_is_gone_is_left_out() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert measure([process.pid]) == {}
    assert glance(process.pid) == Usage()
    assert measure([]) == {}

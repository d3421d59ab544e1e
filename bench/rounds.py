"""Does jobs: one by one in processes of their own, and whole rounds of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bench.contenders import Contender
from bench.load.generator import PATIENCE, Job, Measured
from bench.plan import Cell, Row, turns
from bench.testbed import Testbed, TestbedError
from scripts.environment import say
from tests.support.paths import ROOT


def execute(job: Job) -> Measured:
    """Do a job in a process of its own. Raises ``TestbedError`` with what it says."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.load.generator"],
            input=msgspec.json.encode(job),
            capture_output=True,
            cwd=ROOT,
            check=False,
            timeout=3 * PATIENCE + job.seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise TestbedError(str(error)) from None
    if done.returncode:
        raise TestbedError(done.stderr.decode()[-1000:].strip())
    return msgspec.json.decode(done.stdout, type=Measured)


class Rounds:
    """Measures cells in turns, and keeps what failed apart."""

    def __init__(self, testbed: Testbed, contenders: Iterable[Contender], seconds: float) -> None:
        self._testbed = testbed
        self._contenders: Mapping[str, Contender] = {each.name: each for each in contenders}
        self._seconds = seconds
        self.rows: list[Row] = []
        self.failures: list[str] = []

    def run(self, cells: Sequence[Cell], rounds: int) -> None:
        """Measure all of them; a cell that fails is told, and tried again in the next round."""
        for number, cell in turns(cells, rounds):
            try:
                measured = execute(self._job(cell))
            except TestbedError as error:
                self.failures.append(f"{cell}: {error}")
                say(self.failures[-1])
            else:
                self.rows.append(Row(cell, number, measured))
            if cell is cells[-1 if number % 2 == 0 else 0]:
                say(f"round {number + 1} of {rounds}: {len(cells)} cells")

    def _job(self, cell: Cell) -> Job:
        job = Job(
            talk=cell.talk,
            sessions=cell.sessions,
            seconds=self._seconds,
            warm_up=min(0.4, self._seconds / 3),
            processor=self._testbed.rest,
        )
        return self._contenders[cell.contender].job(job)

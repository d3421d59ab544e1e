"""Does jobs: one by one in processes of their own, and whole rounds of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from bench.cells import Cell, Row, turns
from bench.contenders import Contender
from bench.load import PATIENCE, Job, Measured
from bench.stage import ROOT, Stage, StageError
from scripts.environment import say


def execute(job: Job) -> Measured:
    """Do a job in a process of its own. Raises ``StageError`` with what it says."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=msgspec.json.encode(job),
            capture_output=True,
            cwd=ROOT,
            check=False,
            timeout=3 * PATIENCE + job.seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise StageError(str(error)) from None
    if done.returncode:
        raise StageError(done.stderr.decode()[-1000:].strip())
    return msgspec.json.decode(done.stdout, type=Measured)


class Rounds:
    """Measures cells in turns, and keeps what failed apart."""

    def __init__(self, stage: Stage, contenders: Iterable[Contender], seconds: float) -> None:
        self._stage = stage
        self._contenders: Mapping[str, Contender] = {each.name: each for each in contenders}
        self._seconds = seconds
        self.rows: list[Row] = []
        self.failures: list[str] = []

    def run(self, cells: Sequence[Cell], rounds: int) -> None:
        """Measure all of them; a cell that fails is told, and tried again in the next round."""
        for number, cell in turns(cells, rounds):
            try:
                measured = execute(self._job(cell))
            except StageError as error:
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
            processor=self._stage.rest,
        )
        return self._contenders[cell.contender].job(job)

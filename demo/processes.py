"""Child processes that start one after the other and all end with the demo, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from demo.interrupt import Interrupt

SECONDS_TO_END = 10.0
SECONDS_BETWEEN_LOOKS = 0.05
SUCCESS = "with exit code 0"
PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class PartError(Exception):
    """A part did not come up; the message says why, with the end of its log."""


@dataclass(frozen=True)
class Part:
    """One process of the demo."""

    name: str
    command: Sequence[str]
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    to_terminal: bool = False
    """Its output is for the person at the terminal, not for its log."""
    seconds_to_start: float = 30.0


class Processes:
    """The parts that run. Leaving the context ends them, the last one first.

    Each is the head of a process group of its own: Ctrl-C reaches the demo alone, which then ends
    the others in order, and what a part leaves behind goes with its group.
    """

    def __init__(self, folder: Path, logs: Path, interrupt: Interrupt) -> None:
        self._folder = folder
        self._logs = logs
        self._interrupt = interrupt
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in reversed(self._running.values()):
            _end(process)

    def start(self, part: Part) -> float:
        """Start a part and return the seconds until it was ready.

        Raises PartError where it ends or is not ready in time, EndAskedError where that is asked.
        """
        began = time.monotonic()
        self._spawn(part)
        while not self._has_ended(part.name) and not part.is_ready():
            if time.monotonic() - began > part.seconds_to_start:
                self._fail(part, f"was not ready within {part.seconds_to_start:.0f} s")
            self._interrupt.wait(SECONDS_BETWEEN_LOOKS)
        if self._has_ended(part.name):
            self._fail(part, f"ended at its start, {self._take(part.name)}")
        return time.monotonic() - began

    def run(self, part: Part, within: float) -> None:
        """Start a part that ends by itself, and wait for that; raises as `start` does."""
        self._spawn(part)
        deadline = time.monotonic() + within
        while not self._has_ended(part.name):
            if time.monotonic() > deadline:
                self._fail(part, f"did not end within {within:.0f} s")
            self._interrupt.wait(SECONDS_BETWEEN_LOOKS)
        how = self._take(part.name)
        if how != SUCCESS:
            self._fail(part, f"failed, {how}")

    def take_ended(self) -> dict[str, str]:
        """Return how each part ended that has ended since this was asked last."""
        return {name: self._take(name) for name in list(self._running) if self._has_ended(name)}

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def log(self, name: str) -> Path:
        return self._logs / f"{name.lower().replace(' ', '-')}.log"

    def _spawn(self, part: Part) -> None:
        try:
            self._running[part.name] = self._open(part)
        except OSError as error:
            raise PartError(f"{part.name} could not be started: {error}") from error

    def _open(self, part: Part) -> subprocess.Popen[bytes]:
        with self.log(part.name).open("wb") as log:
            return subprocess.Popen(
                part.command,
                cwd=self._folder,
                env={**os.environ, **part.environment},
                stdin=subprocess.DEVNULL,
                stdout=None if part.to_terminal else log,
                stderr=None if part.to_terminal else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _has_ended(self, name: str) -> bool:
        return self._running[name].poll() is not None

    def _take(self, name: str) -> str:
        process = self._running.pop(name)
        _end(process)
        return _how(process.returncode)

    def _fail(self, part: Part, what: str) -> None:
        log = self.log(part.name)
        lines = log.read_text(errors="replace").splitlines()[-15:]
        shown = "".join(f"\n    {line}" for line in lines) or " (empty)"
        raise PartError(f"{part.name} {what}. The end of {log}:{shown}")


def _end_with_parent() -> None:
    """Runs in the child: even a demo that is killed outright leaves nothing behind, on Linux."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, if need be with force, and with it what is left of its group."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_END)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS answers EPERM for a group of which only the dead are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _how(status: int) -> str:
    if status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with exit code {status}"

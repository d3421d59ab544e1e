"""Where measurements take place: the servers, and the processes that are started in front of them.

What is measured has a processor for itself where there are two; everything else has the other.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from bench.load.usage import processors
from tests.support.paths import ROOT

SECONDS_TO_START = 60.0
SECONDS_TO_END = 15.0


class TestbedError(Exception):
    """Something could not be started; the message is the reason."""


class Testbed:
    """Starts processes, and ends them all at its end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        self.measured, self.rest = processors()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def start(
        self,
        name: str,
        command: Sequence[str],
        processor: int | None,
        speaks: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a process; what it says is in a log of its name, or is read here if it speaks."""
        with self.log(name).open("ab") as log, placed(processor):
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if speaks else log,
                stderr=log,
                cwd=ROOT,
            )
        self._stack.callback(self.end, process)
        return process

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def backend(self, processor: int | None, tools: int = 10) -> tuple[str, int]:
        """Start a server over HTTP; its address and its process."""
        command = [sys.executable, "-m", "bench.servers.http_server", f"--tools={tools}"]
        return self._listening("backend", command, processor)

    def collector(self) -> tuple[str, int]:
        """Start what takes spans, beside what is measured; its address and its process."""
        command = [sys.executable, "-m", "bench.servers.collector"]
        return self._listening("collector", command, self.rest)

    def _listening(
        self, name: str, command: Sequence[str], processor: int | None
    ) -> tuple[str, int]:
        """Start a server that says its port; its address and its process."""
        process = self.start(name, command, processor, speaks=True)
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise TestbedError(f"the {name} did not start:\n{self.log(name).read_text()}")
        return f"127.0.0.1:{json.loads(line)['port']}", process.pid

    def child(self, tools: int = 10) -> list[str]:
        """The command of a server over stdio that is beside what is measured."""
        place = [] if self.rest is None else ["--cpu", str(self.rest)]
        return [sys.executable, "-m", "bench.servers.stdio_server", "--tools", str(tools), *place]

    def await_port(self, process: subprocess.Popen[bytes], name: str, address: str) -> None:
        """Wait until somebody listens."""
        host, _, port = address.rpartition(":")
        deadline = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < deadline and process.poll() is None:
            try:
                socket.create_connection((host, int(port)), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise TestbedError(f"{name} did not start:\n{self.log(name).read_text()[-2000:]}")

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, and what it started."""
        family = family_of(process.pid)
        if process.stdin:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for member in family:
            _kill(member)
        if process.stdout:
            process.stdout.close()


@contextmanager
def placed(processor: int | None) -> Iterator[None]:
    """Be on a processor, for a child inherits that."""
    if processor is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family_of(process: int) -> list[psutil.Process]:
    """The children of a process, and theirs."""
    try:
        return psutil.Process(process).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(member: psutil.Process) -> None:
    try:
        member.kill()
    except psutil.NoSuchProcess:
        return

"""An exporter that is killed leaves no child behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import psutil
import pytest

from exporter.transport.process.reaper import Reaper
from tests.support.fakes import post, request

PATIENCE = 60.0

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 60; done"

EXPORTER = """
import subprocess, sys
from exporter.transport.process.reaper import Reaper
reaper = Reaper()
for script in sys.argv[1:]:
    child = subprocess.Popen(
        ["/bin/sh", "-c", script],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    child.stdout.readline()
    reaper.watch(child.pid)
    print(child.pid, flush=True)
sys.stdin.read()
"""


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until_gone(*pids: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "still alive"
        time.sleep(0.01)  # no event tells of somebody else's child


def until(lines: IO[str], pattern: str) -> str:
    """What is found in the first line that matches."""
    for line in lines:
        match = re.search(pattern, line)
        if match is not None:
            return str(match[1])
    raise AssertionError(f"ended without {pattern!r}")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, script: str = "echo ready; exec sleep 60") -> subprocess.Popen[bytes]:
    """A process group that ends with the test."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    # Somebody must take note of its end, or it stays in the list of processes.
    threading.Thread(target=process.wait, daemon=True).start()
    return process


def test_a_killed_exporter_leaves_no_child_however_stubborn(stack: ExitStack) -> None:
    scripts = ["echo ready; exec sleep 60", STUBBORN, "echo ready; sleep 60 & sleep 60"]
    exporter = subprocess.Popen(
        [sys.executable, "-c", EXPORTER, *scripts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    stack.enter_context(exporter)
    assert exporter.stdout is not None
    children = [int(exporter.stdout.readline()) for _ in scripts]
    family = [process.pid for process in psutil.Process(exporter.pid).children(recursive=True)]
    assert set(children) < set(family), "the children, theirs, and the reaper"
    exporter.kill()
    until_gone(*family)


@pytest.mark.e2e
def test_the_real_exporter_leaves_no_child_when_it_is_killed(
    stack: ExitStack, tmp_path: Path
) -> None:
    config = tmp_path / "mcp.json"
    server = {"command": "/bin/sh", "args": ["-c", STUBBORN], "probe": {"enabled": False}}
    config.write_text(json.dumps({"servers": {"stubborn": server}}))
    listen = ("--mcp.listen-address=127.0.0.1:0", "--web.listen-address=127.0.0.1:0")
    exporter = subprocess.Popen(
        [sys.executable, "-m", "exporter", "serve", f"--config.file={config}", *listen],
        stderr=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(exporter)
    assert exporter.stderr is not None
    port = int(until(exporter.stderr, r"is ready.* mcp=http://127.0.0.1:(\d+)"))
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(post(request(0, "initialize"), b"/stubborn/mcp"))
        child = int(until(exporter.stderr, r"child started.* pid=(\d+)"))
        family = [process.pid for process in psutil.Process(exporter.pid).children(recursive=True)]
        assert child in family
        exporter.kill()
        until_gone(*family)


def test_a_child_that_has_ended_is_not_touched_again(stack: ExitStack) -> None:
    watched, forgotten = start(stack), start(stack)
    watcher = Reaper()
    watcher.watch(watched.pid)
    watcher.watch(forgotten.pid)
    watcher.forget(forgotten.pid)
    watcher.close()
    assert watched.wait(PATIENCE) == -signal.SIGTERM
    assert forgotten.poll() is None


def test_a_reaper_that_was_ended_is_replaced_and_told_of_everybody(stack: ExitStack) -> None:
    first, second = start(stack), start(stack)
    watcher = Reaper()
    watcher.watch(first.pid)
    assert watcher._process is not None
    watcher._process.kill()
    watcher._process.wait()
    watcher.forget(12345678)
    watcher.watch(second.pid)
    watcher.close()
    assert first.wait(PATIENCE) == -signal.SIGTERM
    assert second.wait(PATIENCE) == -signal.SIGTERM


def test_without_children_there_is_no_process() -> None:
    before = psutil.Process().children()
    watcher = Reaper()
    watcher.forget(12345678)
    watcher.close()
    assert psutil.Process().children() == before


def test_the_reaper_ends_with_an_exporter_that_stops_in_order(stack: ExitStack) -> None:
    watcher = Reaper()
    child = start(stack)
    watcher.watch(child.pid)
    assert watcher._process is not None
    process = watcher._process
    watcher.forget(child.pid)
    watcher.close()
    assert process.returncode == 0
    assert child.poll() is None
    watcher.close()


def test_the_reaper_outlives_a_signal_to_the_terminal(stack: ExitStack) -> None:
    watcher = Reaper()
    child = start(stack)
    watcher.watch(child.pid)
    assert watcher._process is not None
    assert os.getsid(watcher._process.pid) != os.getsid(0)
    watcher.forget(child.pid)
    watcher.close()

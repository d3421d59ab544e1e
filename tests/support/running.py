"""Real programs for the end-to-end tests of alerting: started, awaited and ended."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.support.tools import tool

T = TypeVar("T")

SECONDS_TO_START = 60
SECONDS_BETWEEN_LOOKS = 0.1


PORTS = range(20_000, 32_000)
"""Below what Linux gives to outgoing connections, which would else take the port meanwhile."""


def free_address() -> str:
    """A loopback address that nobody listens on, for programs that cannot choose one."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{port}"
    raise AssertionError("none of 100 ports is free")


def wait_for(look: Callable[[], T], within: float, what: str) -> T:
    """What `look` returns as soon as that is true; fails, saying `what`, after so many seconds."""
    deadline = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:g} s; last seen: {found!r}")
        time.sleep(SECONDS_BETWEEN_LOOKS)


@contextmanager
def running(
    command: Sequence[str | Path], ready: str, log: Path, **environ: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program from the moment on that the URL `ready` answers; it ends with the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environ},
        )
    try:
        wait_for(lambda: _answers(process, ready, log), SECONDS_TO_START, f"{ready} answers")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(process: subprocess.Popen[bytes], url: str, log: Path) -> bool:
    if process.poll() is not None:
        end = log.read_text(errors="replace")[-3000:]
        raise AssertionError(f"ended with exit code {process.returncode}:\n{end}")
    try:
        return requests.get(url, timeout=2).status_code < 500
    except requests.RequestException:
        return False


@contextmanager
def mcp_server(name: str, folder: Path, *arguments: str) -> Iterator[str]:
    """A demonstration server over HTTP; its URL."""
    address = free_address()
    command = [sys.executable, "-m", f"mcp_servers.{name}", "--http", address, *arguments]
    url = f"http://{address}/mcp"
    with running(command, url, folder / f"{name}.log"):
        yield url


@contextmanager
def alertmanager(config: Path, folder: Path) -> Iterator[str]:
    """A real Alertmanager; its URL."""
    address = free_address()
    command = [
        tool("alertmanager"),
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with running(command, f"http://{address}/-/ready", folder / "alertmanager.log"):
        yield f"http://{address}"


def get(url: str, **parameters: str) -> Any:
    """The JSON that a URL answers with."""
    answer = requests.get(url, params=parameters, timeout=60)
    answer.raise_for_status()
    return answer.json()

"""Servers that do wrong, in processes of their own, to put behind an exporter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.support.paths import ROOT


@contextmanager
def all_misbehaving(modules: Mapping[str, Sequence[str]]) -> Iterator[dict[str, str]]:
    """Server processes, by name the module and its arguments; their URLs."""
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(server_process(module, *arguments))
            for name, (module, *arguments) in modules.items()
        }
        yield {name: url_of(process) for name, process in started.items()}


@contextmanager
def misbehaving(*arguments: str, module: str = "http_server") -> Iterator[str]:
    """A server process; its URL."""
    with server_process(module, *arguments) as process:
        yield url_of(process)


@contextmanager
def server_process(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"tests.misbehaving.{module}", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def url_of(process: subprocess.Popen[str]) -> str:
    """Where it listens; it says so on its first line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def stdio(mode: str) -> dict[str, Any]:
    arguments = ["-m", "tests.misbehaving.stdio_server", mode]
    if mode == "missing":
        return {"command": "no-such-command"}
    return {"command": sys.executable, "args": arguments, "cwd": str(ROOT)}

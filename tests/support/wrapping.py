"""A client that drives a stdio server, wrapped or not, and looks closely at what it gets."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import IO, Any, cast

from tests.support.exporting import scripted_stdio
from tests.support.paths import ROOT

GREETING = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "desk", "version": "1"},
}


def scripted_stdio_command(*arguments: str) -> list[str]:
    """The scripted_stdio server's command."""
    entry = scripted_stdio(*arguments)
    return [entry["command"], *entry["args"]]


def wrapped(command: Sequence[str], socket: str | Path, name: str = "files") -> list[str]:
    """The same command, wrapped."""
    program = [sys.executable, "-m", "exporter"]
    return [*program, "wrap", "--wrap.socket", str(socket), name, "--", *command]


@dataclass
class Client:
    """Speaks line by line, and notes how long each reply took."""

    process: subprocess.Popen[bytes]
    seconds: list[float] = field(default_factory=list)
    _id: int = 0

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """One request, and its reply."""
        self._id += 1
        message = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}
        began = perf_counter()
        self.input.write(json.dumps(message).encode() + b"\n")
        line = self.output.readline()
        self.seconds.append(perf_counter() - began)
        reply = cast("dict[str, Any]", json.loads(line))
        assert reply["id"] == self._id, line
        return reply

    def greet(self) -> None:
        """Begin a session, and list the tools."""
        self.ask("initialize", **GREETING)
        self.ask("tools/list")

    def call(self, **arguments: Any) -> dict[str, Any]:
        """Call the server's tool."""
        return self.ask("tools/call", name="act", arguments=arguments)

    def leave(self) -> int:
        """Close the connection; the exit code."""
        self.input.close()
        return self.process.wait(timeout=30)

    @property
    def input(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def output(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


@contextmanager
def client(command: Sequence[str]) -> Iterator[Client]:
    """A client of this command, which is gone at the end."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None
    with process:
        try:
            # Writes at once, reads ahead.
            raw = process.stdin
            process.stdin = cast("IO[bytes]", raw.raw)  # type: ignore[attr-defined]
            yield Client(process)
        finally:
            process.kill()

"""An exporter as a process, what can be learned from it, and servers to put behind it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.paths import ROOT
from tests.support.running import free_address, running

Json = dict[str, Any]


class Exporter:
    """A running exporter, and what can be learned from it."""

    def __init__(self, mcp: str, web: str, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.mcp = f"http://{mcp}"
        self.web = f"http://{web}"
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def explain(self, server: str) -> str:
        answer = requests.get(f"{self.web}/probe", {"target": server, "debug": "true"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def value(self, name: str, server: str, **labels: str) -> float:
        """One sample; 0 where there is none."""
        return sum(value for found, value in self.samples(name, server) if labels == found)

    def samples(self, name: str, server: str) -> list[tuple[dict[str, str], float]]:
        """The samples of a server, with their other labels."""
        found = []
        for line in requests.get(f"{self.web}/metrics", timeout=30).text.splitlines():
            match = re.fullmatch(rf"{name}{{(.*)}} (\S+)", line)
            labels = dict(re.findall(r'(\w+)="([^"]*)"', match[1])) if match else {}
            if match and labels.pop("server", None) == server:
                found.append((labels, float(match[2])))
        return found

    def events(self, server: str) -> list[dict[str, Any]]:
        """What the log says of a server."""
        lines = self.log.rpartition("\n")[0].splitlines()  # the last may be half written
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if event.get("server") == server]

    def course(self, server: str) -> str:
        """The states that the server went through."""
        changes = [e for e in self.events(server) if e["message"] == "server state changed"]
        return " ".join(f"{event['from']}>{event['to']}" for event in changes)

    def pid(self, server: str) -> int:
        """The process of the prober's last child."""
        started = [e for e in self.events(server) if e["message"] == "child started"]
        return int([event for event in started if event["use"] == "probe"][-1]["pid"])

    def call(self, server: str, message: dict[str, Any], **headers: str) -> requests.Response:
        """Send a message through the relay."""
        fields = {"Accept": "application/json, text/event-stream"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.mcp}/{server}/mcp"
        return requests.post(url, json=message, headers=fields, timeout=30)


@contextmanager
def exporter(folder: Path, servers: dict[str, Any], **settings: object) -> Iterator[Exporter]:
    """An exporter with this configuration; it ends with the block."""
    file, log = folder / "mcp.json", folder / "exporter.log"
    file.write_text(json.dumps({"servers": servers, **settings}))
    mcp, web = free_address(), free_address()
    command: list[str | Path] = [sys.executable, "-m", "exporter", "serve", "--log.format=json"]
    command += [f"--config.file={file}", f"--mcp.listen-address={mcp}"]
    command += [f"--web.listen-address={web}"]
    with running(command, f"http://{web}/-/ready", log) as process:
        yield Exporter(mcp, web, log, process)


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

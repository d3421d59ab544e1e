"""The exporter as its users start it, and what can be seen of it from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.paths import ROOT
from tests.support.running import wait_for

SECONDS_TO_START = 60
SECONDS_TO_STOP = 30
UNPROBED = {"enabled": False}


def scripted_stdio(*arguments: str) -> dict[str, Any]:
    """The stdio server that does what each call says, as an entry of the configuration."""
    script = str(ROOT / "tests" / "support" / "scripted_stdio_server.py")
    return {"command": sys.executable, "args": ["-I", "-S", script, *arguments]}


class Scrape:
    """What Prometheus would have read at one moment."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def select(self, metric: str, **labels: str) -> Iterator[Sample]:
        """The samples with this name and these labels, whatever other labels they have."""
        # Only these lines are parsed: of a server with many tools there are thousands.
        lines = [line for line in self._lines if re.split("[{ ]", line, maxsplit=1)[0] == metric]
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                if sample.name == metric and labels.items() <= sample.labels.items():
                    yield sample

    def total(self, metric: str, **labels: str) -> float:
        """The sum of such samples; 0 where there is none."""
        return sum(sample.value for sample in self.select(metric, **labels))

    def by(self, label: str, metric: str, **labels: str) -> dict[str, float]:
        """The sums for each value of a label, without those that are 0."""
        sums: Counter[str] = Counter()
        for sample in self.select(metric, **labels):
            sums[sample.labels[label]] += sample.value  # type: ignore[assignment]
        return {value: total for value, total in sums.items() if total}

    def outcomes(self, server: str, **labels: str) -> dict[str, float]:
        """How many of the server's requests ended in each way."""
        return self.by("outcome", "mcp_requests_total", server=server, **labels)


@dataclass(frozen=True)
class Exporter:
    """A running exporter."""

    process: subprocess.Popen[bytes]
    mcp: str
    web: str
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def host(self) -> tuple[str, int]:
        """Where its MCP listener is, for those who connect by hand."""
        name, _, port = self.mcp.removeprefix("http://").rpartition(":")
        return name, int(port)

    def url(self, server: str) -> str:
        """Where clients reach a server."""
        return f"{self.mcp}/{quote(server)}/mcp"

    def scrape(self) -> Scrape:
        """One scrape."""
        with requests.Session() as session:
            session.trust_env = False  # no proxy between two processes of one machine
            answer = session.get(f"{self.web}/metrics", timeout=60)
        answer.raise_for_status()
        return Scrape(answer.text)

    def explain(self, server: str) -> str:
        """What ``/probe`` says of a server, with what was said in the probe."""
        answer = requests.get(f"{self.web}/probe", {"target": server, "debug": "true"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def value(self, name: str, server: str, **labels: str) -> float:
        """One sample of a server, with just these other labels; 0 where there is none."""
        return sum(value for found, value in self.samples(name, server) if labels == found)

    def samples(self, name: str, server: str) -> list[tuple[dict[str, str], float]]:
        """The samples of a server, with their other labels."""
        selected = self.scrape().select(name, server=server)
        return [
            ({k: v for k, v in sample.labels.items() if k != "server"}, sample.value)
            for sample in selected
        ]

    def call(self, server: str, message: dict[str, Any], **headers: str) -> requests.Response:
        """Send a message through the relay."""
        fields = {"Accept": "application/json, text/event-stream"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.url(server), json=message, headers=fields, timeout=30)

    def text(self) -> str:
        """Its whole log."""
        return self.log.read_text(errors="replace")

    def events(self, server: str | None = None) -> list[dict[str, Any]]:
        """What it has logged so far, of everything or of one server."""
        whole, _, _ = self.text().rpartition("\n")  # the last line may be half written
        events = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return events if server is None else [e for e in events if e.get("server") == server]

    def course(self, server: str) -> str:
        """The states that a server went through."""
        changes = [e for e in self.events(server) if e["message"] == "server state changed"]
        return " ".join(f"{event['from']}>{event['to']}" for event in changes)

    def probed_pid(self, server: str) -> int:
        """The process of the prober's last child."""
        started = [e for e in self.events(server) if e["message"] == "child started"]
        return int([event for event in started if event["use"] == "probe"][-1]["pid"])

    def says(self, word: str) -> list[dict[str, Any]]:
        """The log lines whose message holds a word."""
        return [event for event in self.events() if word in event["message"]]

    def descendants(self) -> set[int]:
        """The processes below it, but for those that have ended."""
        below = psutil.Process(self.pid).children(recursive=True)
        return {process.pid for process in below if is_running(process.pid)}

    def descriptors(self) -> Counter[str]:
        """What its open file descriptors are, by kind."""
        return Counter(_kinds(Path(f"/proc/{self.pid}/fd")))

    def status(self, field: str) -> int:
        """A size of /proc/PID/status, in bytes."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found, text
        return int(found[1]) * 1024

    def forget_peak(self) -> None:
        """Let the peak of its memory (VmHWM) begin anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def _kinds(folder: Path) -> Iterator[str]:
    for link in folder.iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # closed since it was listed
            continue
        yield re.sub(r":\[\d+\]$", "", target)


def is_running(pid: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def exporter(
    folder: Path,
    servers: Mapping[str, Any],
    *flags: str,
    module: str = "exporter",
    under: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Exporter]:
    """An exporter in front of these servers, on free ports; it is told to stop at the end.

    Servers are not probed unless they say so, for what is counted is to be the test's own.
    ``module`` starts another one than the product's; ``under`` is a command that starts it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "exporter.json", folder / "exporter.log"
    config.write_text(json.dumps({"servers": servers, "probe": UNPROBED, **settings}))
    command = [*under, sys.executable, "-m", module, "serve", "--config.file", str(config)]
    command += ["--mcp.listen-address", "127.0.0.1:0", "--web.listen-address", "127.0.0.1:0"]
    command += ["--log.format", "json", *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            # The wrapped servers of whoever runs the tests report elsewhere.
            env={"MCP_EXPORTER_WRAP_SOCKET": "", **os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        ready = wait_for(lambda: _ready(process, log), SECONDS_TO_START, "the exporter is ready")
        yield Exporter(process, ready["mcp"], ready["web"], log)
    finally:
        _stop(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    text = log.read_text(errors="replace")
    assert process.poll() is None, f"ended with exit code {process.returncode}:\n{text[-3000:]}"
    return next(_ready_lines(text.splitlines()), {})


def _ready_lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if "mcp-exporter is ready" in line and line.endswith("}"):
            yield json.loads(line)
        elif "mcp-exporter is ready version=" in line:  # as --log.format text has it
            yield dict(re.findall(r"(\S+)=(\S+)", line))


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError("the exporter did not stop when it was told to") from None

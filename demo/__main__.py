"""Starts the stack, makes the calls, asks Prometheus, and stays up until Ctrl-C."""

from __future__ import annotations

import argparse
import fcntl
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import requests

from demo import addresses, call_trace, report
from demo.interrupt import EndAskedError, Interrupt
from demo.processes import Part, PartError, Processes
from demo.stack import DAY_MINUTES, ROOT, Stack
from demo.terminal import say, table
from demo.traffic import CALLS
from scripts import grafana, monitoring
from scripts.debian import UnavailableError

SECONDS_FOR_TRAFFIC = 60.0
SECONDS_TO_REPORT = 30.0
SECONDS_BETWEEN_QUESTIONS = 0.5
TRACED = "read_file"
"""The tool of whose calls one trace is shown."""
DASHBOARDS = {
    f"MCP {name}": f"mcp-{name}"
    for name in ("overview", "servers", "tools", "objectives", "exporter")
}


class Demo:
    """One run of the demo."""

    def __init__(
        self,
        stack: Stack,
        processes: Processes,
        interrupt: Interrupt,
        grafana: Path | UnavailableError,
    ) -> None:
        """``grafana`` is its program, or why there is none."""
        self._grafana = grafana
        self._stack = stack
        self._processes = processes
        self._interrupt = interrupt

    def run(self, products: set[str]) -> list[str]:
        """Start all, make the calls and report; returns what was not as it should be."""
        began = time.time()
        self._start(self._stack.traces())
        self._start(self._stack.echo())
        self._start(self._stack.exporter())
        if "Alertmanager" in products:
            self._start(self._stack.inbox())
            self._start(self._stack.alertmanager())
        self._start(self._stack.prometheus())
        self._start_grafana()
        self._drive()
        return self._report(began)

    def stay(self) -> None:
        """Keep everything up and tell what ends; only EndAskedError leads out."""
        self._processes.start(self._stack.day())
        self._tell_what_to_try()
        while True:
            self._interrupt.wait(SECONDS_BETWEEN_QUESTIONS)
            for name, how in self._processes.take_ended().items():
                say(f"{name} ended {how}; its log is {self._processes.log(name)}")

    def _start(self, part: Part) -> None:
        seconds = self._processes.start(part)
        say(f"  {part.name:<14} ready   {seconds:5.1f} s")

    def _start_grafana(self) -> None:
        if isinstance(self._grafana, UnavailableError):
            self._go_without_grafana(self._grafana)
            return
        try:
            self._start(self._stack.grafana(self._grafana))
        except PartError as error:
            self._go_without_grafana(error)

    def _go_without_grafana(self, reason: Exception) -> None:
        page = self._stack.url("exporter", "/")
        say(f"  without Grafana: {reason}; instead, the landing page: {page}")

    def _drive(self) -> None:
        calls = " and ".join(f"{number} {tool}" for tool, number in CALLS.items())
        say(f"  calls          {calls}, through {self._stack.url('mcp', '/files/mcp')}")
        self._processes.run(self._stack.traffic(), within=SECONDS_FOR_TRAFFIC)

    def _report(self, began: float) -> list[str]:
        made = time.time()
        say("  scrape         waiting for Prometheus to see them")
        prometheus = report.Prometheus(self._stack.url("prometheus"))
        instance = self._stack.addresses["exporter"]
        found = ["Prometheus has not scraped the exporter since the calls"]
        seen, trace = report.Report(), call_trace.CallTrace(TRACED)
        given_up = time.monotonic() + SECONDS_TO_REPORT
        while found and time.monotonic() < given_up:
            self._interrupt.wait(SECONDS_BETWEEN_QUESTIONS)
            if report.has_scraped_since(prometheus, instance, made):
                seen = report.ask(prometheus, instance)
                traces = self._stack.url("traces")
                trace = call_trace.find(prometheus, instance, TRACED, began, traces)
                found = report.shortcomings(seen, CALLS) + call_trace.shortcomings(trace)
        say(f"\nPrometheus says, asked at {prometheus.url}:\n\n{report.shown(seen)}\n")
        self._tell_where_to_look(trace)
        return found

    def _tell_where_to_look(self, trace: call_trace.CallTrace) -> None:
        pages = {
            "exporter": ("exporter", "/"),
            "its metrics": ("exporter", "/metrics"),
            "Prometheus": ("prometheus", "/"),
            "Alertmanager": ("alertmanager", "/"),
            "Grafana": ("grafana", "/"),
            "traces": ("traces", "/"),
            **{title: ("grafana", f"/d/{uid}") for title, uid in DASHBOARDS.items()},
        }
        rows = [
            [title, self._stack.url(name, path)]
            for title, (name, path) in pages.items()
            if name in self._stack.addresses
        ]
        rows.append(["trace of a call", trace.url or "none arrived"])
        rows.append(["MCP, for clients", self._stack.url("mcp", "/files/mcp")])
        say(table(["open", ""], rows))

    def _tell_what_to_try(self) -> None:
        echo = self._stack.echo()
        say()
        say(f"A day's traffic begins, {DAY_MINUTES:g} minutes long, from 8 in the morning on: in")
        say("its afternoon the server flaky is slow, fails, hangs and dies.")
        say("Up until Ctrl-C. To see an alert come, after a minute, and go, five minutes after:")
        say(f"  kill {self._processes.pid(echo.name)}    (the server echo is lost)")
        say(f"  {shlex.join(echo.command)}    (it is back)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the report")
    parser.add_argument("--free-ports", action="store_true", help="leave the usual ports alone")
    parser.add_argument(
        "--state", type=Path, default=ROOT / "build" / "demo", help="folder for data and logs"
    )
    chosen = parser.parse_args()
    interrupt = Interrupt()
    with _own(chosen.state) as state:
        return _run(chosen.once, chosen.free_ports, state, interrupt)


def _run(once: bool, free_ports: bool, state: Path, interrupt: Interrupt) -> int:
    say(f"The demo's data and logs: {state}")
    try:
        products, dashboards = _products(), _grafana()
        if isinstance(dashboards, Path):
            products.add("Grafana")
        stack = Stack(_addresses(products, free_ports), state)
        with Processes(ROOT, state / "logs", interrupt) as processes:
            demo = Demo(stack, processes, interrupt, dashboards)
            found = demo.run(products)
            for each in found:
                say(f"Not as it should be: {each}")
            if once:
                return int(bool(found))
            demo.stay()
    except EndAskedError:
        say("\nEnded; every process of the demo is gone.")
        return 130 if once else 0
    except (PartError, UnavailableError, requests.RequestException) as error:
        say(f"The demo cannot go on: {error}")
    return 1


def _products() -> set[str]:
    """Return the names of what could be had; Prometheus is what nothing goes without."""
    monitoring.provide(monitoring.PROMETHEUS)
    try:
        monitoring.provide(monitoring.ALERTMANAGER)
    except UnavailableError as reason:
        say(f"{reason}\nThe demo goes on without Alertmanager and its mails.")
        return {"Prometheus"}
    return {"Prometheus", "Alertmanager"}


def _grafana() -> Path | UnavailableError:
    """Grafana's program, or why there is none."""
    try:
        return grafana.find()
    except UnavailableError as reason:
        return reason


def _addresses(products: set[str], free_ports: bool) -> dict[str, str]:
    usual = dict(addresses.USUAL_PORTS)
    if "Alertmanager" not in products:
        del usual["alertmanager"], usual["inbox"]
    if "Grafana" not in products:
        del usual["grafana"]
    chosen = addresses.choose({name: 0 if free_ports else port for name, port in usual.items()})
    for name, address in chosen.items():
        if not free_ports and addresses.port(address) != usual[name]:
            say(f"  port {usual[name]} is taken: {name} listens at {address}")
    return chosen


@contextmanager
def _own(wanted: Path) -> Iterator[Path]:
    """Hold a folder that no other demo uses: the wanted one, else that with the next number."""
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "in-use").open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield folder
            return


if __name__ == "__main__":
    sys.exit(main())

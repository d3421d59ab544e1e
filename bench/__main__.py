"""What the exporter costs, beside nginx, beside nothing, and beside other proxies.

Everything takes its turn in every round, so that a bad minute of the machine hits all alike; what
is told are medians over the rounds, and ratios within them. The rows go to bench/results/rows.json,
from which `python -m bench.page` writes docs/performance.md.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bench import nginx
from bench.contenders import ALL, Before, BeforeStdio, Contender, Exporter, Nginx, Peer, Proxy
from bench.load.scrapes import Scraper
from bench.load.usage import memory_of, peak_memory_of, pin
from bench.page import Footprint, Run
from bench.peers import version
from bench.plan import ERAS, PAYLOADS, SESSIONS, Traits, plan
from bench.report.bars import tracing_verdicts, verdicts
from bench.report.machine import describe, nginx_version
from bench.report.tables import Book, tables
from bench.rounds import Rounds
from bench.scenarios import figures, lost_collector, slopes, tracing
from bench.scenarios.figures import MILLION, Figures
from bench.testbed import Testbed, TestbedError
from scripts.debian import UnavailableError
from scripts.environment import say

PARTS = ("rounds", "figures", "slopes", "tracing")
SECONDS_FOR_A_MILLION = 300.0


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in words(text)]


def arguments() -> argparse.Namespace:
    names = ", ".join(kind.name for kind in ALL)
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="one short round without other people's proxies: a test of the bench",
    )
    parser.add_argument("--only", type=words, default=[], help=f"of {names}")
    parser.add_argument("--parts", type=words, default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--sessions", type=numbers, default=list(SESSIONS))
    parser.add_argument("--payloads", type=words, default=list(PAYLOADS), help=", ".join(PAYLOADS))
    parser.add_argument("--eras", type=words, default=list(ERAS), help=", ".join(ERAS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="for each cell in each round")
    parser.add_argument("--calls", type=int, default=MILLION, help="over which memory may grow")
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="measure another checkout's exporter beside"
    )
    parser.add_argument("--output", type=Path, help="a folder for the rows and the tables")
    given = parser.parse_args()
    return smoke(given) if given.smoke else given


def smoke(given: argparse.Namespace) -> argparse.Namespace:
    """One short round, without other people's proxies: whether everything still works."""
    given.rounds, given.seconds, given.sessions = 1, 0.1, [1, 16]
    given.parts = ["rounds", "figures", "tracing"]
    given.only = [kind.name for kind in ALL if not issubclass(kind, Peer)]
    return given


class Bench:
    """One run."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        options = {"rounds": float(given.rounds), "seconds": given.seconds}
        self.run = Run(describe(), options, [], Figures(), {}, {}, {}, {}, [])

    def measure(self) -> None:
        """Measure the parts that are wanted; what fails is told and left out."""
        if "rounds" in self._given.parts:
            self._rounds()
        if "figures" in self._given.parts:
            self._figures()
        if "slopes" in self._given.parts:
            self._slopes()
        if "tracing" in self._given.parts:
            self._try("tracing", self._tracing)
            self._try("a lost collector", self._lost_collector)

    def _rounds(self) -> None:
        given = self._given
        with Testbed() as testbed:
            pin(testbed.rest)
            contenders = list(self._started(testbed))
            cells = plan(
                [traits(each) for each in contenders], given.sessions, given.payloads, given.eras
            )
            webs = [contender.web for contender in contenders if isinstance(contender, Exporter)]
            time.sleep(0 if given.smoke else figures.SETTLING)
            proxies = [contender for contender in contenders if isinstance(contender, Proxy)]
            idle = {proxy.name: memory(proxy, memory_of) for proxy in proxies}
            rounds = Rounds(testbed, contenders, given.seconds)
            with Scraper(webs, 1.0 if given.smoke else 5.0) as scraper:
                rounds.run(cells, given.rounds)
            self.run.memory = {
                proxy.name: Footprint(
                    idle[proxy.name], memory(proxy, peak_memory_of), proxy.seconds_to_listen
                )
                for proxy in proxies
            }
        self.run.rows, self.run.failures = rounds.rows, rounds.failures
        if scraper.failure:
            self.run.failures.append(f"a scrape: {scraper.failure}")

    def _started(self, testbed: Testbed) -> Iterator[Contender]:
        """Start who is wanted and can be had; say who cannot."""
        backend = testbed.backend(testbed.rest)
        for contender in self._wanted():
            try:
                contender.start(testbed, backend)
            except UnavailableError as reason:
                self.run.skipped[contender.name] = str(reason)
                say(f"without {contender.name}: {reason}")
            except TestbedError as reason:
                self._failed(contender.name, reason)
            else:
                self._name(contender)
                yield contender

    def _wanted(self) -> Iterator[Contender]:
        given = self._given
        yield from (kind() for kind in ALL if not given.only or kind.name in given.only)
        if given.before:
            for earlier in (Before(), BeforeStdio()):
                earlier.checkout = given.before
                yield earlier

    def _name(self, contender: Contender) -> None:
        if isinstance(contender, Nginx):
            self.run.machine["nginx"] = nginx_version(nginx.provide())
        elif isinstance(contender, Peer):
            self.run.machine[contender.package] = version(contender.package)

    def _figures(self) -> None:
        found, given = self.run.figures, self._given
        rounds, seconds = given.rounds, given.seconds
        steps: dict[str, Callable[[Testbed], None]] = {
            "start": lambda testbed: figures.start(testbed, found, 1 if given.smoke else 5),
            "recording": lambda _: figures.recording(found),
            "idle memory": lambda testbed: figures.idle_memory(testbed, found),
            "tools": lambda testbed: figures.tools(testbed, found, rounds, 2 * seconds),
            "scrapes": lambda testbed: figures.scraping(testbed, found, rounds + 2, 2 * seconds),
            "overhead": lambda testbed: figures.overhead(testbed, found, rounds, seconds),
            "memory": lambda testbed: figures.growth(
                testbed, found, given.calls, SECONDS_FOR_A_MILLION
            ),
        }
        if given.smoke:
            steps = {name: steps[name] for name in ("start", "recording", "overhead")}
        for name, step in steps.items():
            self._try(name, step)

    def _slopes(self) -> None:
        for name in slopes.SLOPES:
            self._try(f"the cost by {name}", functools.partial(self._slope, name))
        self._try("sessions held", lambda s: self.run.held.update(slopes.sessions_held(s)))

    def _slope(self, name: str, testbed: Testbed) -> None:
        measure = slopes.SLOPES[name]
        self.run.slopes[name] = measure(testbed, self._given.rounds, self._given.seconds)

    def _tracing(self, testbed: Testbed) -> None:
        self.run.machine["nginx"] = nginx_version(nginx.provide())
        self.run.tracing = tracing.measure(testbed, *self._turns())

    def _lost_collector(self, testbed: Testbed) -> None:
        calls = 0 if self._given.smoke else self._given.calls
        self.run.lost_collector = lost_collector.measure(
            testbed, *self._turns(), calls, SECONDS_FOR_A_MILLION
        )

    def _turns(self) -> tuple[int, float, float]:
        """How many turns there are for tracing, how long each is, and the rest before them."""
        given = self._given
        if given.smoke:
            return given.rounds, given.seconds, 0.0
        return given.rounds + 2, given.seconds, figures.SETTLING

    def _try(self, name: str, step: Callable[[Testbed], None]) -> None:
        say(f"measuring {name}")
        try:
            with Testbed() as testbed:
                pin(testbed.rest)
                step(testbed)
        except UnavailableError as reason:
            self.run.skipped[name] = str(reason)
        except (TestbedError, OSError, ValueError) as error:
            self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self.run.failures.append(f"{name}: {error}")
        say(self.run.failures[-1])


def traits(contender: Contender) -> Traits:
    payloads = tuple(name for name in PAYLOADS if name != "SSE" or contender.streams)
    return Traits(contender.name, contender.transport, contender.eras, contender.is_brief, payloads)


def memory(proxy: Proxy, measure: Callable[[int], float]) -> float:
    """MiB of a proxy's own processes."""
    return sum(measure(process) for process in proxy.processes())


def told(run: Run) -> str:
    """The tables of a run in Markdown."""
    book = Book(run.rows)
    return "\n".join(
        [
            *verdicts(book, run.figures),
            "",
            *tracing_verdicts(run.tracing, run.lost_collector),
            "",
            tables(book),
        ]
    )


def main() -> int:
    given = arguments()
    # Where a machine sets it, each start would compile every module anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    bench = Bench(given)
    bench.measure()
    text = told(bench.run)
    sys.stdout.write(text)
    if given.output:
        given.output.mkdir(parents=True, exist_ok=True)
        rows = msgspec.json.format(msgspec.json.encode(bench.run), indent=1)
        (given.output / "rows.json").write_bytes(rows + b"\n")
        (given.output / "tables.md").write_text(text)
    for failure in bench.run.failures:
        say(f"failed: {failure}")
    return 1 if bench.run.failures else 0


if __name__ == "__main__":
    sys.exit(main())

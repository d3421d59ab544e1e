"""Restarts one of two exporters behind HAProxy: python -m tests.soak.rollouts [--restarts 10]

Clients of both eras call a stdio server and one over HTTP without a pause, and hold streams open.
HAProxy asks ``/-/ready`` and keeps sessions where they began. A call that fails, or one that no
scrape counted, is exit code 1.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from scripts.debian import UnavailableError, unpack
from scripts.environment import TOOLS, alone, say
from tests.support.rollout import Clients, Pair, Scraper
from tests.support.running import free_address, running, wait_for

SECONDS = 60.0
REST = 4.0
"""Seconds with both exporters between two restarts: sessions and streams begin at both."""

LIBRARIES = "lib(lua|opentracing|pcre2)"
"""What Debian's HAProxy needs and not every system has."""

CONFIGURATION = """\
global
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 5m
    timeout server 5m
    timeout check 5s
frontend clients
    bind {listen}
    default_backend exporters
frontend state
    bind {state}
    stats enable
    stats uri /
backend exporters
    balance roundrobin
    option httpchk GET /-/ready
    http-check send hdr Host localhost
    stick-table type string len 64 size 100k expire 30m
    stick store-response res.hdr(mcp-session-id)
    stick match req.hdr(mcp-session-id)
{servers}
"""


def main() -> int:
    """Return 0 where no call failed and all were counted."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.soak.rollouts")
    parser.add_argument("--restarts", type=int, default=10)
    restarts = parser.parse_args().restarts
    try:
        program = _provide()
    except UnavailableError as error:
        say(f"make rollouts: not run: {error}; install HAProxy, so that haproxy is on the PATH")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        return _run(program, Path(folder), restarts)


def _run(program: Path, folder: Path, restarts: int) -> int:
    with (
        Pair(folder, "4s") as pair,
        _haproxy(program, folder, pair.addresses) as (address, state),
        Scraper([web for _, web in pair.addresses]) as scraper,
    ):
        wait_for(lambda: _ready(state) == 2, SECONDS, "HAProxy finds both ready")
        with Clients(address) as clients:
            for number in range(1, restarts + 1):
                clients.hold(pair.addresses[1][0], pair.restart)
                wait_for(lambda: _ready(state) == 2, SECONDS, "HAProxy finds it ready again")
                time.sleep(REST)
                print(f"{number} restarts: {clients.calls} calls, {len(clients.failed)} failed")
        with _tolerated():
            wait_for(lambda: scraper.sums() == clients.counted, SECONDS, "all are counted")
        return _report(clients, scraper)


def _report(clients: Clients, scraper: Scraper) -> int:
    sums = scraper.sums()
    print(f"{'':<24}{'clients':>10}{'scrapes':>10}")
    for name in sorted({*clients.counted, *sums}):
        print(f"{name:<24}{clients.counted[name]:>10}{sums[name]:>10}")
    print(f"{'streams ended':<24}{clients.ended_streams:>10}")
    for line in clients.failed[:20]:
        print(f"FAILED {line}")
    is_good = not clients.failed and sums == clients.counted
    print("ok" if is_good else "WRONG: a call failed, or was not counted")
    return 0 if is_good else 1


@contextmanager
def _tolerated() -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        print(error)


def _provide() -> Path:
    """The path of HAProxy: the one on the PATH, or Debian's, unpacked with no root. Raises
    ``UnavailableError``."""
    found = shutil.which("haproxy")
    if found is not None:
        return Path(found)
    into = TOOLS / "haproxy"
    program = into / "usr/sbin/haproxy"
    with alone("haproxy"):
        if not program.exists():
            unpack(["haproxy"], into, LIBRARIES)
    return program


@contextmanager
def _haproxy(
    program: Path, folder: Path, exporters: list[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """A balancer; where clients connect, and where it says how it is."""
    listen, state = free_address(), free_address()
    servers = "\n".join(
        f"    server exporter{number} {mcp} check addr 127.0.0.1 port {web.rpartition(':')[2]}"
        " inter 500ms fall 2 rise 2"
        for number, (mcp, web) in enumerate(exporters)
    )
    file = folder / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(listen=listen, state=state, servers=servers))
    libraries = program.parents[1] / "lib"  # of an unpacked package
    paths = ":".join(str(path.parent) for path in libraries.glob("*/liblua5*.so.0"))
    environ = {"LD_LIBRARY_PATH": paths} if program.is_relative_to(TOOLS) else {}
    words: list[str | Path] = [program, "-db", "-f", file]
    with running(words, f"http://{state}/", folder / "haproxy.log", **environ):
        yield listen, state


def _ready(state: str) -> int:
    with requests.Session() as http:
        http.trust_env = False
        table = http.get(f"http://{state}/;csv", timeout=5).text.splitlines()
    rows = list(csv.DictReader(table))
    return sum(row["svname"].startswith("exporter") and row["status"] == "UP" for row in rows)


if __name__ == "__main__":
    sys.exit(main())

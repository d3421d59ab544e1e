"""A wrapped server is the same server to its client, whatever becomes of the exporter."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread

import psutil
import pytest
from mcp import Client as OfficialClient
from mcp import StdioServerParameters
from mcp.types import Implementation

from exporter.wrap.buffer import MAX_CALLS
from tests.support.exporting import Exporter, Scrape, exporter, is_running, scripted_stdio
from tests.support.paths import ROOT
from tests.support.running import wait_for
from tests.support.wrapping import Client, client, scripted_stdio_command, wrapped

OTHER = {"other": scripted_stdio()}
CALLS = 10_000
PAUSE = 0.00025
"""Seconds between two calls, so that an exporter's start is in the middle of them."""

ABSENCE = 0.25
"""Seconds that the exporter is away or stopped at the least, and that who waits for it loses."""


def calls(scrape: Scrape) -> float:
    return scrape.total("mcp_tool_calls_total", server="files", tool="act")


def dropped(scrape: Scrape) -> float:
    return scrape.total("mcp_exporter_wrap_dropped_total", server="files")


def comes_to(running: Exporter, wanted: float) -> None:
    wait_for(lambda: calls(running.scrape()) >= wanted, 60, f"{wanted:g} calls are counted")
    assert calls(running.scrape()) == wanted


def run(command: list[str], said: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=said, capture_output=True, cwd=ROOT, timeout=60)


def test_both_sides_get_the_same_bytes_as_without(tmp_path: Path) -> None:
    said = [
        b'{"jsonrpc":"2.0", "id":1.0,"method":"ping" }\r\n',
        b'{"id":"\xc3\xa9","method":"x"}\n',
    ]
    said += [b'{"id":%d,"method":"tools/call","params":{"pad":"%s"}}\n' % (7, b"x" * 300_000)]
    found = []
    for name in ("direct", "wrapped"):
        folder = tmp_path / name
        folder.mkdir()
        command = scripted_stdio_command("--record", str(folder))
        if name == "wrapped":
            command = wrapped(command, tmp_path / "nobody")
        ended = run(command, b"".join(said))
        heard = (folder / "heard").read_bytes()
        assert ended.stdout == (folder / "said").read_bytes()
        found.append((heard, ended.stdout, ended.returncode))
    assert found[0] == found[1]
    assert found[0][0] == b"".join(said)


@pytest.mark.parametrize("end", ["sys.exit(3)", "os.kill(os.getpid(), 15)", "os._exit(0)"])
def test_exit_code_signal_and_stderr_are_the_servers_own(end: str) -> None:
    script = f"import os, sys; os.write(2, b'oh\\n'); os.write(1, b'bye'); {end}"
    command = [sys.executable, "-c", script]
    direct, through = run(command), run(wrapped(command, ""))
    assert (direct.returncode, direct.stdout, direct.stderr) == (
        through.returncode,
        through.stdout,
        through.stderr,
    )


def test_a_command_that_does_not_exist_is_one_clear_line() -> None:
    ended = run(wrapped(["no-such-program"], ""))
    assert ended.returncode == 127
    assert ended.stderr == (
        b"mcp-exporter: wrap: cannot start 'no-such-program': no such file or directory\n"
    )


LISTENING = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9));"
    "print('ready', flush=True); time.sleep(60)"
)

DEAF = """
import signal, sys
from exporter.wrap import process
load = process._start_reader
def start(*given):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return load(*given)
process._start_reader = start
sys.exit(process.main(sys.argv[1:]))
"""
"""``wrap`` whose main thread does not wake up for a signal: it comes to another one."""


@pytest.mark.parametrize("program", [["-m", "exporter", "wrap"], ["-c", DEAF]])
def test_signals_reach_the_server_whatever_the_wrapper_is_doing(program: list[str]) -> None:
    words = ["--wrap.socket", "", "files", "--", sys.executable, "-c", LISTENING]
    with client([sys.executable, *program, *words]) as desk:
        assert desk.output.readline() == b"ready\n"
        wait_for(lambda: psutil.Process(desk.process.pid).num_threads() > 4, 60, "it is watched")
        desk.process.terminate()
        assert desk.process.wait(timeout=30) == 9


def test_a_client_that_kills_its_server_kills_it() -> None:
    with client(
        wrapped([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], "")
    ) as desk:
        desk.output.readline()
        (server,) = psutil.Process(desk.process.pid).children()
        desk.process.kill()
        desk.process.wait()
        wait_for(lambda: not is_running(server.pid), 60, "the server is gone")


@pytest.mark.parametrize("place", ["s", "s.port"])
def test_the_scrape_counts_what_the_client_counts(tmp_path: Path, place: str) -> None:
    socket = tmp_path / place
    with (
        exporter(tmp_path, OTHER, "--wrap.socket", str(socket)) as running,
        client(wrapped(scripted_stdio_command(), socket)) as desk,
    ):
        desk.greet()
        for _ in range(50):
            desk.call()
        for _ in range(5):
            desk.call(how="fail")
        desk.call(how="fault")
        comes_to(running, 56)
        scrape = running.scrape()
        assert scrape.by("outcome", "mcp_tool_calls_total", server="files", tool="act") == {
            "ok": 50,
            "tool_error": 5,
            "protocol_error": 1,
        }
        assert scrape.total("mcp_sessions", server="files") == 1
        assert scrape.total("mcp_server_tools", server="files") == 1
        assert scrape.total("mcp_server_process_resident_memory_bytes", server="files") > 1e6
        assert desk.leave() == 0
        wait_for(lambda: not running.scrape().total("mcp_sessions", server="files"), 60, "it left")
        exits = running.scrape().by("reason", "mcp_server_process_exits_total", server="files")
        assert exits == {"clean": 1}


class Steady:
    """A client in a process of its own, in the middle of its calls."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.made = 0
        """So many calls, and up to a hundred more."""
        self._process = process
        self._found: list[dict[str, list[float]]] = []
        self._reader = Thread(target=self._read)
        self._reader.start()

    def comes_to(self, count: int) -> None:
        """Wait until it has made so many, or all."""
        wait_for(lambda: self.made >= min(count, CALLS), 60, f"{count} calls are made")

    def end(self) -> list[dict[str, list[float]]]:
        """Wait for the last; what each took, wrapped and direct."""
        self._reader.join(60)
        return self._found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("["):
                self._found = json.loads(line)
                return
            self.made = int(line)


@contextmanager
def steady(socket: Path) -> Iterator[Steady]:
    commands = [wrapped(scripted_stdio_command(), socket), scripted_stdio_command()]
    words = [str(CALLS), str(PAUSE), *map(json.dumps, commands)]
    command = [sys.executable, "-m", "tests.support.steady_client", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield Steady(process)
        except BaseException:
            process.kill()
            raise


@pytest.mark.alone
def test_no_call_is_lost_or_waits_whatever_becomes_of_the_exporter(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    flags = ("--wrap.socket", str(socket))
    with steady(socket) as desk:
        with exporter(tmp_path / "first", OTHER, *flags) as first:
            desk.comes_to(1000)
            os.kill(first.pid, signal.SIGSTOP)
            desk.comes_to(2000)
            os.kill(first.pid, signal.SIGCONT)
            told = wait_for(lambda: calls(first.scrape()), 60, "it goes on")
            desk.comes_to(2500)
            told = calls(first.scrape())
            os.kill(first.pid, signal.SIGKILL)
        assert told > 1500
        desk.comes_to(desk.made + MAX_CALLS + 1000)
        with exporter(tmp_path / "second", OTHER, *flags) as second:
            wait_for(lambda: dropped(second.scrape()) > 0, 60, "drops are counted")
            desk.comes_to(desk.made + 200)
            lost = dropped(second.scrape())
            told += calls(second.scrape())
        made = desk.made
        with exporter(tmp_path / "third", OTHER, *flags) as third:
            wrapped_calls, direct_calls = desk.end()
            # Of what was done before, its forerunners may have acknowledged what nobody scraped.
            wait_for(lambda: calls(third.scrape()) >= CALLS - made - 100, 60, "the rest is told")
            told += calls(third.scrape())
            assert dropped(third.scrape()) == 0
    assert 1000 <= lost <= CALLS - told
    assert len(wrapped_calls["seconds"]) == CALLS
    for name, found in (("wrapped", wrapped_calls), ("direct", direct_calls)):
        print(name, *(f"{kind}: {shown(each)}" for kind, each in found.items()))
    assert max(wrapped_calls["own"]) < ABSENCE + max(direct_calls["own"])


def shown(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=1000)
    return "p50 {:.3f}, p99 {:.3f}, p99.9 {:.3f}, max {:.3f} ms".format(
        *(each * 1000 for each in (cuts[499], cuts[989], cuts[998], max(seconds)))
    )


def test_the_official_client_gets_what_it_gets_without(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    direct = [sys.executable, "-m", "mcp_server_time"]
    with exporter(tmp_path, OTHER, "--wrap.socket", str(socket)) as running:
        found = [
            asyncio.run(convert_times(command)) for command in (direct, wrapped(direct, socket))
        ]
        assert found[0] == found[1]
        counted = running.scrape
        wait_for(lambda: not counted().total("mcp_sessions", server="files"), 60, "it left")
        assert counted().by("tool", "mcp_tool_calls_total", server="files") == {"convert_time": 5}
        started = counted().by("client", "mcp_sessions_started_total", server="files")
        assert started == {"desk": 1}


async def convert_times(command: list[str]) -> list[str]:
    server = StdioServerParameters(command=command[0], args=command[1:], cwd=ROOT)
    info = Implementation(name="desk", version="1")
    async with OfficialClient(server, client_info=info) as desk:
        said = [(await desk.list_tools()).model_dump_json()]
        for hour in range(5):
            zones = {"source_timezone": "UTC", "target_timezone": "Asia/Kathmandu"}
            result = await desk.call_tool("convert_time", {**zones, "time": f"0{hour}:30"})
            said.append(result.model_dump_json())
    return said


@pytest.mark.alone
def test_twenty_wrapped_servers_are_small(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with exporter(tmp_path, OTHER, "--wrap.socket", str(socket)) as running, ExitStack() as stack:
        commands = [wrapped(scripted_stdio_command(), socket, f"s{number}") for number in range(20)]
        desks = [stack.enter_context(client(command)) for command in commands]
        for desk in desks:
            desk.greet()
            many(desk, 50)
        counted = "mcp_tool_calls_total"
        wait_for(lambda: running.scrape().total(counted, tool="act") == 1000, 60, "all are told")
        for desk in desks:
            used = psutil.Process(desk.process.pid).memory_full_info().uss
            assert used < 25 * 1024 * 1024


def test_what_could_not_be_told_is_counted_once_somebody_listens(tmp_path: Path) -> None:
    socket = tmp_path / "s"
    with client(wrapped(scripted_stdio_command(), socket)) as desk:
        desk.greet()
        many(desk, CALLS)
        with exporter(tmp_path, OTHER, "--wrap.socket", str(socket)) as running:
            wait_for(lambda: dropped(running.scrape()) > 0, 60, "drops are counted")
            desk.call()
            wait_for(lambda: told(running.scrape()) >= CALLS + 3, 60, "all is told")
            assert told(running.scrape()) == CALLS + 3
            assert dropped(running.scrape()) > CALLS / 2


def told(scrape: Scrape) -> float:
    """Requests that are counted, and those that are counted as dropped."""
    return scrape.total("mcp_requests_total", server="files") + dropped(scrape)


def many(desk: Client, count: int) -> None:
    for _ in range(count):
        desk.call()

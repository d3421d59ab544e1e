"""What systemd is told, and the unit file."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from exporter.cli.main import parser
from exporter.systemd import SystemdNotifier
from tests.support.exporting import exporter, scripted_stdio
from tests.support.paths import ROOT

UNIT = ROOT / "deploy" / "mcp-exporter.service"


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket as systemd has one, and how it is named."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@mcp-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name.replace("@", "\0", 1) if name.startswith("@") else name)
        bound.settimeout(30)
        yield bound, name


def heard(bound: socket.socket) -> list[str]:
    return bound.recv(4096).decode().splitlines()


def test_each_state_is_one_message(manager: tuple[socket.socket, str]) -> None:
    bound, name = manager
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name})
    notifier.ready("Relays to 2 servers")
    assert heard(bound) == ["READY=1", "STATUS=Relays to 2 servers"]
    notifier.reloading()
    first, second = heard(bound)
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.stopping(12.5)
    assert heard(bound)[:2] == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=12500000"]


def test_a_beat_is_sent_twice_in_the_time_that_is_wanted(
    manager: tuple[socket.socket, str],
) -> None:
    bound, name = manager
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "10000000"})
    for tenths in range(101):
        notifier.alive(tenths / 10)
    notifier.stopping(1.0)
    signs = []
    while "STOPPING=1" not in (lines := heard(bound)):
        signs.append(lines)
    assert signs == [["WATCHDOG=1"]] * 3  # at 0, 5 and 10 seconds


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_watchdog_no_beat_is_sent(
    manager: tuple[socket.socket, str], environ: dict[str, str]
) -> None:
    bound, name = manager
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name, **environ})
    notifier.alive(0.0)
    bound.setblocking(False)
    with pytest.raises(BlockingIOError):
        bound.recv(1)


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "@nobody"])
def test_without_a_socket_nothing_is_sent(address: str) -> None:
    notifier = SystemdNotifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    notifier.ready("x")
    notifier.alive(0.0)
    notifier.stopping(1.0)


def test_a_manager_that_reads_nothing_holds_up_no_one(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(name)
        notifier = SystemdNotifier({"NOTIFY_SOCKET": name})
        for _ in range(5000):
            notifier.ready("x")


@pytest.fixture(scope="module")
def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(UNIT)
    return parser


def test_the_unit_starts_the_command_as_it_is(unit: configparser.ConfigParser) -> None:
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/mcp-exporter")
    given = vars(parser().parse_args(words))
    assert given["config.file"] == "/etc/mcp-exporter/config.yml"
    assert given["wrap.socket"] == ""


def test_the_unit_waits_for_what_we_say_and_gives_us_the_time_that_we_take(
    unit: configparser.ConfigParser,
) -> None:
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) >= 20
    assert int(service["WatchdogSec"]) >= 10


def begin_session(url: str) -> None:
    info = {"name": "test", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    headers = {"Accept": "application/json, text/event-stream"}
    assert requests.post(url, json=body, headers=headers, timeout=30).ok


def children(pids: set[int]) -> list[Path]:
    """The processes that are stdio servers."""
    found = [Path(f"/proc/{pid}") for pid in pids]
    servers = [path for path in found if b"scripted_stdio" in (path / "cmdline").read_bytes()]
    assert servers
    return servers


@pytest.mark.e2e
def test_a_real_exporter_says_when_it_is_ready_reloading_and_stopping(tmp_path: Path) -> None:
    name = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(name))
        bound.settimeout(30)
        # The child of the session is asked for its environment below.
        environ = {"NOTIFY_SOCKET": str(name), "WATCHDOG_USEC": "2000000"}
        with pytest.MonkeyPatch.context() as patch:
            for key, value in environ.items():
                patch.setenv(key, value)
            with exporter(tmp_path / "run", {"child": scripted_stdio()}) as running:
                assert heard(bound) == ["WATCHDOG=1"]
                assert heard(bound) == ["READY=1", "STATUS=Relays to 1 server"]
                begin_session(running.url("child"))
                for child in children(running.descendants()):
                    assert b"NOTIFY_SOCKET" not in (child / "environ").read_bytes()
                os.kill(running.pid, signal.SIGHUP)
                lines = [heard(bound)]
                while lines[-1][0] != "READY=1":
                    lines.append(heard(bound))
                states = [line[0] for line in lines if line != ["WATCHDOG=1"]]
                assert states == ["RELOADING=1", "READY=1"]
        said = []
        bound.setblocking(False)
        while True:
            try:
                said.append(heard(bound)[0])
            except BlockingIOError:
                break
        assert "STOPPING=1" in said
        assert "READY=1" not in said

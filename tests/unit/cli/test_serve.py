"""From flags to a running exporter, and its end by a signal."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter import app
from exporter.app import Settings
from exporter.cli import serve
from exporter.cli.main import main
from exporter.config.errors import ConfigError
from exporter.config.source import ConfigSource
from tests.support.fakes import settle
from tests.unit.cli.conftest import complaint


def test_flags_go_before_the_environment_and_that_before_the_defaults(
    config: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_EXPORTER_CONFIG_FILE", str(config))
    monkeypatch.setenv("MCP_EXPORTER_MCP_LISTEN_ADDRESS", "127.0.0.2:1")
    monkeypatch.setenv("MCP_EXPORTER_LOG_FORMAT", "json")
    monkeypatch.setenv("MCP_EXPORTER_LOG_LEVEL", "error")
    assert main(["serve", "--mcp.listen-address", "127.0.0.3:3", "--log.level=debug"]) == 0
    logged, settings = served
    assert logged == ("debug", "json")
    assert (settings.mcp_host, settings.mcp_port) == ("127.0.0.3", 3)
    assert (settings.web_host, settings.web_port) == ("127.0.0.1", 6280)
    assert settings.external_url is None


def test_the_default_file_need_not_be_there_where_a_directory_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "servers.d").mkdir()
    (tmp_path / "servers.d/a.yml").write_text("servers: {a: {command: cat}}\n")
    assert list(serve._source(serve.DEFAULT_FILE, "servers.d").read().config.servers) == ["a"]
    (tmp_path / serve.DEFAULT_FILE).write_text("servers: {main: {command: cat}}\n")
    both = serve._source(serve.DEFAULT_FILE, "servers.d").read()
    assert list(both.config.servers) == ["main", "a"]
    with pytest.raises(ConfigError, match=r"other\.yml: cannot be read"):
        serve._source("other.yml", "servers.d").read()


def test_without_anything_said_both_listeners_are_on_loopback(
    config: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    config.rename("mcp-exporter.yml")
    assert main(["serve"]) == 0
    _, settings = served
    assert (settings.mcp_host, settings.mcp_port) == ("127.0.0.1", 6279)
    assert (settings.web_host, settings.web_port) == ("127.0.0.1", 6280)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("[::1]:1", "::1"),
        ("localhost:1", "localhost"),
        ("127.9.9.9:1", "127.9.9.9"),
    ],
)
def test_any_loopback_address_may_be_listened_on(
    config: Path, served: list[Any], address: str, host: str
) -> None:
    assert main(["serve", f"--config.file={config}", "--mcp.listen-address", address]) == 0
    assert served[1].mcp_host == host


@pytest.mark.parametrize("flag", ["--mcp.listen-address", "--web.listen-address"])
@pytest.mark.parametrize(
    "address", ["", "6279", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "h:²"]
)
def test_an_address_that_is_none_is_said_so(
    capsys: pytest.CaptureFixture[str], flag: str, address: str
) -> None:
    line = complaint(capsys, "serve", flag, address)
    assert line == f"{flag}: {address!r} is not HOST:PORT, such as 127.0.0.1:6279"


def test_a_system_without_signals_stops_the_exporter_by_cancelling_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course: list[str] = []

    class App:
        def __init__(self, *_: object) -> None:
            self.hang_up = self.abort = None

        async def start(self) -> None:
            course.append("start")

        async def stop(self) -> None:
            course.append("stop")

    def reject(*_: object) -> None:
        raise NotImplementedError

    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", reject)
        running = asyncio.create_task(
            serve._run(ConfigSource(None, None, {}), Settings("", 0, "", 0))
        )
        await settle()
        assert course == ["start"]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    monkeypatch.setattr(app, "build", App)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    asyncio.run(run())
    assert course == ["start", "stop"]


def test_the_first_signal_stops_and_every_later_one_aborts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    handlers: dict[int, Callable[..., object]] = {}
    course: list[str] = []
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    serve._heed_stops(lambda: course.append("stop"), lambda: course.append("abort"))
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        handlers[sign](sign, None)
    assert course == ["stop", "abort", "abort"]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def started(config: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "exporter", "serve", f"--config.file={config}", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.e2e
@pytest.mark.parametrize("flag", ["--mcp.listen-address", "--web.listen-address"])
def test_an_address_that_is_taken_is_one_line_and_code_2(
    config: Path, taken: int, flag: str
) -> None:
    addresses = dict.fromkeys(("--mcp.listen-address", "--web.listen-address"), "127.0.0.1:0")
    addresses[flag] = f"127.0.0.1:{taken}"
    with started(config, *(f"{name}={value}" for name, value in addresses.items())) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err.splitlines()[-1] == (
        f"mcp-exporter: {flag}: cannot listen on 127.0.0.1:{taken}: Address already in use; "
        "choose another address"
    )
    assert "Traceback" not in err


@pytest.mark.e2e
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_exporter_in_order(config: Path, sign: signal.Signals) -> None:
    config.write_text("{servers: {demo: {command: cat, probe: {enabled: false}}}}\n")
    addresses = ("--mcp.listen-address=127.0.0.1:0", "--web.listen-address=127.0.0.1:0")
    with started(config, *addresses) as process:
        assert process.stderr is not None
        while "is ready" not in (line := process.stderr.readline()):
            assert line, "ended before it was ready"
        process.send_signal(sign)
        rest = process.stderr.read()
    assert process.returncode == 0
    assert "mcp-exporter has stopped" in rest
    assert "Traceback" not in rest

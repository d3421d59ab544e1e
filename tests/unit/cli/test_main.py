"""Flags, environment and bad input: one line that says what, where and how to mend it."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter import __version__, app
from exporter.app import Settings
from exporter.cli import flags
from exporter.cli import main as cli
from exporter.config.model import Config
from exporter.telemetry import logs
from tests.support.fakes import settle

CONFIG = "servers: {demo: {command: cat}, other: {url: 'http://127.0.0.1:1/mcp'}}\n"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(flags.ENVIRONMENT):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.yml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """With what settings the exporter would have run."""
    settings: list[Any] = []

    async def run(_: object, given: object) -> None:
        settings.append(given)

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setattr(logs, "configure", lambda *given: settings.append(given))
    return settings


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command ends with."""
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("mcp-exporter: ")
    return line.removeprefix("mcp-exporter: ")


def test_check_says_what_a_configuration_holds(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(config)]) == 0
    assert (
        capsys.readouterr().out == f"{config}: 2 servers, all valid\n  demo: stdio\n  other: http\n"
    )


def test_check_of_a_bad_configuration_is_one_line_and_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.yml"
    path.write_text("servers: {demo: {comand: cat}}\n")
    line = complaint(capsys, "check", str(path))
    assert str(path) in line
    assert 'did you mean "command"?' in line


@pytest.mark.parametrize("command", ["check", "probe"])
def test_a_file_that_is_not_there_is_said_so(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.yml"
    line = complaint(capsys, command, str(path))
    assert line == f"{path}: cannot be read: no such file or directory; check the path"


def test_a_probe_of_an_unknown_server_names_those_that_are_known(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = complaint(capsys, "probe", str(config), "nobody")
    assert line == f"{config}: there is no server 'nobody'; it has: demo, other"


def test_a_server_that_is_lost_makes_probe_fail(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["probe", str(config), "other"]) == 1
    assert "connect_error" in capsys.readouterr().out


def test_flags_go_before_the_environment_and_that_before_the_defaults(
    config: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_EXPORTER_CONFIG_FILE", str(config))
    monkeypatch.setenv("MCP_EXPORTER_MCP_LISTEN_ADDRESS", "127.0.0.2:1")
    monkeypatch.setenv("MCP_EXPORTER_LOG_FORMAT", "json")
    monkeypatch.setenv("MCP_EXPORTER_LOG_LEVEL", "error")
    assert cli.main(["serve", "--mcp.listen-address", "127.0.0.3:3", "--log.level=debug"]) == 0
    logged, settings = served
    assert logged == ("debug", "json")
    assert (settings.mcp_host, settings.mcp_port) == ("127.0.0.3", 3)
    assert (settings.web_host, settings.web_port) == ("127.0.0.1", 6280)
    assert settings.config_file == config
    assert settings.external_url is None


def test_without_anything_said_both_listeners_are_on_loopback(
    config: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    config.rename("mcp-exporter.yml")
    assert cli.main(["serve"]) == 0
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
    assert cli.main(["serve", f"--config.file={config}", "--mcp.listen-address", address]) == 0
    assert served[1].mcp_host == host


@pytest.mark.parametrize("address", ["0.0.0.0:1", ":1", "[::]:1", "192.0.2.1:1", "example.org:1"])
def test_others_may_only_be_let_in_on_purpose(
    config: Path, served: list[Any], capsys: pytest.CaptureFixture[str], address: str
) -> None:
    arguments = ["serve", f"--config.file={config}", "--mcp.listen-address", address]
    line = complaint(capsys, *arguments)
    assert "can be reached from other machines" in line
    assert "--mcp.allow-unauthenticated" in line
    assert cli.main([*arguments, "--mcp.allow-unauthenticated"]) == 0
    assert served[-1].mcp_port == 1


def test_tokens_or_client_certificates_open_other_addresses(
    config: Path, served: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["serve", f"--config.file={config}", "--mcp.listen-address=0.0.0.0:1"]
    tokens = tmp_path / "tokens.yml"
    assert cli.main([*arguments, f"--mcp.token-file={tokens}"]) == 0
    assert served[-1].access.tokens == tokens
    pair = ["--mcp.tls-cert-file=own.crt", "--mcp.tls-key-file=own.key"]
    assert cli.main([*arguments, *pair, "--mcp.tls-client-ca-file=ca.pem"]) == 0
    line = complaint(capsys, *arguments, *pair)
    assert "give the clients tokens (--mcp.token-file) or certificates" in line


def test_half_a_certificate_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = complaint(capsys, "serve", f"--config.file={config}", "--mcp.tls-cert-file=own.crt")
    assert line.startswith("--mcp.tls-cert-file and --mcp.tls-key-file belong together")


def test_check_reads_the_files_of_who_may_come_in_too(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens.yml"
    tokens.write_text("me: short\n")
    line = complaint(capsys, "check", str(config), f"--mcp.token-file={tokens}")
    assert line.startswith(f"{tokens}:1: has less than 16 characters")
    web = tmp_path / "web.yml"
    web.write_text("tls_server_config: {curve_preferences: [X25519]}\n")
    line = complaint(capsys, "check", str(config), f"--web.config.file={web}")
    assert line.startswith(f"{web}:1: tls_server_config.curve_preferences: is not supported")
    missing = [f"--mcp.tls-cert-file={tmp_path / 'none'}", f"--mcp.tls-key-file={web}"]
    line = complaint(capsys, "check", str(config), *missing)
    assert line.startswith(f"{tmp_path / 'none'}: cannot be read")


@pytest.mark.parametrize(
    ("value", "allowed"), [("true", True), ("1", True), ("YES", True), ("no", False), ("", False)]
)
def test_a_switch_may_be_set_by_the_environment(
    config: Path,
    served: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    allowed: bool,
) -> None:
    monkeypatch.setenv("MCP_EXPORTER_MCP_ALLOW_UNAUTHENTICATED", value)
    arguments = ["serve", f"--config.file={config}", "--mcp.listen-address=0.0.0.0:1"]
    assert cli.main(arguments) == (0 if allowed else 2)
    assert len(served) == (2 if allowed else 1)


@pytest.mark.parametrize("flag", ["--mcp.listen-address", "--web.listen-address"])
@pytest.mark.parametrize(
    "address", ["", "6279", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "h:²"]
)
def test_an_address_that_is_none_is_said_so(
    capsys: pytest.CaptureFixture[str], flag: str, address: str
) -> None:
    line = complaint(capsys, "serve", flag, address)
    assert line == f"{flag}: {address!r} is not HOST:PORT, such as 127.0.0.1:6279"


@pytest.mark.parametrize(
    ("name", "value", "mend"),
    [
        ("LOG_LEVEL", "loud", "is not one of debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "is not one of text, json"),
        ("MCP_ALLOW_UNAUTHENTICATED", "perhaps", "is neither true nor false"),
    ],
)
def test_a_bad_value_in_the_environment_is_named(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    mend: str,
) -> None:
    monkeypatch.setenv(f"MCP_EXPORTER_{name}", value)
    line = complaint(capsys, "serve")
    assert line == f"MCP_EXPORTER_{name}: {value!r} {mend}"


@pytest.mark.parametrize("name", ["LOG_LEVEL", "LOG_CALLS"])
def test_a_bad_value_in_the_environment_is_of_no_concern_to_other_commands(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setenv(f"MCP_EXPORTER_{name}", "perhaps")
    line = complaint(capsys, "check", str(tmp_path / "gone.json"))
    assert "no such file or directory" in line
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve", "--help"])
    assert ended.value.code == 0


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["serve", "--nonsense"], ["check"], ["serve", "--log.level=x"]]
)
def test_arguments_that_are_none_are_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mcp-exporter: ")
    assert "--help" in line


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mcp-exporter {__version__}\n"


def test_help_names_every_flag_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["serve", "--help"])
    text = capsys.readouterr().out
    for flag in ("--config.file", "--mcp.listen-address", "--web.listen-address", "--log.format"):
        assert flag in text
    assert "127.0.0.1:6279" in text


@pytest.mark.parametrize("command", cli.EXAMPLES)
def test_every_command_has_a_help_whose_examples_are_its_own_words(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for example in cli.EXAMPLES[command]:
        said = re.search(r"mcp-exporter ([^>)]*)", example)
        assert said
        words = shlex.split(said[1])
        assert words[0] == command
        assert cli.parser().parse_args(words)
    if command != "wrap":  # it has its own, which test_wrap.py knows
        with pytest.raises(SystemExit) as ended:
            cli.main([command, "--help"])
        assert ended.value.code == 0
        printed = capsys.readouterr().out
        assert all(f"\n  {example}\n" in printed for example in cli.EXAMPLES[command])


def test_ctrl_c_is_code_130(monkeypatch: pytest.MonkeyPatch, config: Path) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_check", interrupt)
    assert cli.main(["check", str(config)]) == 130


def test_the_package_can_be_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], config: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["mcp-exporter", "check", str(config)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("exporter", run_name="__main__")
    assert ended.value.code == 0
    assert "all valid" in capsys.readouterr().out


def test_check_needs_none_of_what_serve_needs(config: Path) -> None:
    script = (
        "import sys; from exporter.cli.main import main; main(['check', sys.argv[1]]);"
        "print([name for name in ('httptools', 'mcp', 'prometheus_client', 'uvloop')"
        " if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(config)], check=True, capture_output=True, text=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"


def test_a_system_without_signals_stops_the_exporter_by_cancelling_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course: list[str] = []

    class App:
        def __init__(self, *_: object) -> None:
            self.hang_up = None

        async def start(self) -> None:
            course.append("start")

        async def stop(self) -> None:
            course.append("stop")

    def refuse(*_: object) -> None:
        raise NotImplementedError

    async def run() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
        running = asyncio.create_task(cli._run(Config(servers={}), Settings(Path(), "", 0, "", 0)))
        await settle()
        assert course == ["start"]
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    monkeypatch.setattr(app, "App", App)
    asyncio.run(run())
    assert course == ["start", "stop"]


# The real command


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def serve(config: Path, *arguments: str) -> subprocess.Popen[str]:
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
    with serve(config, *(f"{name}={value}" for name, value in addresses.items())) as process:
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
    with serve(config, *addresses) as process:
        assert process.stderr is not None
        while "is ready" not in (line := process.stderr.readline()):
            assert line, "ended before it was ready"
        process.send_signal(sign)
        rest = process.stderr.read()
    assert process.returncode == 0
    assert "mcp-exporter has stopped" in rest
    assert "Traceback" not in rest

"""The processes of a run: the fixture server and the exporter, on loopback, ended when done."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import requests

from tests.conformance.toolchain import REPOSITORY
from tests.support.running import free_address

FIXTURE = [sys.executable, "-m", "tests.conformance.fixture"]
EXPORTER = str(Path(sys.executable).with_name("mcp-exporter"))

SETTINGS = "MCP_CONFORMANCE_SETTINGS"
"""The variable with what else each exporter's configuration has: the suite starts some of them."""

START_SECONDS = 20.0
END_SECONDS = 15.0


class StartError(Exception):
    """A process ended or stayed silent instead of starting."""


@contextlib.contextmanager
def _running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("a") as errors:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def fixture(log: Path) -> Iterator[str]:
    """The fixture server over Streamable HTTP; yields its URL. Raises StartError."""
    with _running([*FIXTURE, "--port", "0"], log) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise StartError(f"the fixture server did not start; see {log}")
        yield url


def stdio_fixture() -> Mapping[str, object]:
    """The fixture server over stdio, as an entry of the exporter's configuration."""
    command, *arguments = [*FIXTURE, "--stdio"]
    return {"command": command, "args": arguments, "cwd": str(REPOSITORY)}


def _await_ready(process: subprocess.Popen[str], address: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with requests.Session() as session:
        session.trust_env = False  # no proxy between two processes of one machine
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(requests.ConnectionError):
                if session.get(f"http://{address}/-/ready", timeout=START_SECONDS).ok:
                    return
            time.sleep(0.02)
    lines = log.read_text().splitlines()
    raise StartError(f"the exporter did not become ready: {lines[-1] if lines else 'silent'}")


@contextlib.contextmanager
def exporter(
    server: Mapping[str, object], directory: Path, command: str = EXPORTER
) -> Iterator[str]:
    """An exporter in front of one server; yields the URL for clients.

    ``server`` is the server's entry in the configuration; configuration and log go to
    ``directory``. Raises StartError.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config, log = directory / "exporter.json", directory / "exporter.log"
    settings = json.loads(os.environ.get(SETTINGS, "{}"))
    config.write_text(json.dumps({"mcpServers": {"fixture": server}, **settings}))
    relay, web = free_address(), free_address()
    flags = ["--config.file", str(config)]
    flags += ["--mcp.listen-address", relay, "--web.listen-address", web]
    with _running([command, "serve", *flags], log) as process:
        _await_ready(process, web, log)
        yield f"http://{relay}/fixture/mcp"

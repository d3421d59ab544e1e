"""What the demonstration servers share: the command line, the listener, and how they end."""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from mcp_servers.serving import Address, loopback_address
from tests.support.demo_servers import command, http
from tests.support.paths import ROOT

NAMES = ["files", "echo", "flaky"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", Address("127.0.0.1", 8000)),
        ("127.1.2.3:0", Address("127.1.2.3", 0)),
        ("localhost:65535", Address("127.0.0.1", 65535)),
        ("[::1]:8000", Address("::1", 8000)),
    ],
)
def test_a_loopback_address_is_taken(text: str, address: Address) -> None:
    assert loopback_address(text) == address


@pytest.mark.parametrize(
    "text", ["0.0.0.0:8000", "[::]:8000", "192.168.0.1:80", "example.com:80", ":8000", "127.1:80"]
)
def test_any_other_address_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a loopback address"):
        loopback_address(text)


@pytest.mark.parametrize("text", ["", "8000", "127.0.0.1", "127.0.0.1:", "h:65536", "h:-1", "h:²"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"is not HOST:PORT; write 127\.0\.0\.1:8000"
    ):
        loopback_address(text)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_client_it_ends_and_stdout_stays_empty(name: str) -> None:
    done = subprocess.run(
        command(name), cwd=ROOT, input="", capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", NAMES)
def test_importing_prints_nothing(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import mcp_servers.{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_address_is_refused_on_the_command_line() -> None:
    done = subprocess.run(
        command("echo", "--http", "0.0.0.0:0"), cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "'0.0.0.0:0' is not a loopback address; write 127.0.0.1" in done.stderr


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            command("echo", "--http", address), cwd=ROOT, capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 1
    assert done.stderr == f"cannot listen on {address}: Address already in use; choose another\n"


def test_a_root_that_is_no_folder_is_refused_on_the_command_line() -> None:
    done = subprocess.run(
        command("files", "--root", "pyproject.toml"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "--root pyproject.toml: Not a directory; name a folder" in done.stderr


def test_a_page_of_another_site_is_refused() -> None:
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    with http("echo") as server:
        headers = {"Origin": "https://example.com", "Content-Type": "application/json"}
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(server.url, call, headers))  # noqa: S310
        caught.value.close()
    assert caught.value.code == 403


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_traceback(number: signal.Signals) -> None:
    with http("echo") as server:
        server.process.send_signal(number)
        _, errors = server.process.communicate(timeout=60)
    assert errors == ""
    assert server.process.returncode in (0, -number)

"""Servers that nobody here wrote, wrapped: their clients send and get the same bytes as without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from tests.foreign import Foreign
from tests.support.demo_servers import Mode
from tests.support.exporting import Exporter, exporter, scripted_stdio
from tests.support.paths import ROOT
from tests.support.raw_client import PATIENCE
from tests.support.running import wait_for
from tests.support.wrapping import wrapped

TIME = [str(Path(sys.executable).with_name("mcp-server-time")), "--local-timezone", "UTC"]
NOON = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}

Calls = list[tuple[str, dict[str, Any]]]
Use = Callable[[list[str]], object]
"""What a client does with a server, given by its command; what it prints or finds."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    folder = tmp_path_factory.mktemp("exporter")
    flags = ("--wrap.socket", str(folder / "s"))
    with exporter(folder, {"other": scripted_stdio()}, *flags) as found:
        yield found


@pytest.fixture
def files(npm: Foreign, tmp_path: Path) -> list[str]:
    """The file server, in a folder with a file."""
    folder = (tmp_path / "files").resolve()
    folder.mkdir()
    (folder / "a.txt").write_text("one\ntwo é 😀\n" * 10_000)
    return [*npm.files, str(folder)]


def recorded(folder: Path, command: list[str]) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "tests" / "support" / "stdio_recorder.py"),
        str(folder),
        *command,
    ]


def passed(folder: Path) -> list[bytes]:
    """What the client said and what the server said."""
    return [(folder / name).read_bytes() for name in ("heard", "said")]


def same(running: Exporter, folder: Path, command: list[str], use: Use) -> str:
    """Use the server alone and wrapped; nobody sees a difference. The name it was wrapped as."""
    name = folder.name
    socket = running.log.parent / "s"
    inside = recorded(folder / "inside", command)
    outside = recorded(folder / "outside", wrapped(inside, socket, name))
    found = use(recorded(folder / "alone", command))
    assert use(outside) == found
    assert passed(folder / "inside") == passed(folder / "outside")
    # What both say at once may come in any order.
    assert lines(passed(folder / "outside")) == lines(passed(folder / "alone"))
    assert all(passed(folder / "alone"))
    return name


def lines(texts: list[bytes]) -> list[list[bytes]]:
    return [sorted(text.splitlines(keepends=True)) for text in texts]


def counted(running: Exporter, name: str, **wanted: float) -> None:
    """The scrape has as many calls as the client made, by their outcome."""

    def outcomes() -> dict[str, float]:
        return running.scrape().outcomes(name, method="tools/call")

    wait_for(lambda: outcomes() == wanted, 60, f"{wanted} are counted")
    assert running.scrape().total("mcp_exporter_wrap_dropped_total", server=name) == 0


def official(mode: Mode, calls: Calls) -> Use:
    """The SDK's client lists the tools and makes these calls."""

    async def connect(command: list[str]) -> list[str]:
        server = StdioServerParameters(command=command[0], args=command[1:], cwd=ROOT)
        with anyio.fail_after(PATIENCE):
            async with Client(server, mode=mode, cache=None) as client:
                said = [(await client.list_tools()).model_dump_json()]
                for tool, arguments in calls:
                    said.append((await client.call_tool(tool, arguments)).model_dump_json())
        return said

    return lambda command: anyio.run(connect, command)


def inspector(npm: Foreign, folder: Path, *arguments: str) -> Use:
    """The maintainers' client finds the server in a file, as a desktop client does."""

    def inspect(command: list[str]) -> tuple[int, str]:
        file = folder / "mcp.json"
        entry = {"command": command[0], "args": command[1:], "env": {"PYTHONPATH": str(ROOT)}}
        file.write_text(json.dumps({"mcpServers": {"it": entry}}))
        done = subprocess.run(
            [*npm.inspector, "--cli", "--config", str(file), "--server", "it", *arguments],
            env=os.environ | {"HOME": str(folder), "PATH": npm.path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.stdout, done.stderr
        return done.returncode, done.stdout

    return inspect


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_sdks_client_finds_the_same_time_server(
    running: Exporter, tmp_path: Path, mode: Mode
) -> None:
    calls: Calls = [("convert_time", NOON)] * 5
    calls.append(("get_current_time", {"timezone": "Nowhere/Land"}))
    counted(running, same(running, tmp_path, TIME, official(mode, calls)), ok=5, tool_error=1)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_sdks_client_finds_the_same_file_server(
    running: Exporter, files: list[str], tmp_path: Path, mode: Mode
) -> None:
    folder = files[-1]
    calls: Calls = [
        ("read_text_file", {"path": f"{folder}/a.txt"}),
        ("write_file", {"path": f"{folder}/b.txt", "content": "x\\/\u2028" * 100_000}),
        ("read_text_file", {"path": f"{folder}/b.txt"}),
        ("read_text_file", {"path": "/etc/hostname"}),
        ("directory_tree", {"path": folder}),
        ("move_file", {"source": f"{folder}/b.txt", "destination": f"{folder}/a.txt"}),
    ]
    counted(running, same(running, tmp_path, files, official(mode, calls)), ok=4, tool_error=2)


def test_the_inspector_finds_the_same_time_server(
    running: Exporter, npm: Foreign, tmp_path: Path
) -> None:
    pairs = [f"--tool-arg={key}={value}" for key, value in NOON.items()]
    asked = ("--method", "tools/call", "--tool-name", "convert_time", *pairs)
    name = same(running, tmp_path, TIME, inspector(npm, tmp_path, *asked))
    counted(running, name, ok=1)


@pytest.mark.parametrize(("path", "outcome"), [("a.txt", "ok"), ("/etc/hostname", "tool_error")])
def test_the_inspector_finds_the_same_file_server(
    running: Exporter, npm: Foreign, files: list[str], tmp_path: Path, path: str, outcome: str
) -> None:
    path = str(Path(files[-1]) / path)
    asked = ("--method", "tools/call", "--tool-name", "read_text_file", f"--tool-arg=path={path}")
    name = same(running, tmp_path, files, inspector(npm, tmp_path, *asked))
    counted(running, name, **{outcome: 1})

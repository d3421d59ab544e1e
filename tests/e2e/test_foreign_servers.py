"""Servers and clients that nobody here wrote, directly and through the exporter: no difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import ListRootsResult, Root
from pydantic import FileUrl

from tests.conformance.processes import fixture
from tests.foreign import Foreign
from tests.support.demo_servers import Mode, text
from tests.support.exporting import Exporter, exporter
from tests.support.raw_client import PATIENCE

MODES: tuple[Mode, ...] = ("auto", "legacy")
TIME = [str(Path(sys.executable).with_name("mcp-server-time")), "--local-timezone", "UTC"]
FAILED_TOOL = 5
"""The inspector's exit code where a tool says that it has failed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files").resolve()
    (folder / "a.txt").write_text("one\ntwo é 😀\n")
    (folder / "within").mkdir()
    return folder


def entry(command: list[str]) -> dict[str, Any]:
    return {"command": command[0], "args": command[1:]}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with exporter(tmp_path_factory.mktemp("clock"), {"time": entry(TIME)}) as running:
        yield running


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, npm: Foreign, folder: Path
) -> Iterator[Exporter]:
    """An exporter in front of the file server, and of the conformance fixture over HTTP."""
    logs = tmp_path_factory.mktemp("foreign")
    with fixture(logs / "fixture.log") as url:
        servers = {"files": entry([*npm.files, str(folder)]), "fixture": {"url": url}}
        with exporter(logs, servers) as running:
            yield running


def ask(
    server: str | list[str], mode: Mode, use: Callable[[Client], Awaitable[Any]], **more: Any
) -> Any:
    """What ``use`` finds with a client of this server, given by its URL or its command."""
    if isinstance(server, list):
        target: Any = StdioServerParameters(command=server[0], args=server[1:])
    else:
        target = server

    async def connect() -> Any:
        with anyio.fail_after(PATIENCE):
            async with Client(target, mode=mode, cache=None, **more) as client:
                return await use(client)

    return anyio.run(connect)


# The SDK's client


async def use_clock(client: Client) -> dict[str, Any]:
    tools = await client.list_tools()
    arguments = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
    converted = await client.call_tool("convert_time", arguments)
    wrong = await client.call_tool("get_current_time", {"timezone": "Nowhere/Land"})
    assert wrong.is_error
    with pytest.raises(MCPError) as unknown:
        await client.call_tool("no such tool", {})
    return {
        "version": client.protocol_version,
        "server": client.server_info.model_dump() if client.server_info else None,
        "capabilities": client.server_capabilities.model_dump(),
        "tools": tools.model_dump(),
        "replies": [reply.model_dump() for reply in (converted, wrong, unknown.value.error)],
    }


@pytest.mark.parametrize("mode", MODES)
def test_the_time_server_is_the_same_through_the_exporter(clock: Exporter, mode: Mode) -> None:
    before = clock.scrape().outcomes("time", method="tools/call")
    relayed = ask(clock.url("time"), mode, use_clock)
    assert relayed == ask(TIME, mode, use_clock)
    names = {tool["name"] for tool in relayed["tools"]["tools"]}
    assert names == {"get_current_time", "convert_time"}
    after = clock.scrape().outcomes("time", method="tools/call")
    each = ("ok", "tool_error", "protocol_error")
    assert after == {outcome: before.get(outcome, 0) + 1 for outcome in each}


def use_files(folder: Path) -> Callable[[Client], Awaitable[dict[str, Any]]]:
    async def use(client: Client) -> dict[str, Any]:
        target = str(folder / "b.txt")
        calls: list[tuple[str, dict[str, Any]]] = [
            ("read_text_file", {"path": str(folder / "a.txt")}),
            ("write_file", {"path": target, "content": "x\\/\u2028" * 100_000}),
            ("read_text_file", {"path": target}),
            ("edit_file", {"path": target, "edits": [{"oldText": "y", "newText": "z"}]}),
            ("read_text_file", {"path": "/etc/hostname"}),
            ("list_directory", {"path": str(folder)}),
            ("directory_tree", {"path": str(folder)}),
        ]
        replies = [await client.call_tool(name, arguments) for name, arguments in calls]
        tools = await client.list_tools()
        await anyio.Path(target).unlink()
        return {
            "version": client.protocol_version,
            "tools": tools.model_dump(),
            "replies": [reply.model_dump() for reply in replies],
        }

    return use


@pytest.mark.parametrize("mode", MODES)
def test_the_file_server_is_the_same_through_the_exporter(
    running: Exporter, npm: Foreign, folder: Path, mode: Mode
) -> None:
    before = running.scrape().outcomes("files", method="tools/call")
    relayed = ask(running.url("files"), mode, use_files(folder))
    assert relayed == ask([*npm.files, str(folder)], mode, use_files(folder))
    assert [reply["is_error"] or False for reply in relayed["replies"]].count(True) == 2
    after = running.scrape().outcomes("files", method="tools/call")
    assert after == {"ok": before.get("ok", 0) + 5, "tool_error": before.get("tool_error", 0) + 2}


def test_the_file_server_learns_the_roots_of_each_client(running: Exporter, folder: Path) -> None:
    async def within(_: ClientRequestContext) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri=FileUrl((folder / "within").as_uri()))])

    async def use(client: Client) -> str:
        return text(await client.call_tool("list_allowed_directories"))

    labels = {"server": "files", "method": "roots/list"}
    before = running.scrape().by("outcome", "mcp_server_requests_total", **labels)
    listed = ask(
        running.url("files"), "legacy", wait_until(use, "within"), list_roots_callback=within
    )
    assert listed.splitlines() == ["Allowed directories:", str(folder / "within")]
    other = ask(running.url("files"), "legacy", use)
    assert other.splitlines() == ["Allowed directories:", str(folder)]
    after = running.scrape().by("outcome", "mcp_server_requests_total", **labels)
    assert after == {"ok": before.get("ok", 0) + 1}


def wait_until(
    use: Callable[[Client], Awaitable[str]], word: str
) -> Callable[[Client], Awaitable[str]]:
    """Ask until the answer holds a word: the server asks for the roots after the handshake."""

    async def repeat(client: Client) -> str:
        while word not in (answer := await use(client)):  # noqa: ASYNC110  another process
            await anyio.sleep(0.05)
        return answer

    return repeat


# The maintainers' client


def inspect(npm: Foreign, folder: Path, target: list[str], *arguments: str) -> tuple[int, str]:
    """The inspector's exit code, and what it prints."""
    done = subprocess.run(
        [*npm.inspector, "--cli", *target, *arguments],
        env=os.environ | {"HOME": str(folder), "PATH": npm.path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout or done.stderr


def call(tool: str, *pairs: str) -> list[str]:
    return [
        "--method",
        "tools/call",
        "--tool-name",
        tool,
        *(f"--tool-arg={pair}" for pair in pairs),
    ]


def test_the_inspector_sees_the_same_file_server_through_the_exporter(
    running: Exporter, npm: Foreign, folder: Path, tmp_path: Path
) -> None:
    direct, relayed = [*npm.files, str(folder)], [running.url("files")]
    for arguments, code in (
        (["--method", "tools/list"], 0),
        (call("read_text_file", f"path={folder / 'a.txt'}"), 0),
        (call("read_text_file", "path=/etc/hostname"), FAILED_TOOL),
    ):
        through = inspect(npm, tmp_path, relayed, *arguments)
        assert through == inspect(npm, tmp_path, direct, *arguments)
        assert through[0] == code, through[1]
        assert json.loads(through[1])


def test_the_inspector_sees_the_same_time_server_through_the_exporter(
    clock: Exporter, npm: Foreign, tmp_path: Path
) -> None:
    arguments = call("convert_time", "source_timezone=UTC", "time=12:00", "target_timezone=UTC")
    through = inspect(npm, tmp_path, [clock.url("time")], *arguments)
    assert through == inspect(npm, tmp_path, TIME, *arguments)
    assert through[0] == 0


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
def test_the_inspector_sees_the_same_http_server_in_every_era(
    running: Exporter, npm: Foreign, tmp_path: Path, era: str
) -> None:
    direct = json.loads((running.log.parent / "exporter.json").read_text())["servers"]["fixture"]
    arguments = ["--protocol-era", era, "--method", "tools/list"]
    through = inspect(npm, tmp_path, [running.url("fixture")], *arguments)
    assert through == inspect(npm, tmp_path, [direct["url"]], *arguments)
    assert through[0] == 0

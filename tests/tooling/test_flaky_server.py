"""The flaky server: slow, failing, hanging and dying on demand."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from mcp_servers import flaky
from mcp_servers.flaky import DIED, Mode, Switch
from tests.support.demo_servers import command, http, stdio, text, with_client
from tests.support.paths import ROOT


def with_mode(switch: Switch, use: Callable[[Client], Awaitable[None]]) -> list[int]:
    """The codes that the server would have exited with."""
    codes: list[int] = []

    async def connect() -> None:
        with anyio.fail_after(10):
            async with Client(flaky.build(switch, codes.append), mode="legacy") as client:
                await use(client)

    anyio.run(connect)
    return codes


def test_in_mode_ok_it_succeeds() -> None:
    async def use(client: Client) -> None:
        assert text(await client.call_tool("ok")) == "ok"
        assert text(await client.call_tool("slow", {"seconds": 0})) == "took 0 s"

    assert with_mode(Switch(), use) == []


def test_fail_is_a_tool_error_with_the_message() -> None:
    async def use(client: Client) -> None:
        result = await client.call_tool("fail", {"message": "disk full"})
        assert result.is_error
        assert text(result) == "Error executing tool fail: disk full"

    with_mode(Switch(), use)


def test_crash_exits_with_the_code() -> None:
    async def use(client: Client) -> None:
        await client.call_tool("crash", {"exit_code": 3})
        await client.call_tool("crash")
        assert (await client.call_tool("crash", {"exit_code": 256})).is_error

    assert with_mode(Switch(), use) == [3, 1]


def test_in_mode_fail_every_tool_fails_and_the_rest_works() -> None:
    async def use(client: Client) -> None:
        result = await client.call_tool("ok")
        assert result.is_error
        assert text(result) == "Error executing tool fail: the server is in mode fail"
        assert len((await client.list_tools()).tools) == 5

    with_mode(Switch(Mode.FAIL), use)


def test_in_mode_error_every_request_is_a_protocol_error() -> None:
    switch = Switch()

    async def use(client: Client) -> None:
        switch.set(Mode.ERROR)
        for request in (client.list_tools, lambda: client.call_tool("ok")):
            with pytest.raises(MCPError) as caught:
                await request()
            assert caught.value.error.code == -32603
            assert caught.value.error.message == "the server is in mode error"

    with_mode(switch, use)


def test_in_mode_hang_a_request_waits_until_the_mode_changes() -> None:
    switch = Switch()

    async def use(client: Client) -> None:
        await client.list_tools()
        switch.set(Mode.HANG)
        with anyio.move_on_after(3 * flaky.POLL_SECONDS) as waited:
            await client.list_tools()
        assert waited.cancelled_caught
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "set_mode", {"mode": "ok"})
            assert text(await client.call_tool("ok")) == "ok"

    with_mode(switch, use)


def test_in_mode_slow_only_tool_calls_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flaky, "SLOW_SECONDS", 60)

    async def use(client: Client) -> None:
        assert (await client.list_tools()).tools
        with anyio.move_on_after(0.2) as waited:
            await client.call_tool("ok")
        assert waited.cancelled_caught

    with_mode(Switch(Mode.SLOW), use)


def test_in_mode_die_any_request_ends_the_process() -> None:
    switch = Switch()

    async def use(client: Client) -> None:
        switch.set(Mode.DIE)
        await client.list_tools()

    assert with_mode(switch, use) == [DIED]


@pytest.mark.parametrize("mode", Mode)
def test_the_mode_can_always_be_changed_back(mode: Mode) -> None:
    switch = Switch()

    async def use(client: Client) -> None:
        await client.list_tools()  # else the SDK's client lists them after the call, in the mode
        assert text(await client.call_tool("set_mode", {"mode": mode})) == mode
        assert switch.get() is mode
        await client.call_tool("set_mode", {"mode": "ok"})
        assert text(await client.call_tool("ok")) == "ok"

    assert with_mode(switch, use) == []


def test_the_mode_is_kept_in_a_file_that_all_share(tmp_path: Path) -> None:
    file = tmp_path / "mode"
    one, other = Switch(Mode.SLOW, file), Switch(Mode.OK, file)
    assert (one.get(), other.get()) == (Mode.SLOW, Mode.OK)
    one.set(Mode.HANG)
    assert file.read_text() == "hang\n"
    assert other.get() is Mode.HANG


@pytest.mark.parametrize("content", [b"", b"happy", b"\xff"])
def test_a_file_with_no_mode_in_it_means_ok(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mode").write_bytes(content)
    assert Switch(Mode.DIE, tmp_path / "mode").get() is Mode.OK


async def crash_by_signal(client: Client) -> None:
    await client.call_tool("crash", {"exit_code": -signal.SIGTERM})


@pytest.mark.e2e
def test_a_crash_over_stdio_closes_the_connection() -> None:
    async def use(client: Client) -> None:
        with pytest.raises(MCPError, match="Connection closed"):
            await crash_by_signal(client)

    with_client(stdio("flaky"), use)


@pytest.mark.e2e
def test_a_crash_over_http_ends_the_server_by_that_signal() -> None:
    with http("flaky") as server:
        with pytest.raises((ExceptionGroup, MCPError)):
            with_client(server.url, crash_by_signal)
        assert server.process.wait(10) == -signal.SIGTERM


@pytest.mark.e2e
def test_the_environment_sets_the_mode(tmp_path: Path) -> None:
    async def use(client: Client) -> bool:
        failed = (await client.call_tool("ok")).is_error
        await client.call_tool("set_mode", {"mode": "slow"})
        return failed

    file = tmp_path / "mode"
    server = stdio("flaky", FLAKY_MODE="fail", FLAKY_MODE_FILE=str(file))
    assert with_client(server, use) is True
    assert file.read_text() == "slow\n"


@pytest.mark.e2e
def test_in_mode_die_it_does_not_even_start() -> None:
    done = subprocess.run(
        command("flaky", "--mode", "die"),
        cwd=ROOT,
        input="",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (DIED, "")
    assert done.stderr == f"exiting with {DIED}, as told\n"


@pytest.mark.e2e
def test_an_unknown_mode_is_refused() -> None:
    done = subprocess.run(
        command("flaky", "--mode", "happy"), cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 2
    assert "'happy' is not a mode; write one of ok, slow, fail, error, hang, die" in done.stderr


LEGACY = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "a", "version": "1"},
}
MODERN = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}


@pytest.mark.e2e
@pytest.mark.parametrize(
    "requests",
    [[("initialize", LEGACY), ("ping", {})], [("server/discover", MODERN)]],
    ids=["legacy", "modern"],
)
def test_a_hanging_server_still_ends_when_its_client_is_gone(
    requests: list[tuple[str, dict[str, object]]],
) -> None:
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        for number, (method, params) in enumerate(requests)
    ]
    done = subprocess.run(
        command("flaky", "--mode", "hang"),
        cwd=ROOT,
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=30,
    )
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    answered = [message["id"] for message in messages if "result" in message]
    assert (done.returncode, answered) == (0, [0] if len(requests) > 1 else [])

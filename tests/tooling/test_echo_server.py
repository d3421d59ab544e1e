"""The echo server: says back what it was told, and reports progress."""

from __future__ import annotations

import anyio
import pytest
from mcp import Client
from mcp_types import TextContent, TextResourceContents

from mcp_servers import echo
from tests.support.demo_servers import Mode, http, stdio, text, with_client


def in_memory(use: object) -> None:
    async def connect() -> None:
        async with Client(echo.build()) as client:
            await use(client)  # type: ignore[operator]

    anyio.run(connect)


async def count_to_three(client: Client) -> list[tuple[float, float | None, str | None]]:
    steps = []

    async def step(progress: float, total: float | None, message: str | None) -> None:
        steps.append((progress, total, message))

    result = await client.call_tool("count", {"n": 3, "delay": 0.01}, progress_callback=step)
    assert result.structured_content == {"result": 3}
    return steps


async def use_echo(client: Client) -> list[tuple[float, float | None, str | None]]:
    said = await client.call_tool("echo", {"text": "Grüße\u2028✓"})
    assert text(said) == "Grüße\u2028✓"
    return await count_to_three(client)


STEPS = [(1.0, 3.0, "1 of 3"), (2.0, 3.0, "2 of 3"), (3.0, 3.0, "3 of 3")]


def test_a_blob_is_as_long_as_asked() -> None:
    async def use(client: Client) -> None:
        result = await client.call_tool("blob", {"size": 100_000})
        assert text(result) == "x" * 100_000
        assert result.structured_content is None

    in_memory(use)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("count", {"n": 0}),
        ("count", {"n": echo.MAX_COUNT + 1}),
        ("count", {"n": 1, "delay": -1}),
        ("count", {"n": 1, "delay": echo.MAX_DELAY_SECONDS + 1}),
        ("blob", {"size": -1}),
        ("blob", {"size": echo.MAX_BYTES + 1}),
    ],
)
def test_what_is_out_of_bounds_is_a_tool_error(tool: str, arguments: dict[str, float]) -> None:
    async def use(client: Client) -> None:
        assert (await client.call_tool(tool, arguments)).is_error

    in_memory(use)


def test_the_resource_and_the_prompt_say_the_same() -> None:
    async def use(client: Client) -> None:
        read = (await client.read_resource("echo://hello")).contents[0]
        assert isinstance(read, TextResourceContents)
        assert read.text == "hello"
        asked = (await client.get_prompt("say", {"text": "hello"})).messages[0].content
        assert isinstance(asked, TextContent)
        assert asked.text == "Say this back: hello"

    in_memory(use)


@pytest.mark.e2e
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_it_serves_over_stdio_and_reports_progress(mode: Mode) -> None:
    assert with_client(stdio("echo"), use_echo, mode) == STEPS


@pytest.mark.e2e
def test_it_serves_over_http_in_every_era_and_reports_progress() -> None:
    modes: list[Mode] = ["auto", "legacy", "2026-07-28"]
    with http("echo") as server:
        for mode in modes:
            assert with_client(server.url, use_echo, mode) == STEPS

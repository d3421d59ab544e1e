"""What servers ask their clients, and tell them unasked, arrives through the exporter.

Sampling, elicitation and roots up to 2025-11-25; questions as results, and subscriptions, at
2026-07-28. The client and the server are the reference SDK's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourceUpdated, ToolsListChanged
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    Root,
    TextContent,
)
from pydantic import FileUrl

from tests.support.demo_servers import Mode, text
from tests.support.exporting import Exporter, Scrape, exporter
from tests.support.paths import ROOT
from tests.support.raw_client import PATIENCE
from tests.support.requesting_server import WATCHED
from tests.support.running import wait_for

TRANSPORTS = ("http", "stdio")
FOLDER = "file:///home/somebody/a%20project"
REQUESTING = ["-m", "tests.support.requesting_server"]
PROMPT = "Hello\n\\ \u2028 😀"
DECLINED = -1
CLIENTS = 3
ROUNDS = "test_input_required_result_"


async def sample(
    context: ClientRequestContext,  # noqa: ARG001 - the SDK passes it by this name
    params: CreateMessageRequestParams,
) -> CreateMessageResult:
    """A model that repeats what it is asked."""
    (message,) = params.messages
    assert isinstance(message.content, TextContent)
    answer = TextContent(text=f"<{message.content.text}>")
    return CreateMessageResult(role="assistant", content=answer, model="parrot")


async def elicit(
    context: ClientRequestContext,  # noqa: ARG001
    params: ElicitRequestParams,
) -> ElicitResult:
    """A user who writes the same into every field, and declines where the question is rude."""
    if "rude" in params.message:
        raise MCPError(code=DECLINED, message="no")
    fields = params.requested_schema["properties"]  # type: ignore[union-attr]
    content: dict[str, Any] = {
        name: True if form["type"] == "boolean" else "me" for name, form in fields.items()
    }
    return ElicitResult(action="accept", content=content)


async def list_roots(context: ClientRequestContext) -> ListRootsResult:  # noqa: ARG001
    return ListRootsResult(roots=[Root(uri=FileUrl(FOLDER))])


@pytest.fixture(scope="module")
def requesting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    command = [sys.executable, *REQUESTING, "--http", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert line.startswith("listening on http://"), line
        servers = {
            "http": {"url": line.removeprefix("listening on ").strip()},
            "stdio": {"command": sys.executable, "args": REQUESTING, "cwd": str(ROOT)},
        }
        with exporter(tmp_path_factory.mktemp("requesting"), servers) as running:
            yield running
        server.terminate()


@asynccontextmanager
async def connected(url: str, mode: Mode) -> AsyncIterator[Client]:
    """A client that answers whatever it is asked."""
    with anyio.fail_after(PATIENCE):
        async with Client(
            url,
            mode=mode,
            cache=None,
            sampling_callback=sample,
            elicitation_callback=elicit,
            list_roots_callback=list_roots,
        ) as client:
            yield client


def with_client(url: str, mode: Mode, use: Callable[[Client], Awaitable[None]]) -> None:
    async def connect() -> None:
        async with connected(url, mode) as client:
            await use(client)

    anyio.run(connect)


def asked(scrape: Scrape, server: str) -> dict[tuple[str, str], float]:
    """What the server has asked its clients, by method and outcome."""
    samples = scrape.select("mcp_server_requests_total", server=server)
    found = {(each.labels["method"], each.labels["outcome"]): each.value for each in samples}
    return {key: value for key, value in found.items() if value}


def since(before: dict[tuple[str, str], float], after: dict[tuple[str, str], float]) -> Any:
    return {
        key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key)
    }


@pytest.mark.parametrize("server", TRANSPORTS)
def test_sampling_elicitation_and_roots_reach_the_client_and_are_counted(
    requesting: Exporter, server: str
) -> None:
    async def use(client: Client) -> None:
        assert client.protocol_version == "2025-11-25"
        answer = await client.call_tool("test_sampling", {"prompt": PROMPT})
        assert text(answer) == f"LLM response: <{PROMPT}>"
        answer = await client.call_tool("test_elicitation", {"message": "Who are you?"})
        accepted = 'action=accept, content={"username": "me", "email": "me"}'
        assert text(answer) == f"User response: {accepted}"
        assert text(await client.call_tool("roots")) == FOLDER
        answer = await client.call_tool("three_at_once", {"prompt": "x"})
        assert text(answer) == f"LLM response: <x> | User response: {accepted} | {FOLDER}"

    before = asked(requesting.scrape(), server)
    with_client(requesting.url(server), "legacy", use)
    methods = ("sampling/createMessage", "elicitation/create", "roots/list")
    expected = {(method, "ok"): 2.0 for method in methods}
    assert since(before, asked(requesting.scrape(), server)) == expected


@pytest.mark.parametrize("server", TRANSPORTS)
def test_a_client_that_refuses_to_answer_is_heard(requesting: Exporter, server: str) -> None:
    async def use(client: Client) -> None:
        with pytest.raises(MCPError) as failure:
            await client.call_tool("test_elicitation", {"message": "a rude question"})
        assert failure.value.error.code == DECLINED

    before = asked(requesting.scrape(), server)
    with_client(requesting.url(server), "legacy", use)
    expected = {("elicitation/create", "protocol_error"): 1.0}
    assert since(before, asked(requesting.scrape(), server)) == expected


@pytest.mark.parametrize("server", TRANSPORTS)
def test_many_clients_that_are_asked_at_once_each_get_their_own_questions(
    requesting: Exporter, server: str
) -> None:
    async def one(url: str, name: str) -> None:
        async with connected(url, "legacy") as client, anyio.create_task_group() as calls:
            for number in range(CLIENTS):
                calls.start_soon(ask, client, f"{name} {number}")

    async def ask(client: Client, prompt: str) -> None:
        answer = await client.call_tool("test_sampling", {"prompt": prompt})
        assert text(answer) == f"LLM response: <{prompt}>"

    async def everybody() -> None:
        async with anyio.create_task_group() as clients:
            for number in range(CLIENTS):
                clients.start_soon(one, requesting.url(server), f"client {number}")

    anyio.run(everybody)


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("server", TRANSPORTS)
def test_progress_reaches_the_client_that_waits_for_it(
    requesting: Exporter, server: str, mode: Mode
) -> None:
    async def one(url: str) -> None:
        seen: list[tuple[float, str | None]] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:
            assert total == 100
            seen.append((progress, message))

        async with connected(url, mode) as client:
            await client.call_tool("test_tool_with_progress", progress_callback=note)
        assert seen == [(n, f"{n} of 100 done") for n in (0, 50, 100)]

    async def everybody() -> None:
        async with anyio.create_task_group() as clients:
            for _ in range(CLIENTS):
                clients.start_soon(one, requesting.url(server))

    anyio.run(everybody)


@pytest.mark.parametrize("server", TRANSPORTS)
def test_questions_as_results_are_steps_of_a_call(requesting: Exporter, server: str) -> None:
    async def use(client: Client) -> None:
        assert client.protocol_version == "2026-07-28"
        assert text(await client.call_tool(f"{ROUNDS}elicitation")) == "Hello, me!"
        answer = await client.call_tool(f"{ROUNDS}sampling")
        assert text(answer) == "The model says: <What is the capital of France?>"
        answer = await client.call_tool(f"{ROUNDS}list_roots")
        assert text(answer) == f"The roots are {FOLDER}"
        assert text(await client.call_tool(f"{ROUNDS}request_state")) == "state-ok"
        assert text(await client.call_tool(f"{ROUNDS}multi_round")) == "me likes me."
        answer = await client.call_tool(f"{ROUNDS}multiple_inputs")
        assert text(answer) == "All three questions are answered."
        prompt = await client.get_prompt(f"{ROUNDS}prompt")
        assert "into account: me" in str(prompt.messages[0].content)

    labels = {"server": server, "outcome": "input_required"}
    before = requesting.scrape()
    with_client(requesting.url(server), "auto", use)
    after = requesting.scrape()
    for method, steps in (("tools/call", 7), ("prompts/get", 1)):
        asked_before = before.total("mcp_requests_total", method=method, **labels)
        assert after.total("mcp_requests_total", method=method, **labels) == asked_before + steps
    errors = ("tool_error", "protocol_error", "upstream_error")
    assert not any(
        after.total("mcp_tool_calls_total", server=server, outcome=each, tool=f"{ROUNDS}sampling")
        for each in errors
    )


@pytest.mark.parametrize("server", TRANSPORTS)
def test_each_subscriber_is_told_what_it_subscribed_to(requesting: Exporter, server: str) -> None:
    url = requesting.url(server)

    async def use(client: Client) -> None:
        async with (
            connected(url, "auto") as other,
            client.listen(tools_list_changed=True) as tools,
            other.listen(resource_subscriptions=[WATCHED]) as resources,
        ):
            await wait_for_acknowledgements(requesting, acknowledged + 2, **acknowledging)
            await client.call_tool("test_trigger_tool_change")
            await other.call_tool("touch")
            assert await anext(aiter(tools)) == ToolsListChanged()
            assert await anext(aiter(resources)) == ResourceUpdated(uri=WATCHED)

    listens = {"server": server, "method": "subscriptions/listen"}
    acknowledging = {"server": server, "method": "notifications/subscriptions/acknowledged"}
    acknowledged = requesting.scrape().total("mcp_notifications_total", **acknowledging)
    before = requesting.scrape().outcomes(**listens).get("cancelled", 0)
    with_client(url, "auto", use)

    def look() -> bool:
        scrape = requesting.scrape()
        ended = scrape.outcomes(**listens)
        return ended == {"cancelled": before + 2} and not scrape.total("mcp_requests_in_flight")

    wait_for(look, PATIENCE, "both subscriptions have ended")
    assert requesting.scrape().total("mcp_request_duration_seconds_count", **listens) == 0


async def wait_for_acknowledgements(running: Exporter, number: float, **labels: str) -> None:
    def look() -> bool:
        return running.scrape().total("mcp_notifications_total", **labels) == number

    await anyio.to_thread.run_sync(wait_for, look, PATIENCE, f"{number:g} subscriptions stand")

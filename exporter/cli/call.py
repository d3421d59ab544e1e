"""``mcp-exporter call`` and ``tools``: a client of the running exporter, like any other.

The SDK speaks for it, in the newest protocol version that the server knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import quote

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import CallToolResult, Implementation, Tool

from exporter import __version__
from exporter.cli.load import NO_TEXT, Course, Load, Original
from exporter.config.errors import ConfigError
from exporter.relay import tokens

Listener: TypeAlias = Callable[[Any], Awaitable[None]]

_BAR = 30


@dataclass(frozen=True, slots=True)
class CallOptions:
    """What the command line says; ``arguments`` is a JSON object's text."""

    url: str
    server: str
    tool: str = ""
    arguments: str = "{}"
    repeat: int = 1
    concurrency: int = 1
    is_json: bool = False
    token_file: Path | None = None


def call(wishes: CallOptions) -> int:
    """Call a tool; answers 0 where every call succeeded, else 1. Raises ``ConfigError``."""
    try:
        arguments = json.loads(wishes.arguments)
    except ValueError as error:
        raise ConfigError(f"call: the arguments are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ConfigError('call: the arguments must be a JSON object, such as {"path": "a.txt"}')
    work = _call_once if wishes.repeat == 1 else _call_often
    return asyncio.run(work(wishes, arguments))


def tools(wishes: CallOptions) -> int:
    """Show a server's tools. Raises ``ConfigError``."""
    return asyncio.run(_tools(wishes))


async def _call_once(wishes: CallOptions, arguments: dict[str, Any]) -> int:
    async with _client(wishes) as client:
        await _meet(client, wishes.tool)
        try:
            result = await client.call_tool(wishes.tool, arguments)
        except Exception as error:  # noqa: BLE001  an outcome, whatever it is; the exit code says so
            sys.stderr.write(f"mcp-exporter: call: {_reason(error)}\n")
            return 1
    if wishes.is_json:
        text = result.model_dump_json(by_alias=True, exclude_none=True, indent=2)
    else:
        text = "\n".join(_texts(result))
    sys.stdout.write(f"{text}\n")
    return int(bool(result.is_error))


async def _call_often(wishes: CallOptions, arguments: dict[str, Any]) -> int:
    course, bar = Course(), _Bar(wishes.repeat)
    written: list[Original] = []

    async def listen(request: Any) -> None:
        if request.method != "POST":
            return
        original = Original.read(request.headers.raw, request.content)
        if original.message.get("method") == "tools/call":
            written.append(original)

    async with _client(wishes, listen) as client:
        await _meet(client, wishes.tool)
        course.note(None, await _failure(client, wishes.tool, arguments))
        began = perf_counter()
        if written:
            load = Load(_url(wishes), written[0], course)
            await load.run(wishes.repeat - 1, wishes.concurrency, bar.show)
        elapsed = perf_counter() - began
    bar.end()
    if not written:
        raise ConfigError(f"call: the SDK did not send it: {course.first_failure}")
    sys.stdout.write(_printable(course.summary(elapsed)))
    return int(course.failures > 0)


async def _failure(client: Client, tool: str, arguments: dict[str, Any]) -> str | None:
    try:
        result = await client.call_tool(tool, arguments)
    except Exception as error:  # noqa: BLE001  an outcome, whatever it is
        return _reason(error)
    return " ".join(_texts(result)) or NO_TEXT if result.is_error else None


async def _meet(client: Client, tool: str) -> None:
    """Let the SDK read what the server says of a tool.

    From that it knows which arguments are to be repeated in headers (revision 2026-07-28).
    """
    with contextlib.suppress(Exception):  # a server that cannot list its tools may still have it
        async for each in _listed(client):
            if each.name == tool:
                return


async def _listed(client: Client) -> AsyncIterator[Tool]:
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            yield tool
        cursor = page.next_cursor
        if not cursor:
            return


async def _tools(wishes: CallOptions) -> int:
    async with _client(wishes) as client:
        found = [tool async for tool in _listed(client)]
    if wishes.is_json:
        listed = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in found]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return 0
    width = max((len(tool.name) for tool in found), default=0)
    for tool in found:
        about = (tool.description or "").strip().partition("\n")[0]
        sys.stdout.write(f"{_printable(f'{tool.name:<{width}}  {about}').rstrip()}\n")
    return 0


@asynccontextmanager
async def _client(wishes: CallOptions, listen: Listener | None = None) -> AsyncIterator[Client]:
    """A connected client; whatever breaks it is one line. ``listen`` hears each HTTP request."""
    url = _url(wishes)
    headers = _headers(wishes.token_file)
    try:
        info = Implementation(name="mcp-exporter", version=__version__)
        async with create_mcp_http_client(headers) as carrier:
            carrier.event_hooks["request"] += [listen] if listen else []
            transport = streamable_http_client(url, http_client=carrier)
            async with Client(transport, client_info=info) as client:
                yield client
    except Exception as error:  # noqa: BLE001  the SDK has no family of its own for them
        raise ConfigError(
            f"{url}: {_reason(error)}; is the exporter running, and is there such a server?"
        ) from None


def _url(wishes: CallOptions) -> str:
    return f"{wishes.url.rstrip('/')}/{quote(wishes.server)}/mcp"


def _headers(token_file: Path | None) -> dict[str, str]:
    """What lets us in: the first token of the file."""
    if token_file is None:
        return {}
    return {"Authorization": f"Bearer {next(iter(tokens.secrets(token_file).values()))}"}


def _texts(result: CallToolResult) -> Iterator[str]:
    for content in result.content:
        text = getattr(content, "text", None)
        yield _printable(text) if isinstance(text, str) else f"({content.type})"


def _printable(text: str) -> str:
    """What a server says must not steer the terminal."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return _printable(str(error) or type(error).__name__).replace("\n", " ")


class _Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0

    def show(self, done: int) -> None:
        """So many are done."""
        if self._is_shown and perf_counter() >= self._next:
            self._next = perf_counter() + 0.1
            filled = _BAR * done // self._total
            sys.stderr.write(f"\r[{'#' * filled}{' ' * (_BAR - filled)}] {done}/{self._total}")
            sys.stderr.flush()

    def end(self) -> None:
        """Take it away."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")

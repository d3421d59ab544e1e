"""``mcp-exporter call`` and ``tools``: a client of the running exporter, like any other.

The SDK speaks for it, in the newest protocol version that the server knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias
from urllib.parse import quote

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, Implementation, Tool

from exporter import __version__
from exporter.cli.flags import is_local
from exporter.cli.load import NO_TEXT, Load, LoadResult, RecordedRequest
from exporter.cli.terminal import table
from exporter.config.errors import ConfigError
from exporter.config.upstream_tls import client_context
from exporter.protocol.printable import printable
from exporter.relay import tokens

RequestHook: TypeAlias = Callable[[httpx2.Request], Awaitable[None]]

_MAX_PAGES = 100
_KEPT = "\n\t"
_BAR = 30

_TIMEOUT = httpx2.Timeout(30.0, read=300.0)  # a reply may take as long as a call does


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


class _EndlessError(Exception):
    """A server's list of tools that does not end."""


def call(options: CallOptions) -> int:
    """Call a tool; return 0 where every call succeeded, else 1. Raises ``ConfigError``."""
    try:
        arguments = json.loads(options.arguments)
    except ValueError as error:
        raise ConfigError(f"call: the arguments are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise ConfigError('call: the arguments must be a JSON object, such as {"path": "a.txt"}')
    work = _call_once if options.repeat == 1 else _call_often
    return asyncio.run(work(options, arguments))


def tools(options: CallOptions) -> int:
    """Show a server's tools. Raises ``ConfigError``."""
    return asyncio.run(_tools(options))


async def _call_once(options: CallOptions, arguments: dict[str, Any]) -> int:
    async with _client(options) as client:
        await _learn(client, options.tool)
        try:
            result = await client.call_tool(options.tool, arguments)
        except Exception as error:  # noqa: BLE001  an outcome, whatever it is; the exit code says so
            sys.stderr.write(f"mcp-exporter: call: {_reason(error)}\n")
            return 1
    if options.is_json:
        text = result.model_dump_json(by_alias=True, exclude_none=True, indent=2)
    else:
        text = "\n".join(_texts(result))
    sys.stdout.write(f"{text}\n")
    return int(bool(result.is_error))


async def _call_often(options: CallOptions, arguments: dict[str, Any]) -> int:
    result, bar = LoadResult(), _Bar(options.repeat)
    written: list[RecordedRequest] = []

    async def on_request(request: httpx2.Request) -> None:
        if request.method != "POST":
            return
        recorded = RecordedRequest.read(request.headers.raw, request.content)
        if recorded.message.get("method") == "tools/call":
            written.append(recorded)

    async with _client(options, on_request) as client:
        await _learn(client, options.tool)
        result.note(None, await _failure(client, options.tool, arguments))
        began = perf_counter()
        if written:
            load = Load(_url(options), written[0], result)
            await load.run(options.repeat - 1, options.concurrency, bar.show)
        elapsed = perf_counter() - began
    bar.end()
    if not written:
        raise ConfigError(f"call: the SDK did not send it: {result.first_failure}")
    sys.stdout.write(printable(result.summary(elapsed), _KEPT))
    return int(result.failures > 0)


async def _failure(client: Client, tool: str, arguments: dict[str, Any]) -> str | None:
    try:
        result = await client.call_tool(tool, arguments)
    except Exception as error:  # noqa: BLE001  an outcome, whatever it is
        return _reason(error)
    return " ".join(_texts(result)) or NO_TEXT if result.is_error else None


async def _learn(client: Client, tool: str) -> None:
    """Let the SDK read what the server says of a tool.

    From that it knows which arguments are to be repeated in headers (revision 2026-07-28).
    """
    with contextlib.suppress(Exception):  # a server that cannot list its tools may still have it
        async for each in _listed(client):
            if each.name == tool:
                return


async def _listed(client: Client) -> AsyncIterator[Tool]:
    """The tools, page by page. Raises ``_EndlessError`` where the pages go in a circle."""
    cursor = None
    seen: set[str] = set()
    while cursor not in seen and len(seen) < _MAX_PAGES:
        seen.update([cursor] if cursor else [])
        page = await client.list_tools(cursor=cursor)
        for tool in page.tools:
            yield tool
        cursor = page.next_cursor
        if not cursor:
            return
    raise _EndlessError(f"its list of tools does not end: page {len(seen) + 1} is no new one")


async def _tools(options: CallOptions) -> int:
    found: list[Tool] = []
    problem = ""
    async with _client(options) as client:
        try:
            async for tool in _listed(client):
                found.append(tool)
        except _EndlessError as error:
            problem = f"mcp-exporter: tools: {options.server}: {error}; shown is what came first\n"
    _show_tools(found, options.is_json)
    sys.stderr.write(problem)
    return int(bool(problem))


def _show_tools(found: Sequence[Tool], is_json: bool) -> None:
    if is_json:
        listed = [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in found]
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return
    rows = [(tool.name, (tool.description or "").strip().partition("\n")[0]) for tool in found]
    sys.stdout.write("".join(f"{line}\n" for line in table(("TOOL", "DESCRIPTION"), rows)))


@asynccontextmanager
async def _client(
    options: CallOptions, on_request: RequestHook | None = None
) -> AsyncIterator[Client]:
    """A connected client; whatever breaks it is one line. ``on_request`` gets each HTTP request."""
    url = _url(options)
    headers = _headers(options.token_file)
    try:
        info = Implementation(name="mcp-exporter", version=__version__)
        async with httpx2.AsyncClient(
            headers=headers,
            timeout=_TIMEOUT,
            event_hooks={"request": [on_request] if on_request else []},
            verify=client_context(),  # SSL_CERT_FILE counts for this machine too
            trust_env=not is_local(url),  # no proxy stands between this machine's own processes
        ) as http_client:
            transport = streamable_http_client(url, http_client=http_client)
            async with Client(transport, client_info=info) as client:
                yield client
    except Exception as error:  # noqa: BLE001  the SDK has no family of its own for them
        raise ConfigError(
            f"{url}: {_reason(error)}; is the exporter running, and is there such a server?"
        ) from None


def _url(options: CallOptions) -> str:
    return f"{options.url.rstrip('/')}/{quote(options.server)}/mcp"


def _headers(token_file: Path | None) -> dict[str, str]:
    """What lets us in: the first token of the file."""
    if token_file is None:
        return {}
    return {"Authorization": f"Bearer {next(iter(tokens.secrets(token_file).values()))}"}


def _texts(result: CallToolResult) -> Iterator[str]:
    for content in result.content:
        text = getattr(content, "text", None)
        yield printable(text, _KEPT) if isinstance(text, str) else f"({content.type})"


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return printable(str(error).replace("\n", " ") or type(error).__name__)


class _Bar:
    """A progress bar on a terminal; elsewhere it shows nothing."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._is_shown = sys.stderr.isatty()
        self._next = 0.0

    def show(self, done: int) -> None:
        """Draw that so many are done."""
        if self._is_shown and perf_counter() >= self._next:
            self._next = perf_counter() + 0.1
            filled = _BAR * done // self._total
            sys.stderr.write(f"\r[{'#' * filled}{' ' * (_BAR - filled)}] {done}/{self._total}")
            sys.stderr.flush()

    def end(self) -> None:
        """Clear the line."""
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")

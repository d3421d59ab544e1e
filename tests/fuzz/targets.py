"""What is fuzzed: each target takes bytes, and raises where a promise is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import msgspec

from exporter.cli.desktop import rewrite
from exporter.cli.desktop.rewrite import ExporterRoute
from exporter.cli.desktop.syntax import JSON, TOML
from exporter.config.errors import ConfigError
from exporter.config.load import parse_config
from exporter.config.model import Config
from exporter.protocol import header_encoding, sse, surrogates, tool_page
from exporter.protocol import jsonrpc as message
from exporter.protocol.lines import LineCutter
from exporter.relay.stdio.param_headers import ParamHeaders
from tests.support.fakes import bare_request
from tests.support.raw_server import cut

Target = Callable[[bytes], None]

LIMIT = 64
ROUTE = ExporterRoute(
    ["mcp-exporter"], {"files": ("https://files.example.com/mcp", "http://127.0.0.1/x")}
)


def pieces(data: bytes) -> list[bytes]:
    """The data, cut anywhere, but each time at the same places."""
    seed = len(data) + sum(data[:8])
    return list(cut(data, seed, Random(seed).choice([1, 3, 17, 200])))


def read_message(data: bytes) -> None:
    """Messages and batches: nothing is raised, and parts are parts."""
    message.read(data)
    message.read_all(data)
    tool_page.read_tools(data)
    assert len(surrogates.readable(data)) == len(data)
    for part in message.split(data):
        assert part in data
        message.read(part)
    with suppress(ValueError):
        for raw in message.members(data).values():
            assert bytes(raw) in data


def read_events(data: bytes) -> None:
    """Event streams: how they are cut does not matter, and no more is kept than allowed."""
    whole = sse.EventReader(LIMIT)
    expected = whole.feed(data)
    reader = sse.EventReader(LIMIT)
    found = []
    for piece in pieces(data):
        found += reader.feed(piece)
        assert len(reader._rest) <= LIMIT + 3, reader._rest
    assert (found, reader.oversized) == (expected, whole.oversized)
    for event in found:
        assert len(event.data) <= LIMIT


def read_lines(data: bytes) -> None:
    """Lines of children: how they come does not matter, and one that is too long is not kept."""
    whole = [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]
    for limit in (len(data), LIMIT):
        lines, found = LineCutter(limit), []
        for piece in pieces(data):
            lines.feed(piece)
            found += list(lines)
            assert len(lines._begun) <= limit
        kept = [line for line in found if line is not None]
        assert kept == [line for line in whole if line in kept]
        assert len(found) == len(whole)


def read_configuration(data: bytes) -> None:
    """Configurations: one, or one line that says why not."""
    text = data.decode("utf-8", "surrogateescape")
    for source in ("mcp.json", "mcp.yml"):
        complaint = ""
        try:
            assert isinstance(parse_config(text, source, {"HOME": "/home"}), Config)
        except ConfigError as problem:
            complaint = str(problem)
        assert complaint.isprintable(), complaint


def read_client_file(data: bytes) -> None:
    """Files of clients: what is rewritten can be read, and need not be rewritten again."""
    text = data.decode("utf-8", "surrogateescape")
    for syntax in (JSON, TOML):
        try:
            found = rewrite.find(text, ROUTE, syntax)
        except ValueError:
            continue
        once = rewrite.apply(text, found)
        assert rewrite.apply(once, rewrite.find(once, ROUTE, syntax)) == once


def read_headers(data: bytes) -> None:
    """Headers that repeat arguments: refused with a reason, or not."""
    head, _, rest = data.partition(b"\n")
    schema, _, body = rest.partition(b"\n")
    header_encoding.decoded(head)
    headers = ParamHeaders()
    headers.learn({"tool": schema})
    request = bare_request(b"", Mcp_Param_Region=head, Mcp_Param_Count=head)
    reason = headers.check(request, "tool", msgspec.Raw(body))
    assert reason is None or reason.startswith("the header mcp-param-")
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        json.dumps(msgspec.json.decode(body))


PLAIN: dict[str, Target] = {
    "message": read_message,
    "events": read_events,
    "lines": read_lines,
    "configuration": read_configuration,
    "client_file": read_client_file,
    "headers": read_headers,
}
"""The targets that need no event loop."""

CORPUS = Path(__file__).parent / "corpus"


def seeds(target: str) -> list[bytes]:
    """The kept inputs of a target, in a fixed order."""
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]

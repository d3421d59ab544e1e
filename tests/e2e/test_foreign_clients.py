"""Clients that nobody here wrote, at odd servers: directly and through the exporter."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from bench import peers
from scripts.debian import UnavailableError
from tests import foreign
from tests.conformance.toolchain import ToolchainError
from tests.foreign.clients import Clients, Task
from tests.misbehaving.odd_replies import KINDS, LARGE, script
from tests.misbehaving.odd_streams import STREAMS, Streams
from tests.support.exporting import Exporter, Scrape, exporter
from tests.support.misbehaving_servers import stdio
from tests.support.paths import ROOT
from tests.support.raw_server import serving
from tests.support.running import wait_for

Json = dict[str, Any]

MOVED = ("moved", "moved-absolute")
"""Redirects are not followed: the server's last error says which URL to write."""

HANGING = {("null-id", "fastmcp"), ("sse-mark", "fastmcp"), ("sse-float-ids", "fastmcp")} | {
    (kind, client) for kind in ("events-cr", "events-many-lines-cr") for client in ("v1", "v2")
}
"""What a client waits for in vain, whatever stands in between."""

CHILDREN = ("legacy", "noisy", "text_ids", "large", "loud")
AT_CHILDREN = ("v1", "fastmcp")


@dataclass(frozen=True)
class Outside:
    """What the clients got, by kind, client and way, and what the exporter has of it."""

    said: dict[str, Json]
    scrape: Scrape
    running: Exporter

    def steps(self, kind: str, way: str) -> dict[str, Json]:
        """By client, what it got in each step that did not fail."""
        ends = f"/{way}"
        mine = {k: v for k, v in self.said.items() if k.startswith(f"{kind}/") and k.endswith(ends)}
        return {key.split("/")[1]: _worked(said) for key, said in mine.items()}

    def called(self, kind: str, *ways: str) -> int:
        """How many clients came as far as to call a tool."""
        keys = [f"{kind}/{client}/{way}" for client in Clients.names for way in ways]
        return sum("call" in self.said.get(key, {}) for key in keys)


def _worked(said: Json) -> Json:
    return {k: v for k, v in said.items() if not (isinstance(v, dict) and "failed" in v)}


@pytest.fixture(scope="module")
def clients() -> Clients:
    try:
        return Clients(foreign.install(), peers.provide("fastmcp") / "python")
    except (ToolchainError, UnavailableError) as reason:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the clients of others cannot be installed: {reason}")


@pytest.fixture(scope="module")
def over_http(tmp_path_factory: pytest.TempPathFactory, clients: Clients) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("odd")
    with serving(script) as replies, serving(Streams().script) as streams:
        servers = {
            kind: {"type": "http", "url": replies.url.replace("/mcp", f"/{kind}/mcp")}
            for kind in KINDS
        } | {
            kind: {"type": "sse", "url": streams.url.replace("/mcp", f"/{kind}/sse")}
            for kind in STREAMS
        }
        with exporter(folder, servers, limits={"observed_bytes": LARGE // 2}) as running:
            tasks = [
                Task(f"{kind}/{client}/{way}", client, entry["type"], target)
                for kind, entry in servers.items()
                for client in Clients.names
                if (kind, client) not in HANGING
                for way, target in (("direct", entry["url"]), ("relayed", _relayed(running, kind)))
            ]
            said = clients.call(tasks)
            yield Outside(said, running.scrape(), running)


def _relayed(running: Exporter, kind: str) -> str:
    url = running.url(kind)
    return url.removesuffix("/mcp") + "/sse" if kind in STREAMS else url


@pytest.mark.parametrize("kind", [kind for kind in [*KINDS, *STREAMS] if kind not in MOVED])
def test_a_client_gets_the_same_through_the_exporter(over_http: Outside, kind: str) -> None:
    direct = over_http.steps(kind, "direct")
    assert any("connect" in said for said in direct.values())
    assert over_http.steps(kind, "relayed") == direct


@pytest.mark.parametrize("kind", [*KINDS, *STREAMS])
def test_each_call_has_the_outcome_of_its_kind(over_http: Outside, kind: str) -> None:
    count = over_http.called(kind, "relayed")
    expected = KINDS[kind].outcome if kind in KINDS else "ok"
    found = over_http.scrape.outcomes(kind, method="tools/call")
    assert found == ({expected: count} if count else {})
    reason = KINDS[kind].unparsed if kind in KINDS else ""
    unparsed = over_http.scrape.by("reason", "mcp_exporter_unparsed_messages_total", server=kind)
    assert unparsed == ({reason: count} if reason else {})


@pytest.mark.parametrize("kind", MOVED)
def test_a_redirect_is_explained(over_http: Outside, kind: str) -> None:
    assert all("ping" in said for said in over_http.steps(kind, "direct").values())
    assert not any(over_http.steps(kind, "relayed").values())
    assert f"/{kind}/mcp/; write that as the url" in over_http.running.explain(kind)


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory, clients: Clients) -> Iterator[Outside]:
    folder = tmp_path_factory.mktemp("children")
    socket = str(folder / "wrap.sock")
    servers = {mode: stdio(mode) for mode in CHILDREN}
    with exporter(folder, servers, "--wrap.socket", socket) as running:
        said = clients.call(
            [
                Task(f"{mode}/{client}/{way}", client, transport, target)
                for mode in CHILDREN
                for client in AT_CHILDREN
                for way, transport, target in (
                    ("direct", "stdio", command(mode)),
                    ("wrapped", "stdio", [*wrap(socket, f"wrapped-{mode}"), *command(mode)]),
                    ("relayed", "http", running.url(mode)),
                )
            ]
        )
        yield Outside(said, running.scrape(), running)


def command(mode: str) -> list[str]:
    entry = stdio(mode)
    return ["env", f"PYTHONPATH={ROOT}", entry["command"], *entry["args"]]


def wrap(socket: str, name: str) -> list[str]:
    program = [sys.executable, "-m", "exporter", "wrap", "--wrap.socket", socket, name, "--"]
    return ["env", f"PYTHONPATH={ROOT}", *program]


@pytest.mark.parametrize("mode", CHILDREN)
def test_a_client_gets_the_same_of_a_child(children: Outside, mode: str) -> None:
    direct = children.steps(mode, "direct")
    assert any("connect" in said for said in direct.values())
    assert children.steps(mode, "wrapped") == direct
    assert children.steps(mode, "relayed") == direct


@pytest.mark.parametrize("mode", CHILDREN)
def test_the_calls_of_a_child_are_counted(children: Outside, mode: str) -> None:
    for server, way in ((mode, "relayed"), (f"wrapped-{mode}", "wrapped")):
        expected = {"ok": float(children.called(mode, way))}
        wait_for(partial(has, children.running, server, expected), 60, f"{expected} of {server}")


def has(running: Exporter, server: str, expected: dict[str, float]) -> bool:
    return running.scrape().outcomes(server, method="tools/call") == expected

"""A probe of a stdio server meets its child in the newest era, and keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.identity import Identity
from exporter.probe.replies import LONGEST
from exporter.probe.stdio import NOISE_A_SECOND, SILENCE, StdioTarget
from exporter.probe.target import Era, ProbeResult
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import Fault, UpstreamError
from exporter.transport.process.child import ChildOwner
from exporter.transport.process.reaper import Reaper
from tests.support.fakes import (
    FakeChild,
    Telemetry,
    error,
    on_fake_time,
    result,
    virtual_loop,
)
from tests.support.probe_fakes import ProbeLog, refusal_of_version

TIMEOUT = 5.0
SERVER = Server("files", "stdio", command="serve", probe=ProbeSettings(timeout=TIMEOUT))
INFO = {"name": "fake", "version": "9"}
DISCOVERED = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
}
INITIALIZED = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": INFO}

Replies = Callable[[Any], object]


class ScriptedChild(FakeChild):
    """A child that replies by a script as soon as it is asked; ``None`` for silence."""

    def __init__(
        self, owner: ChildOwner, use: str, script: Replies, on_stderr: Callable[[bytes], None]
    ) -> None:
        super().__init__(owner, use)
        self.script = script
        self.on_stderr = on_stderr

    def send(self, line: bytes) -> None:
        super().send(line)
        virtual_loop().call_soon(self._reply, msgspec.json.decode(line))

    def _reply(self, message: Any) -> None:
        reply = self.script(message)
        if reply is not None and self.owner is not None:
            self.say(reply)

    @property
    def asked(self) -> list[str]:
        return [message.get("method", "(reply)") for message in self.heard]


def legacy(message: Any) -> object:
    if message.get("method") == "initialize":
        return result(message["id"], **INITIALIZED)
    if message.get("method") in ("ping", "tools/list"):
        return result(message["id"], tools=[])
    return error(message["id"], -32601) if "id" in message else None


def modern(message: Any) -> object:
    if message["method"] == "server/discover":
        return result(message["id"], **DISCOVERED)
    return error(message["id"], -32022) if "id" in message else None


def silent(_: Any) -> object:
    return None


class Probed:
    """A probe, and the children that it started."""

    def __init__(self, script: Replies, server: Server = SERVER) -> None:
        self.script = script
        self.children: list[ScriptedChild] = []
        self.events = ProbeLog()
        recorder = Telemetry(transport="stdio").recorder
        self.target = StdioTarget(server, recorder, Reaper(), self.events)
        self.transcript = Transcript(self.target.redact)

    def start(
        self,
        server: Server,
        owner: ChildOwner,
        *others: Any,
        on_stderr: Callable[[bytes], None],
    ) -> Any:
        *_, use, max_line = others
        assert (server.command, use, max_line) == ("serve", "probe", LONGEST)
        self.children.append(ScriptedChild(owner, use, self.script, on_stderr))
        return self.children[-1]

    async def run(self, until: float = TIMEOUT) -> ProbeResult:
        self.transcript = Transcript(self.target.redact)
        with patch("exporter.probe.stdio.Child", self.start):
            ends_at = virtual_loop().time() + until
            ended = await self.target.check(self.transcript, TIMEOUT, ends_at)
        self.target.detach()
        return ended

    @property
    def said(self) -> str:
        return "\n".join(f"{step.kind}: {step.text}" for step in self.transcript.steps)


# Eras


@on_fake_time
async def test_a_child_of_the_newer_era_is_asked_to_discover() -> None:
    probed = Probed(modern)
    for _ in range(3):
        assert (await probed.run()).value == "success"
    (child,) = probed.children
    assert child.asked == ["server/discover"] * 4  # the first probe asks once more than it greets
    assert probed.target.era is Era.MODERN
    assert probed.target.identity == Identity("fake", "9", "2026-07-28")


@on_fake_time
async def test_a_child_of_the_older_era_is_initialized_once_and_pinged() -> None:
    probed = Probed(legacy)
    for _ in range(3):
        assert (await probed.run()).value == "success"
    (child,) = probed.children
    greeting = ["server/discover", "initialize", "notifications/initialized"]
    assert child.asked == [*greeting, "ping", "ping", "ping"]
    assert probed.target.era is Era.LEGACY
    assert probed.target.identity == Identity("fake", "9", "2025-06-18", has_tools=False)


@on_fake_time
async def test_silence_on_discover_is_followed_by_initialize() -> None:
    probed = Probed(lambda m: None if m.get("method") == "server/discover" else legacy(m))
    ended = await probed.run()
    assert (ended.value, ended.seconds) == ("success", 2.0)
    assert (await probed.run()).seconds == 0.0


@on_fake_time
async def test_the_first_of_two_greetings_that_is_accepted_decides() -> None:
    probed = Probed(silent)
    run = asyncio.create_task(probed.run(until=20.0))
    await asyncio.sleep(3.0)
    child = probed.children[0]
    assert child.asked == ["server/discover", "initialize"]
    child.script = modern
    child.say(result(1, **DISCOVERED))
    child.say(error(2, -32022))
    assert (await run).value == "success"
    assert probed.target.era is Era.MODERN


@on_fake_time
async def test_a_server_that_refuses_every_greeting_is_alive() -> None:
    probed = Probed(lambda m: error(m["id"], -32603))
    for _ in range(2):
        ended = await probed.run()
        assert (ended.value, ended.reason) == (
            "success",
            "replied to initialize with JSON-RPC error -32603",
        )
    assert probed.target.era is Era.UNKNOWN
    assert len(probed.children) == 1


@on_fake_time
async def test_a_server_is_asked_in_the_version_that_it_offers() -> None:
    def choosy(message: Any) -> object:
        if message.get("method") != "initialize":
            return legacy(message)
        if message["params"]["protocolVersion"] == "2024-11-05":
            return result(message["id"], **INITIALIZED)
        return refusal_of_version(message["id"], "2024-11-05")

    probed = Probed(choosy)
    assert (await probed.run()).value == "success"
    (child,) = probed.children
    greeting = ["server/discover", "initialize", "initialize", "notifications/initialized"]
    assert child.asked == [*greeting, "ping"]


@pytest.mark.parametrize(("code", "era"), [(-32601, Era.LEGACY), (-32600, Era.UNKNOWN)])
def test_an_error_instead_of_a_pong_proves_life(code: int, era: Era) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed(lambda m: error(m["id"], code) if m.get("method") == "ping" else legacy(m))
        ended = await probed.run()
        assert ended.value == "success"
        assert ended.reason == f"replied to ping with JSON-RPC error {code}"
        assert probed.target.era is era

    run()


# Starting, stopping, hanging


@on_fake_time
async def test_a_child_that_starts_slowly_is_given_until_the_end() -> None:
    probed = Probed(silent)
    run = asyncio.create_task(probed.run(until=27.0))
    await asyncio.sleep(20.0)
    probed.children[0].script = legacy
    probed.children[0].say(error(1, -32601))
    probed.children[0].say(result(2, **INITIALIZED))
    ended = await run
    assert (ended.value, ended.seconds) == ("success", 20.0)


@on_fake_time
async def test_only_the_probe_that_starts_a_child_waits_longer_and_the_child_is_kept() -> None:
    probed = Probed(silent)
    first, second = await probed.run(until=27.0), await probed.run(until=27.0)
    assert (first.value, first.seconds) == ("timeout", 27.0)
    assert first.reason == "no reply to server/discover and initialize within 27 s"
    assert (second.value, second.seconds) == ("timeout", 5.0)
    assert "still waiting for the reply to an earlier probe" in probed.said
    assert len(probed.children) == 1
    assert probed.children[0].asked == ["server/discover", "initialize"]


@on_fake_time
async def test_a_child_that_does_not_reply_to_a_ping_has_timed_out() -> None:
    probed = Probed(legacy)
    await probed.run()
    probed.children[0].script = silent
    ended = await probed.run()
    assert (ended.value, ended.reason) == ("timeout", "no reply to ping within 5 s")


@on_fake_time
async def test_a_reply_that_comes_too_late_disturbs_nothing() -> None:
    probed = Probed(legacy)
    await probed.run()
    child = probed.children[0]
    child.script = silent
    await probed.run()
    child.say(result(3))
    child.script = legacy
    assert (await probed.run()).value == "success"
    assert len(probed.children) == 1


@on_fake_time
async def test_a_child_that_is_silent_for_long_is_replaced() -> None:
    probed = Probed(legacy)
    await probed.run()
    probed.children[0].script = silent
    await probed.run()
    await asyncio.sleep(SILENCE)
    assert (await probed.run()).value == "success"
    assert [child.is_stopped for child in probed.children] == [True, False]
    assert f"note: silent for {SILENCE:g} s: starting it anew" in probed.said


@on_fake_time
async def test_a_child_that_nobody_asked_for_long_is_not_replaced() -> None:
    probed = Probed(legacy)
    await probed.run()
    await asyncio.sleep(10 * SILENCE)
    await probed.run()
    assert len(probed.children) == 1


@pytest.mark.parametrize(
    ("fault", "found"), [(Fault.EXIT, "process_exit"), (Fault.CONNECTION, "connect_error")]
)
def test_a_child_that_is_lost_during_a_probe_fails_it(fault: Fault, found: str) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed(silent)
        task = asyncio.create_task(probed.run())
        await asyncio.sleep(0.1)
        probed.target.child_lost(UpstreamError("exited with code 3", fault))
        ended = await task
        assert (ended.value, ended.reason) == (found, "exited with code 3")
        assert probed.events.exits == []
        probed.script = legacy
        assert (await probed.run()).value == "success"
        assert len(probed.children) == 2

    run()


@on_fake_time
async def test_a_child_that_is_lost_between_probes_is_told_at_once() -> None:
    probed = Probed(modern)
    await probed.run()
    probed.target.child_lost(UpstreamError("exited with code 0", Fault.EXIT))
    assert probed.events.exits == ["exited with code 0"]
    probed.script = legacy
    assert (await probed.run()).value == "success"
    assert probed.target.era is Era.LEGACY


@on_fake_time
async def test_the_child_ends_with_its_probe() -> None:
    probed = Probed(modern)
    await probed.run()
    await probed.target.close()
    assert probed.children[0].is_stopped


# What a child says of its own accord


@on_fake_time
async def test_a_child_of_the_newer_era_is_listened_to_if_it_tells_changes() -> None:
    capable = {**DISCOVERED, "capabilities": {"tools": {"listChanged": True}}}

    def telling(message: Any) -> object:
        return result(message["id"], **capable) if message["method"] == "server/discover" else None

    probed = Probed(telling)
    await probed.run()
    await probed.run()
    child = probed.children[0]
    assert child.asked.count("subscriptions/listen") == 1
    listening = child.heard[1]["params"]
    assert listening["notifications"] == {"toolsListChanged": True}


@on_fake_time
async def test_noise_is_shown_and_otherwise_ignored() -> None:
    probed = Probed(silent)
    task = asyncio.create_task(probed.run())
    await asyncio.sleep(0.1)
    child = probed.children[0]
    child.script = legacy
    for noise in (b"Listening", b'{"jsonrpc": "2.0", "id": 1, "resu', b"[1]", b'{"level":"info"}'):
        child.say(noise)
    child.on_stderr(b"starting up")
    child.say(error(1, -32601))
    assert (await task).value == "success"
    assert "noise: Listening" in probed.said
    assert "stderr: starting up" in probed.said


@pytest.mark.parametrize("line", [b"x", b"x" * LONGEST])
def test_a_child_that_babbles_is_read_at_a_bounded_pace(line: bytes) -> None:
    @on_fake_time
    async def run() -> None:
        probed = Probed(legacy)
        await probed.run()
        child = probed.children[0]
        began, heard = virtual_loop().time(), 0
        while heard < 10 * NOISE_A_SECOND:
            if child.is_paused:
                await asyncio.sleep(0.01)
                continue
            child.say(line)
            heard += max(len(line), 256)
        assert virtual_loop().time() - began > 7.9

    run()


@pytest.fixture(autouse=True)
def no_reaper() -> Iterator[None]:
    with patch.object(Reaper, "_start", side_effect=AssertionError("a process was started")):
        yield

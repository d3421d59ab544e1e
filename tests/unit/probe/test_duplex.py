"""Over a connection that carries messages both ways, replies are found by their ids."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from exporter.config.model import ProbeSettings, Server
from exporter.probe.duplex import DuplexTarget
from exporter.probe.target import Era, ProbeResult
from exporter.probe.transcript import Transcript
from exporter.protocol.failures import UpstreamError
from tests.support.fakes import encoded, notification, on_fake_time, result, settle, virtual_loop
from tests.support.probe_fakes import ProbeLog

SERVER = Server("files", "sse", url="http://server/sse", probe=ProbeSettings(timeout=5.0))


class LineTarget(DuplexTarget):
    """Keeps what is written; the test is the server."""

    def __init__(self) -> None:
        self.log = ProbeLog()
        super().__init__(SERVER, self.log)
        self.era = Era.LEGACY
        self.transcript = Transcript(self.redact)
        self.written: list[Any] = []

    async def close(self) -> None:
        """Nothing is open."""

    async def probe(self) -> ProbeResult:
        self.transcript = Transcript(self.redact)
        return await self.check(self.transcript, 5.0, virtual_loop().time())

    def receive(self, message: object) -> None:
        self._received(message if isinstance(message, bytes) else encoded(message))

    def lose(self, error: Exception) -> bool:
        return self._lost(error)

    @property
    def steps(self) -> list[str]:
        return [f"{step.kind}: {step.text}" for step in self.transcript.steps]

    async def _check(self) -> None:
        await self._ask("ping", {})

    def _write(self, body: bytes) -> None:
        self.written.append(msgspec.json.decode(body))


async def probing(target: LineTarget) -> asyncio.Task[ProbeResult]:
    task = asyncio.create_task(target.probe())
    await settle()
    return task


@on_fake_time
async def test_the_reply_with_the_id_ends_the_request() -> None:
    target = LineTarget()
    task = await probing(target)
    target.receive(result(77))
    await settle()
    assert not task.done()
    target.receive(result(1))
    assert (await task).value == "success"
    assert [step.partition(":")[0] for step in target.steps] == ["sent", "late", "received"]


@on_fake_time
async def test_a_ping_of_the_server_is_replied_to_and_other_requests_are_not_granted() -> None:
    target = LineTarget()
    target.receive({"jsonrpc": "2.0", "id": "you?", "method": "ping"})
    target.receive({"jsonrpc": "2.0", "id": 1, "method": "roots/list"})
    pong, failure = target.written
    assert pong == {"jsonrpc": "2.0", "id": "you?", "result": {}}
    assert (failure["id"], failure["error"]["code"]) == (1, -32601)


@on_fake_time
async def test_changed_tools_are_told() -> None:
    target = LineTarget()
    target.receive(notification("notifications/tools/list_changed"))
    target.receive(notification("notifications/message", level="info"))
    assert target.log.changes == 1


@pytest.mark.parametrize("noise", [b"Listening", b'{"id": 1, "resu', b"[1]", b'{"level":"info"}'])
def test_what_is_no_message_is_noise(noise: bytes) -> None:
    @on_fake_time
    async def run() -> None:
        target = LineTarget()
        task = await probing(target)
        target.receive(noise)
        target.receive(result(1))
        assert (await task).value == "success"
        assert f"noise: {noise.decode()}" in target.steps

    run()


@on_fake_time
async def test_a_lost_connection_fails_the_request_that_waits() -> None:
    target = LineTarget()
    task = await probing(target)
    assert target.lose(UpstreamError("reset"))
    ended = await task
    assert (ended.value, ended.reason) == ("connect_error", "reset")
    assert target.era is Era.UNKNOWN
    assert not target.lose(UpstreamError("reset"))


@on_fake_time
async def test_what_comes_between_probes_never_grows() -> None:
    target = LineTarget()
    for number in range(2000):
        target.receive(result(number + 1000))
        target.receive(b"noise")
        target.receive({"jsonrpc": "2.0", "id": number, "method": "ping"})
    assert len(target._transcript.steps) < 100

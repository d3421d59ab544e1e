"""A lost child is replaced; one that keeps failing is given time."""

from __future__ import annotations

import asyncio

import pytest

from exporter.relay.stdio.children import Backoff
from tests.support.fakes import (
    FakeChild,
    on_fake_time,
    request,
    result,
    settle,
)
from tests.support.stdio_relay import INITIALIZE
from tests.support.stdio_relay import StdioSetup as Setup


@on_fake_time
async def test_a_lost_child_is_replaced_with_the_next_request(children: list[FakeChild]) -> None:
    setup = Setup(children)
    client = setup.modern(1)
    children[0].say(result(1))
    assert client.reply.status == 200
    children[0].die()
    setup.modern(2)
    assert len(children) == 2
    assert setup.telemetry.outcomes() == {"ok": 1}


@on_fake_time
async def test_a_child_that_keeps_failing_is_given_time(children: list[FakeChild]) -> None:
    setup = Setup(children)
    for wait in (0, 1, 2, 4, 8, 16, 30, 30, 30):
        if wait:
            refused = setup.modern("r").reply
            assert refused.status == 503
            assert refused.json["id"] == "r"
            assert "keeps failing" in refused.json["error"]["message"]
            assert int(refused.header(b"Retry-After") or 0) >= wait
            assert setup.post(INITIALIZE).reply.status == 503
            await asyncio.sleep(wait + 0.01)
        before = len(children)
        client = setup.modern(1)
        assert len(children) == before + 1
        children[-1].die()
        assert client.reply.status == 502
        if before == 0:
            setup.modern(1)
            children[-1].die()
    assert set(setup.outcomes) == {"upstream_error"}
    assert setup.telemetry.in_flight == 0
    await setup.upstream.close()


def test_waiting_grows_to_a_limit_and_ends_with_the_first_use() -> None:
    backoff = Backoff()
    waits = []
    for _ in range(2000):
        backoff.ended(was_useful=False, now=100.0)
        waits.append(backoff.remaining(100.0))
    assert waits[:8] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert waits[-1] == 30
    assert backoff.remaining(131.0) == 0
    backoff.ended(was_useful=True, now=200.0)
    backoff.ended(was_useful=False, now=200.0)
    assert backoff.remaining(200.0) == 0


@on_fake_time
async def test_clients_that_leave_early_are_no_fault_of_the_child(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    for _ in range(3):
        setup.post(INITIALIZE).lose(None)
        await settle()
        assert children[-1].is_stopped
    assert setup.post(INITIALIZE).sent == b""
    assert len(children) == 4
    await setup.upstream.close()


@on_fake_time
async def test_a_child_that_does_not_read_gets_no_more(
    children: list[FakeChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = Setup(children)
    session, child = setup.open()
    setup.modern(1)
    monkeypatch.setattr(FakeChild, "is_clogged", True)
    for client in (setup.post(request(5), session), setup.modern(5)):
        assert client.reply.status == 503
        assert client.reply.json["id"] == 5
    assert len(child.lines) == 1
    await setup.upstream.close()

"""A lost child is replaced; one that keeps failing is given time."""

from __future__ import annotations

import asyncio

import pytest

from exporter.relay.stdio.children import Backoff
from tests.support.fakes import (
    FakeChild,
    error,
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


def trials(children: list[FakeChild]) -> list[FakeChild]:
    return [child for child in children if child.use == "trial"]


@on_fake_time
async def test_a_child_that_keeps_failing_is_given_time(children: list[FakeChild]) -> None:
    setup = Setup(children)
    setup.modern(1)
    children[-1].die()
    for wait in (1, 2, 4, 8, 16, 30, 30, 30):
        client = setup.modern(1)
        children[-1].die()
        assert client.reply.status == 502
        trials(children)[-1].die()
        refused = setup.modern("r").reply
        assert refused.status == 503
        assert refused.json["id"] == "r"
        assert "keeps failing" in refused.json["error"]["message"]
        assert int(refused.header(b"Retry-After") or 0) >= wait
        assert setup.post(INITIALIZE).reply.status == 503
        await asyncio.sleep(wait + 0.01)
    assert [child.use for child in children] == ["shared", *["shared", "trial"] * 8]
    assert set(setup.outcomes) == {"upstream_error"}
    assert setup.telemetry.in_flight == 0
    await setup.upstream.close()


@on_fake_time
async def test_a_client_that_makes_its_children_fail_keeps_nobody_out(
    children: list[FakeChild],
) -> None:
    setup = Setup(children)
    for attempt in range(200):
        setup.post(INITIALIZE)
        children[-1].die()
        await settle()
        for child in trials(children):
            if not child.is_stopped:
                assert child.heard[0]["method"] == "initialize"
                child.say(result(1))
        if attempt % 10 == 0:
            setup.open()
        await asyncio.sleep(0.05)
    assert all(child.is_stopped for child in trials(children))
    assert len(trials(children)) <= 200 * 0.05 / Backoff.TRUST + 2
    await setup.upstream.close()


@on_fake_time
async def test_nobody_waits_for_the_end_of_a_trial(children: list[FakeChild]) -> None:
    setup = Setup(children)
    for _ in range(5):
        setup.post(INITIALIZE)
        children[-1].die()
    assert len(trials(children)) == 1
    setup.open()
    trials(children)[0].say(error(1, -32601))
    setup.open()
    await setup.upstream.close()


@on_fake_time
async def test_a_trial_ends_with_its_server_and_takes_no_place(children: list[FakeChild]) -> None:
    setup = Setup(children)
    for _ in range(2):
        setup.modern(1)
        children[-1].die()
    await settle()
    assert children[-1].use == "trial"
    assert setup.upstream.child_count == 0
    await setup.upstream.close()
    assert children[-1].is_stopped
    assert setup.upstream.child_count == 0


def test_waiting_grows_to_a_limit_and_ends_with_the_first_use() -> None:
    backoff, now, waits = Backoff(), 100.0, []
    for _ in range(2000):
        backoff.ended(was_useful=False, now=now)
        if backoff.is_in_doubt(now):
            backoff.tried(False, now)
        waits.append(backoff.remaining(now))
        now += waits[-1]
    assert waits[:8] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert waits[-1] == 30
    backoff.ended(was_useful=True, now=now)
    backoff.ended(was_useful=False, now=now)
    assert not backoff.is_in_doubt(now)


def test_a_trial_that_went_well_is_trusted_for_a_while() -> None:
    backoff = Backoff()
    for now, in_doubt in ((10.0, False), (10.1, True)):
        backoff.ended(was_useful=False, now=now)
        assert backoff.is_in_doubt(now) is in_doubt
    backoff.tried(True, 11.0)
    for now, in_doubt in ((11.0, False), (15.9, False), (16.0, False), (16.0, True)):
        backoff.ended(was_useful=False, now=now)
        assert backoff.is_in_doubt(now) is in_doubt
        assert backoff.remaining(now) == 0


def test_children_that_were_started_before_a_failed_trial_ask_for_no_other() -> None:
    backoff = Backoff()
    for _ in range(2):
        backoff.ended(was_useful=False, now=10.0)
    backoff.tried(False, 10.0)
    for _ in range(5):
        backoff.ended(was_useful=False, now=10.5)
        assert not backoff.is_in_doubt(10.5)
    assert backoff.remaining(11.0) == 0


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

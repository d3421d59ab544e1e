"""A server is tried without a client, and any reply of its own says that it starts."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from exporter.relay.stdio.trial import LONGEST, Trial
from exporter.transport.process.child import Child, ChildOwner
from tests.support.fakes import FakeChild, error, notification, on_fake_time, request, result


class Tried:
    """A trial of a child that the test speaks for."""

    def __init__(self) -> None:
        self.child = FakeChild()
        self.ends: list[bool | None] = []
        self.trial = Trial(self._start, self._done)

    def _start(self, owner: ChildOwner) -> Child:
        self.child.owner = owner
        return cast("Child", self.child)

    def _done(self, child: Child, works: bool | None) -> None:
        assert child is cast("Child", self.child)
        self.ends.append(works)


@pytest.mark.parametrize("reply", [result(1), error(1, -32601), error(None, -32600)])
@on_fake_time
async def test_any_reply_will_do(reply: object) -> None:
    tried = Tried()
    assert [line["method"] for line in tried.child.heard] == ["initialize"]
    tried.child.say(reply)
    assert tried.ends == [True]


@on_fake_time
async def test_what_is_no_reply_says_nothing() -> None:
    tried = Tried()
    for line in (b"listening", notification("notifications/message"), request(1, "ping")):
        tried.child.say(line)
    assert tried.ends == []
    tried.child.die()
    assert tried.ends == [False]


@on_fake_time
async def test_a_server_that_is_silent_for_long_has_failed() -> None:
    tried = Tried()
    await asyncio.sleep(LONGEST - 0.01)
    assert tried.ends == []
    await asyncio.sleep(0.02)
    assert tried.ends == [False]


@on_fake_time
async def test_a_trial_ends_once() -> None:
    tried = Tried()
    tried.trial.cancel()
    tried.child.say(result(1))
    tried.child.die()
    await asyncio.sleep(LONGEST + 1)
    assert tried.ends == [None]

"""A request that waits for another stream is ended where it makes no progress, and forgotten."""

from __future__ import annotations

import asyncio

from msgspec import UNSET

from exporter.config.limits import Timeout
from exporter.relay.http.awaited import AwaitedReplies
from exporter.telemetry.exchange import Exchange, Pending
from tests.support.fakes import Telemetry, on_fake_time, parsed, request, result, virtual_loop


class Setup:
    """Two requests of one session, the first with a token."""

    def __init__(self, total: float | None = 100.0) -> None:
        self.telemetry = Telemetry()
        self.exchange = Exchange(self.telemetry.recorder)
        self.all = AwaitedReplies(Timeout(30, total), self.telemetry.observer, virtual_loop())
        self.first, self.second = (self._begin(number) for number in (1, 2))
        self.all.add(self.exchange, self.first, "p")
        self.all.add(self.exchange, self.second, UNSET)

    def _begin(self, number: int) -> Pending:
        return self.exchange.begin(parsed(request(number)), virtual_loop().time())

    def finish(self) -> None:
        now = virtual_loop().time()
        for number, pending in enumerate((self.first, self.second), 1):
            self.exchange.finish(pending, parsed(result(number)), 10, now)


@on_fake_time
async def test_only_what_makes_progress_goes_on() -> None:
    setup = Setup()
    await asyncio.sleep(20)
    setup.exchange.progressed("p", virtual_loop().time())
    await asyncio.sleep(11)
    assert (setup.first.done, setup.second.done) == (False, True)
    await asyncio.sleep(20)
    assert setup.first.done
    assert setup.telemetry.outcomes() == {"timeout": 2}
    assert len(setup.all) == 0


@on_fake_time
async def test_what_has_its_reply_is_forgotten() -> None:
    setup = Setup()
    setup.all.sweep()
    assert len(setup.all) == 2
    setup.finish()
    setup.all.sweep()
    assert len(setup.all) == 0
    setup.exchange.progressed("p", virtual_loop().time())
    await asyncio.sleep(200)
    assert setup.telemetry.outcomes() == {"ok": 2}


@on_fake_time
async def test_without_progress_the_session_ends_what_is_overdue() -> None:
    assert len(Setup(total=None).all) == 0


@on_fake_time
async def test_nothing_ends_once_it_is_closed() -> None:
    setup = Setup()
    setup.all.close()
    await asyncio.sleep(200)
    assert setup.telemetry.outcomes() == {}

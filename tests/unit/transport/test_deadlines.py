"""Deadlines that share a timer: each passes at its time, in the order of coming."""

from __future__ import annotations

import asyncio

from exporter.config.limits import Timeout
from exporter.transport.deadlines import Deadlines, deadlines_of
from tests.support.fakes import on_fake_time, virtual_loop


class Late:
    """Notes when it expired."""

    def __init__(self, expired: list[tuple[str, float]], name: str) -> None:
        self.expired = expired
        self.name = name

    def expire(self) -> None:
        self.expired.append((self.name, virtual_loop().time()))


class Setup:
    def __init__(self, timeout: float) -> None:
        self.loop = virtual_loop()
        self.expired: list[tuple[str, float]] = []
        self.deadlines: Deadlines[Late] = Deadlines(timeout, lambda late: late.expire(), self.loop)

    def add(self, name: str) -> Late:
        late = Late(self.expired, name)
        self.deadlines.add(late, self.loop.time())
        return late


@on_fake_time
async def test_each_expires_after_its_own_time() -> None:
    setup = Setup(10)
    start = setup.loop.time()
    for name in ("a", "b", "c"):
        setup.add(name)
        await asyncio.sleep(4)
    await asyncio.sleep(30)
    assert setup.expired == [("a", start + 10), ("b", start + 14), ("c", start + 18)]


@on_fake_time
async def test_what_is_done_does_not_expire() -> None:
    setup = Setup(10)
    start = setup.loop.time()
    done = setup.add("done")
    await asyncio.sleep(5)
    setup.add("late")
    setup.deadlines.discard(done)
    setup.deadlines.discard(done)
    await asyncio.sleep(30)
    assert setup.expired == [("late", start + 15)]


@on_fake_time
async def test_the_timer_stands_only_while_something_waits() -> None:
    setup = Setup(10)
    for _ in range(2):
        setup.add("late")
        await asyncio.sleep(11)
        assert setup.deadlines._timer is None
    assert len(setup.expired) == 2


@on_fake_time
async def test_no_timeout_is_never() -> None:
    setup = Setup(0)
    setup.add("patient")
    await asyncio.sleep(1e6)
    assert setup.expired == []


@on_fake_time
async def test_after_the_end_nothing_expires() -> None:
    setup = Setup(10)
    setup.add("late")
    setup.deadlines.close()
    setup.deadlines.close()
    await asyncio.sleep(30)
    assert setup.expired == []


@on_fake_time
async def test_one_that_expires_may_add_and_discard_others() -> None:
    setup = Setup(10)
    other = Late(setup.expired, "other")

    class Meddler(Late):
        def expire(self) -> None:
            super().expire()
            setup.deadlines.discard(other)
            setup.add("next")

    setup.deadlines.add(Meddler(setup.expired, "meddler"), setup.loop.time())
    setup.deadlines.add(other, setup.loop.time())
    await asyncio.sleep(30)
    assert [name for name, _ in setup.expired] == ["meddler", "next"]


@on_fake_time
async def test_one_that_is_added_while_it_expires_has_no_timer_of_its_own() -> None:
    setup = Setup(10)

    class Returning(Late):
        def expire(self) -> None:
            super().expire()
            setup.deadlines.add(self, setup.loop.time())

    start = setup.loop.time()
    setup.deadlines.add(Returning(setup.expired, "again"), start)
    await asyncio.sleep(41)
    assert [at - start for _, at in setup.expired] == [10, 20, 30, 40]
    assert len(setup.loop._scheduled) == 1  # type: ignore[attr-defined]


@on_fake_time
async def test_progress_renews_a_deadline_and_the_total_stands() -> None:
    setup = Setup(10)
    setup.deadlines = deadlines_of(Timeout(10, 25), Late.expire, setup.loop)
    start = setup.loop.time()
    late, silent = setup.add("late"), setup.add("silent")
    for _ in range(5):
        await asyncio.sleep(6)
        setup.deadlines.renew(late, setup.loop.time())
    assert setup.expired == [("silent", start + 10), ("late", start + 25)]
    setup.deadlines.discard(silent)
    setup.deadlines.close()
    await asyncio.sleep(30)
    assert len(setup.expired) == 2


@on_fake_time
async def test_what_is_done_is_not_renewed() -> None:
    setup = Setup(10)
    setup.deadlines = deadlines_of(Timeout(10, 0), Late.expire, setup.loop)
    done = setup.add("done")
    setup.deadlines.discard(done)
    setup.deadlines.renew(done, setup.loop.time())
    await asyncio.sleep(30)
    assert setup.expired == []


@on_fake_time
async def test_without_a_total_progress_changes_nothing() -> None:
    setup = Setup(10)
    setup.deadlines = deadlines_of(Timeout(10), Late.expire, setup.loop)
    late, start = setup.add("late"), setup.loop.time()
    await asyncio.sleep(6)
    setup.deadlines.renew(late, setup.loop.time())
    await asyncio.sleep(30)
    assert setup.expired == [("late", start + 10)]

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


class Scene:
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
    scene = Scene(10)
    start = scene.loop.time()
    for name in ("a", "b", "c"):
        scene.add(name)
        await asyncio.sleep(4)
    await asyncio.sleep(30)
    assert scene.expired == [("a", start + 10), ("b", start + 14), ("c", start + 18)]


@on_fake_time
async def test_what_is_done_does_not_expire() -> None:
    scene = Scene(10)
    start = scene.loop.time()
    done = scene.add("done")
    await asyncio.sleep(5)
    scene.add("late")
    scene.deadlines.discard(done)
    scene.deadlines.discard(done)
    await asyncio.sleep(30)
    assert scene.expired == [("late", start + 15)]


@on_fake_time
async def test_the_timer_stands_only_while_something_waits() -> None:
    scene = Scene(10)
    for _ in range(2):
        scene.add("late")
        await asyncio.sleep(11)
        assert scene.deadlines._timer is None
    assert len(scene.expired) == 2


@on_fake_time
async def test_no_timeout_is_never() -> None:
    scene = Scene(0)
    scene.add("patient")
    await asyncio.sleep(1e6)
    assert scene.expired == []


@on_fake_time
async def test_after_the_end_nothing_expires() -> None:
    scene = Scene(10)
    scene.add("late")
    scene.deadlines.close()
    scene.deadlines.close()
    await asyncio.sleep(30)
    assert scene.expired == []


@on_fake_time
async def test_one_that_expires_may_add_and_discard_others() -> None:
    scene = Scene(10)
    other = Late(scene.expired, "other")

    class Meddler(Late):
        def expire(self) -> None:
            super().expire()
            scene.deadlines.discard(other)
            scene.add("next")

    scene.deadlines.add(Meddler(scene.expired, "meddler"), scene.loop.time())
    scene.deadlines.add(other, scene.loop.time())
    await asyncio.sleep(30)
    assert [name for name, _ in scene.expired] == ["meddler", "next"]


@on_fake_time
async def test_one_that_is_added_while_it_expires_has_no_timer_of_its_own() -> None:
    scene = Scene(10)

    class Returning(Late):
        def expire(self) -> None:
            super().expire()
            scene.deadlines.add(self, scene.loop.time())

    start = scene.loop.time()
    scene.deadlines.add(Returning(scene.expired, "again"), start)
    await asyncio.sleep(41)
    assert [at - start for _, at in scene.expired] == [10, 20, 30, 40]
    assert len(scene.loop._scheduled) == 1  # type: ignore[attr-defined]


@on_fake_time
async def test_progress_renews_a_deadline_and_the_total_stands() -> None:
    scene = Scene(10)
    scene.deadlines = deadlines_of(Timeout(10, 25), Late.expire, scene.loop)
    start = scene.loop.time()
    late, silent = scene.add("late"), scene.add("silent")
    for _ in range(5):
        await asyncio.sleep(6)
        scene.deadlines.renew(late, scene.loop.time())
    assert scene.expired == [("silent", start + 10), ("late", start + 25)]
    scene.deadlines.discard(silent)
    scene.deadlines.close()
    await asyncio.sleep(30)
    assert len(scene.expired) == 2


@on_fake_time
async def test_what_is_done_is_not_renewed() -> None:
    scene = Scene(10)
    scene.deadlines = deadlines_of(Timeout(10, 0), Late.expire, scene.loop)
    done = scene.add("done")
    scene.deadlines.discard(done)
    scene.deadlines.renew(done, scene.loop.time())
    await asyncio.sleep(30)
    assert scene.expired == []


@on_fake_time
async def test_without_a_total_progress_changes_nothing() -> None:
    scene = Scene(10)
    scene.deadlines = deadlines_of(Timeout(10), Late.expire, scene.loop)
    late, start = scene.add("late"), scene.loop.time()
    await asyncio.sleep(6)
    scene.deadlines.renew(late, scene.loop.time())
    await asyncio.sleep(30)
    assert scene.expired == [("late", start + 10)]

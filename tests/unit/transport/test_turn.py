"""What comes in bursts takes a share of each turn of the loop, and is all done in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from exporter.transport import deadlines, turn
from exporter.transport.deadlines import Deadlines
from exporter.transport.turn import SHARE, Turn
from tests.support.fakes import FakeClock, on_fake_time, virtual_loop


class Burst:
    """Pieces of work that each take half a share, and the turns in which they were done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        monkeypatch.setattr(turn, "monotonic", self.clock)
        monkeypatch.setattr(deadlines, "monotonic", self.clock)
        self.done: list[str] = []

    def piece(self, name: str) -> Callable[[], None]:
        def work() -> None:
            self.clock.advance(SHARE / 2)
            self.done.append(name)

        return work

    def steps(self, count: int) -> Iterator[None]:
        for number in range(count):
            self.piece(str(number))()
            yield

    async def turns(self) -> list[int]:
        """How much is done after each turn, from now on."""
        seen = [len(self.done)]
        for _ in range(5):
            await asyncio.sleep(0)
            seen.append(len(self.done))
        return seen


@on_fake_time
async def test_what_does_not_fit_is_done_in_the_next_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    burst, shared = Burst(monkeypatch), Turn(virtual_loop())
    for name in "abcde":
        shared.take(burst.piece(name))
    assert await burst.turns() == [2, 4, 5, 5, 5, 5]
    assert burst.done == list("abcde")


@on_fake_time
async def test_what_comes_alone_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    burst, shared = Burst(monkeypatch), Turn(virtual_loop())
    for name in "abc":
        shared.take(burst.piece(name))
        assert burst.done[-1] == name
        await asyncio.sleep(0)


@on_fake_time
async def test_many_steps_are_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    burst, shared = Burst(monkeypatch), Turn(virtual_loop())
    shared.spread(burst.steps(5))
    assert await burst.turns() == [2, 4, 5, 5, 5, 5]


@on_fake_time
async def test_a_piece_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    burst, shared = Burst(monkeypatch), Turn(virtual_loop())
    failures: list[object] = []
    virtual_loop().set_exception_handler(lambda _, context: failures.append(context))

    def fail() -> None:
        raise ValueError

    for work in (burst.piece("a"), burst.piece("b"), fail, burst.piece("c")):
        shared.take(work)
    await burst.turns()
    assert (burst.done, len(failures)) == (["a", "b", "c"], 1)


@on_fake_time
async def test_deadlines_that_pass_together_share_the_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    burst = Burst(monkeypatch)
    due: Deadlines[str] = Deadlines(10, lambda name: burst.piece(name)(), virtual_loop())
    for name in "abcde":
        due.add(name, burst.clock())
    burst.clock.advance(10)
    seen = []
    while len(burst.done) < 5:
        due._look()
        seen.append("".join(burst.done))
    due.close()
    assert seen == ["ab", "abcd", "abcde"]

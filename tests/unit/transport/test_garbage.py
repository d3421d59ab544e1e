"""What lives long is frozen, and what was frozen and dropped in a cycle is found at last."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from exporter.transport.garbage import GROWTH, FrozenObjects


class Part:
    """One of two that know each other."""

    other: Part


def pair() -> Part:
    first, second = Part(), Part()
    first.other, second.other = second, first
    return first


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    """No collection but those of the test, and nothing stays frozen after it."""
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


@pytest.fixture
def frozen() -> FrozenObjects:
    found = FrozenObjects(large=10**9)
    found.settle()
    return found


def test_what_lives_is_not_visited_again(frozen: FrozenObjects) -> None:
    kept = pair()
    frozen.settle()
    assert kept not in gc.get_objects()
    assert len(gc.get_objects()) < gc.get_freeze_count() / 10


def test_frozen_objects_are_freed_by_their_reference_count(frozen: FrozenObjects) -> None:
    kept = [Part() for _ in range(3)]
    frozen.settle()
    watched = [weakref.ref(part) for part in kept]
    kept.clear()
    assert [part() for part in watched] == [None] * 3


def test_frozen_cycles_that_are_dropped_stay_until_a_fifth_more_is_frozen(
    frozen: FrozenObjects,
) -> None:
    kept = pair()
    frozen.settle()
    dropped = weakref.ref(kept)
    del kept
    frozen.settle()
    assert dropped() is not None
    many: list[list[None]] = [[] for _ in range(int(2 * GROWTH * gc.get_freeze_count()))]
    frozen.settle()
    assert dropped() is None
    assert len(many) < gc.get_freeze_count()


def test_what_comes_and_goes_is_no_growth(frozen: FrozenObjects) -> None:
    kept = pair()
    frozen.settle()
    dropped = weakref.ref(kept)
    del kept
    size = gc.get_freeze_count()
    for _ in range(10):
        many: list[list[None]] = [[] for _ in range(int(size * GROWTH / 2))]
        frozen.settle()
        many.clear()
    assert dropped() is not None, "a full collection, though little has stayed"


def test_where_a_look_at_all_takes_long_it_waits_until_they_have_doubled() -> None:
    frozen = FrozenObjects(large=0)
    frozen.settle()
    kept = pair()
    frozen.settle()
    dropped = weakref.ref(kept)
    del kept
    size = gc.get_freeze_count()
    more: list[list[None]] = [[] for _ in range(size // 2)]
    frozen.settle()
    assert dropped() is not None
    more += [[] for _ in range(size)]
    frozen.settle()
    assert dropped() is None

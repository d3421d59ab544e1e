"""A moment of `make fuzz`: every kept input, some changes of them, and what hypothesis makes up."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz import guided
from tests.fuzz.__main__ import SHARES, execute, opened
from tests.fuzz.mutation import LONGEST, Mutator
from tests.fuzz.targets import CORPUS, PLAIN, seeds
from tests.fuzz.wires import WIRED

SOME = 150


def test_every_target_has_its_share_and_its_seeds() -> None:
    assert PLAIN.keys() | WIRED.keys() == SHARES.keys() == {path.name for path in CORPUS.iterdir()}
    assert set(guided.TARGETS) == PLAIN.keys()
    assert sum(SHARES.values()) == pytest.approx(1)
    assert all(seeds(name) for name in SHARES)


@pytest.mark.parametrize("name", SHARES)
def test_no_input_breaks_a_promise(name: str) -> None:
    mutator = Mutator(seeds(name), seed=1)
    with opened(name) as target:
        for data in seeds(name):
            target(data)
        for _ in range(SOME):
            execute(name, target, mutator.next())


@pytest.mark.parametrize("name", PLAIN)
@given(data=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode()))
@example(data=b"")
def test_nothing_that_hypothesis_makes_up_breaks_a_promise(name: str, data: bytes) -> None:
    PLAIN[name](data)


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, second = (Mutator(seeds("message"), seed=7) for _ in range(2))
    made = [first.next() for _ in range(200)]
    assert made == [second.next() for _ in range(200)]
    assert len(set(made)) > 100
    assert max(map(len, made)) <= LONGEST

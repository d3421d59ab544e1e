"""A stream cut into lines: how it comes does not matter, and nothing in it fills the memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.protocol.lines import LineCutter

Cut = Callable[[LineCutter, bytes], list[bytes | None]]


def cut(lines: LineCutter, data: bytes) -> list[bytes | None]:
    lines.feed(data)
    return list(lines)


def cut_quickly(lines: LineCutter, data: bytes) -> list[bytes | None]:
    """The same by a short cut, where there is one."""
    whole = lines.whole(data)
    return cut(lines, data) if whole is None else [whole]


@pytest.mark.parametrize("cut", [cut, cut_quickly])
@given(parts=st.lists(st.binary(max_size=20) | st.just(b"line\n")))
def test_lines_do_not_depend_on_how_the_stream_comes(cut: Cut, parts: list[bytes]) -> None:
    lines = LineCutter(10_000)
    expected = [each.removesuffix(b"\r") for each in b"".join(parts).split(b"\n")[:-1]]
    assert [each for part in parts for each in cut(lines, part)] == expected


@given(st.lists(st.binary(max_size=20)), st.lists(st.booleans()))
def test_lines_that_were_not_taken_yet_stay_in_front(parts: list[bytes], takes: list[bool]) -> None:
    lines = LineCutter(10_000)
    found: list[bytes | None] = []
    for part, take in zip(parts, [*takes, *[False] * len(parts)], strict=False):
        lines.feed(part)
        if take and (line := next(lines, None)) is not None:
            found.append(line)
    found += list(lines)
    expected = [each.removesuffix(b"\r") for each in b"".join(parts).split(b"\n")[:-1]]
    assert found == expected


def test_a_line_that_is_too_long_costs_only_itself() -> None:
    lines = LineCutter(4)
    assert cut(lines, b"abcdef") == []
    assert cut(lines, b"gh\nok\nabcde\nabcd\n") == [None, b"ok", None, b"abcd"]


def test_a_short_cut_is_taken_for_one_line_within_the_limit_alone() -> None:
    lines = LineCutter(4)
    assert lines.whole(b"abcd\n") == b"abcd"
    assert lines.whole(b"abc\r\n") == b"abc"
    for other in (b"abcde\n", b"a\nb\n", b"abc", b"a\nb", b""):
        assert lines.whole(other) is None
    lines.feed(b"begun")
    list(lines)
    assert lines.whole(b"and ended\n") is None


def test_of_a_line_that_is_too_long_nothing_is_kept() -> None:
    lines = LineCutter(100)
    assert all(cut(lines, b"x" * 30) == [] for _ in range(100))
    assert lines._begun == b""


def test_lines_can_be_passed_over_and_counted() -> None:
    lines = LineCutter(100)
    lines.feed(b"begun")
    assert lines.skip() == 0
    lines.feed(b" and ended\n\nsecond\nthe next")
    assert lines.skip() == 3
    assert cut(lines, b" line\n") == [b"the next line"]


def test_it_is_known_whether_lines_were_left() -> None:
    lines = LineCutter(100)
    lines.feed(b"one\ntwo\nthr")
    assert next(lines) == b"one"
    assert lines.has_unread
    assert list(lines) == [b"two"]
    assert not lines.has_unread


@given(st.binary(min_size=101, max_size=400), st.lists(st.integers(1, 90), max_size=8))
def test_of_a_line_that_is_too_long_the_ends_are_kept(text: bytes, cuts: list[int]) -> None:
    text = text.replace(b"\n", b" ")
    lines = LineCutter(100, ends=30)
    assert cut(lines, b"short\n") == [b"short"]
    left, found = text + b"\nnext\n", []
    for size in cuts:
        found += cut(lines, left[:size])
        left = left[size:]
    found += cut(lines, left)
    assert found == [None, b"next"]
    assert (bytes(lines.head), lines.tail, lines.size) == (text[:30], text[-30:], len(text))

"""How much work something is, without a clock."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def calls(work: Callable[[], object]) -> int:
    """Return how many functions were called, Python's own included.

    It sees loops over pieces that a peer chose the number of, however fast the machine is.
    """
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # what it calls when it runs is nobody's work
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def lines(work: Callable[[], object]) -> int:
    """Return how many lines of Python were run: it sees walks that call nothing, too."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> Any:  # noqa: ARG001
        nonlocal count
        count += event == "line"
        return note

    before = sys.gettrace()
    sys.settrace(note)
    try:
        work()
    finally:
        sys.settrace(before)
    return count

"""Keeps a failure to count from becoming a failure of what is counted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast


class Failing(Protocol):
    """Whoever can count that counting failed."""

    def failed(self, where: str) -> None:
        """Counting failed; what was to be counted went on."""


Method = TypeVar("Method", bound=Callable[..., None])


def harmless(method: Method) -> Method:
    """Make a method that counts harmless for its caller: its failure is itself counted."""

    @functools.wraps(method)
    def safe(self: Failing, *args: Any, **kwargs: Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception:  # noqa: BLE001  observation must never hurt the traffic
            self.failed(method.__name__)

    return cast("Method", safe)

"""Keeps a failure to count from becoming a failure of what is counted.

``guarded`` costs 0.1 to 0.25 µs a call. What each relayed call runs (``began``, ``carried`` and
``spent`` of the recorder, ``client_sent``, ``server_sent`` and ``server_said`` of the observer) has
a ``try`` of its own instead, which costs 0.01 µs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast


class FailureCounter(Protocol):
    """What counts that counting failed."""

    def failed(self, where: str) -> None:
        """Count it; the traffic went on."""


Method = TypeVar("Method", bound=Callable[..., Any])


def guarded(method: Method) -> Method:
    """Let a method never raise: a failure is counted, and it returns ``None``."""
    name = method.__name__

    @functools.wraps(method)
    def safe(self: FailureCounter, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception:  # noqa: BLE001  observation must never hurt the traffic
            self.failed(name)
            return None

    return cast("Method", safe)

"""What the exporter bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many of each at once."""

    requests_per_server: int = 500
    requests_total: int = 1000
    streams_per_server: int = 500
    streams_total: int = 1000
    sessions_per_server: int = 10_000
    children_per_server: int = 256


@dataclass(frozen=True, slots=True)
class Timeout:
    """How long a request may take, in seconds; 0 is no limit.

    With a ``total``, each report of its progress allows it ``seconds`` more, up to ``total``.
    """

    seconds: float
    total: float | None = None

    @property
    def longest(self) -> float:
        """Seconds after which it has failed in any case; 0 for never."""
        return self.seconds if self.total is None else self.total

    def spent(self, elapsed: float, *, has_progressed: bool) -> float:
        """How long a request took that was ended: a timer is late by a moment."""
        if not has_progressed:
            return self.seconds
        return min(elapsed, self.total) if self.total else elapsed

    @property
    def text(self) -> str:
        """What a server did that took longer."""
        if self.total is None:
            return f"did not reply within {self.seconds:g} s"
        end = f", or did not reply within {self.total:g} s" if self.total else ""
        return f"neither replied nor reported progress for {self.seconds:g} s{end}"


DEFAULT_TIMEOUT = Timeout(300.0)

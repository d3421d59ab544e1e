"""What was sent and received in one probe, step by step with times, without secrets."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from exporter.config.model import HIDDEN
from exporter.config.redact import is_sensitive
from exporter.protocol.printable import printable

TEXT_LENGTH = 2000
"""Characters of one step that are kept."""

_REDACTED_LENGTH = 64 * 1024

STEPS_KEPT = 100
"""Steps of one probe that are kept: the first half and the last of them."""

UNASKED_KEPT = 20
"""Steps of one kind that are kept of what came unasked, such as a server's log."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was sent, received or done, ``seconds`` after the probe began."""

    seconds: float
    kind: str
    text: str


class Transcript:
    """Collects the steps of one probe; ``redact`` takes secrets out of them."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self.redact = redact
        self.began = monotonic()
        self._first: list[Step] = []
        self._last: deque[Step] = deque(maxlen=STEPS_KEPT // 2)
        self._left_out = 0
        self._unasked: dict[str, int] = {}

    @property
    def steps(self) -> list[Step]:
        """The steps so far, and how many were left out."""
        elapsed = self.seconds
        text = f"… {self._left_out} more steps"
        middle = [Step(self._last[0].seconds, "note", text)] if self._left_out else []
        unasked = [
            Step(elapsed, kind, f"… {count - UNASKED_KEPT} more such lines")
            for kind, count in self._unasked.items()
            if count > UNASKED_KEPT
        ]
        return [*self._first, *middle, *self._last, *unasked]

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return monotonic() - self.began

    def note(self, kind: str, text: str | bytes) -> None:
        """Add one step, cut to a readable length."""
        # Redacted before it is cut: half a secret would not be known as one.
        redacted = printable(self.redact(_words(text[:_REDACTED_LENGTH])), kept="\n")
        if len(redacted) > TEXT_LENGTH:
            redacted = f"{redacted[:TEXT_LENGTH]}… ({len(text)} in all)"
        self._keep(Step(self.seconds, kind, redacted))

    def _keep(self, step: Step) -> None:
        if len(self._first) < STEPS_KEPT // 2:
            self._first.append(step)
            return
        self._left_out += len(self._last) == self._last.maxlen
        self._last.append(step)

    def note_unasked(self, kind: str, text: bytes) -> None:
        """Add what came unasked, unless there is too much of it."""
        count = self._unasked.get(kind, 0) + 1
        self._unasked[kind] = count
        if count <= UNASKED_KEPT:
            self.note(kind, text)


def describe_headers(headers: list[tuple[bytes, bytes]], hidden: frozenset[bytes]) -> str:
    """The headers, one a line; ``hidden`` ones (in lower case) without their values."""
    return "\n".join(
        [_describe(name, None if name.lower() in hidden else value) for name, value in headers]
    )


@functools.lru_cache(maxsize=2048)
def _describe(name: bytes, value: bytes | None) -> str:
    label = name.decode("latin-1")
    if value is None or is_sensitive(label):
        return f"{label}: {HIDDEN}"
    return f"{label}: {value.decode('latin-1')}"


def _words(text: str | bytes) -> str:
    return text.decode(errors="replace") if isinstance(text, bytes) else text

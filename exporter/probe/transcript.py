"""What was said in one probe, step by step with times, without secrets."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from exporter.config.redact import HIDDEN, is_sensitive

TEXT_LENGTH = 2000
"""Characters of one step that are kept."""

_MASKED_LENGTH = 64 * 1024

OVERHEARD = 20
"""Steps of one kind that are kept of what nobody asked for."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was said or done, ``seconds`` after the probe began."""

    seconds: float
    speaker: str
    text: str


class Transcript:
    """Collects the steps of one probe; ``mask`` takes secrets out of them."""

    def __init__(self, mask: Callable[[str], str]) -> None:
        self.mask = mask
        self.began = monotonic()
        self._steps: list[Step] = []
        self._overheard: dict[str, int] = {}

    @property
    def steps(self) -> list[Step]:
        """The steps so far, and how much of what nobody asked for was left out."""
        elapsed = self.seconds
        left_out = [
            Step(elapsed, speaker, f"… {count - OVERHEARD} more such lines")
            for speaker, count in self._overheard.items()
            if count > OVERHEARD
        ]
        return [*self._steps, *left_out]

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return monotonic() - self.began

    def note(self, speaker: str, text: str | bytes) -> None:
        """Write one step down, cut to a readable length."""
        # Masked before it is cut: half a secret would not be known as one.
        masked = self.mask(_words(text[:_MASKED_LENGTH]))
        if len(masked) > TEXT_LENGTH:
            masked = f"{masked[:TEXT_LENGTH]}… ({len(text)} in all)"
        self._steps.append(Step(self.seconds, speaker, masked))

    def overhear(self, speaker: str, text: bytes) -> None:
        """Write down what nobody asked for, such as a server's log, unless there is too much."""
        count = self._overheard.get(speaker, 0) + 1
        self._overheard[speaker] = count
        if count <= OVERHEARD:
            self.note(speaker, text)


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

"""``/metrics`` as text, rendered in slices so short that the relaying thread does not notice.

Python runs one thread at a time. While a scrape is rendered, every turn of the loop that relays
would wait for the interpreter, as long as the switch interval each time; so rendering stops
after each half of a millisecond and sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from time import perf_counter, sleep
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import exposition as open_metrics_1

from exporter.telemetry.series import Family

SLICE = 0.0005
"""Seconds of rendering at a stretch."""

PAUSE = 0.0002
"""Seconds between two stretches."""


_OPEN = "application/openmetrics-text"

Encoder = Callable[[Any], bytes]


def encoder(accept: str) -> tuple[Encoder, str]:
    """What writes a registry in the format that a client accepts, and that format's media type.

    The text format is the default, also where the header makes no sense. OpenMetrics is
    version 1.0.0 whatever version is asked for: the library would announce that one, and our
    own families are written in no other.
    """
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        encode, content_type = choose_encoder("")
    if content_type.startswith(_OPEN):
        return open_metrics_1.generate_latest, open_metrics_1.CONTENT_TYPE_LATEST
    return encode, content_type


class Exposition:
    """Everything that a scrape shows: families of our own, and the library's collectors.

    ``everything`` holds both, for a scrape of some names alone.
    """

    def __init__(
        self,
        everything: CollectorRegistry,
        families: Sequence[Family[Any]],
        library: CollectorRegistry,
        *,
        pause: Callable[[float], None] = sleep,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._everything = everything
        self._families = families
        self._library = library
        self._pause = pause
        self._clock = clock

    def render(self, accept: str, names: Sequence[str] = ()) -> tuple[Iterator[bytes], str]:
        """The text in pieces, each the work of one slice, and its media type.

        With ``names`` of samples, no others.
        """
        encode, content_type = encoder(accept)
        if names:
            some: bytes = encode(self._everything.restricted_registry(names))
            return iter([some]), content_type
        open_metrics = content_type.startswith(_OPEN)
        others: bytes = encode(self._library)
        lines = chain.from_iterable(each.render(open_metrics) for each in self._families)
        return chain(self._slices(lines), [others]), content_type

    def _slices(self, lines: Iterable[str]) -> Iterator[bytes]:
        piece: list[str] = []
        until = self._clock() + SLICE
        for line in lines:
            piece.append(line)
            if self._clock() > until:
                yield "".join(piece).encode()
                piece.clear()
                self._pause(PAUSE)
                until = self._clock() + SLICE
        yield "".join(piece).encode()

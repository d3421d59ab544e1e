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

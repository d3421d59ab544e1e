"""The exporter, which tells on SIGUSR2 what it holds: its tasks and objects, by their kind.

It writes to the file that the variable ``TOLD`` names. No such thing can be seen from outside.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from exporter.cli.main import main

OF_THE_PROCESS = (
    "probe.history",
    "telemetry.health",
    "telemetry.labels",
    "telemetry.metrics",
    "telemetry.recorder",
    "telemetry.series",
    "transport.http.head",
)
"""Modules whose objects stay: they count what was, not what is."""


def tell(_: int, __: FrameType | None) -> None:
    """Write what there is, whole or not at all."""
    gc.collect()
    found = Counter(name for each in gc.get_objects() if (name := _kind(each)))
    told = Path(os.environ["TOLD"])
    fresh = told.with_suffix(".new")
    fresh.write_text(json.dumps(found))
    fresh.rename(told)


def _kind(thing: object) -> str:
    if isinstance(thing, asyncio.Task):
        return "" if thing.done() else f"task {thing.get_coro().__qualname__}"  # type: ignore[union-attr]
    module, _, name = str(type(thing).__module__).partition(".")
    if module != "exporter" or name in OF_THE_PROCESS:
        return ""
    return f"{name}.{type(thing).__qualname__}"


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, tell)
    sys.exit(main())

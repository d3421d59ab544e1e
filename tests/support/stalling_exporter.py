"""The exporter, whose relaying loop hangs: on SIGUSR1 until the file ``GO_ON`` exists, on SIGUSR2
for good. It counts as stalled soon."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from exporter.app import App
from exporter.cli.main import main
from exporter.web import liveness

STALLED_AFTER = 2.0
FOR_GOOD = 3600.0

_start = App.start


def hang() -> None:
    """Hold the loop."""
    while not Path(os.environ["GO_ON"]).exists():
        time.sleep(0.05)


async def start(self: App) -> None:
    """Start as always, and be ready to hang."""
    await _start(self)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, hang)
    loop.add_signal_handler(signal.SIGUSR2, time.sleep, FOR_GOOD)


if __name__ == "__main__":
    liveness.STALLED_AFTER = STALLED_AFTER
    App.start = start  # type: ignore[method-assign]
    sys.exit(main())

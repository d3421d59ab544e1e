"""The exporter, whose relaying loop hangs for a while on SIGUSR1 and for good on SIGUSR2, and
counts as stalled soon."""

from __future__ import annotations

import asyncio
import signal
import sys
import time

from exporter.app import App
from exporter.cli.main import main
from exporter.web import liveness

STALLED_AFTER = 2.0
HANGS_FOR = 6.0
FOR_GOOD = 3600.0

_start = App.start


async def start(self: App) -> None:
    """Start as always, and be ready to hang."""
    await _start(self)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, time.sleep, HANGS_FOR)
    loop.add_signal_handler(signal.SIGUSR2, time.sleep, FOR_GOOD)


if __name__ == "__main__":
    liveness.STALLED_AFTER = STALLED_AFTER
    App.start = start  # type: ignore[method-assign]
    sys.exit(main())

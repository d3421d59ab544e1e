"""The wish to end, seen only where the demo asks for it, so that no step is torn in the middle."""

from __future__ import annotations

import os
import select
import signal


class EndAskedError(Exception):
    """Ctrl-C was pressed, the process was told to end, or its terminal was closed."""


class Interrupt:
    """Takes SIGINT, SIGTERM and SIGHUP from now on, and remembers that one came."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # One that is ignored stays so: nohup means it.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: None)

    def wait(self, seconds: float) -> None:
        """Wait that long; raises EndAskedError as soon as the end is asked for, or was before."""
        readable, _, _ = select.select([self._reader], [], [], seconds)
        if readable:
            raise EndAskedError

"""The exporter, which takes its time to count what it has replied to, as on a busy machine."""

from __future__ import annotations

import sys
import time

from exporter.cli.main import main
from exporter.protocol.spec import CALL_TOOL
from exporter.telemetry.call import Call
from exporter.telemetry.recorder import ServerRecorder

DELAY = 0.1

_finished = ServerRecorder.finished


def finished(self: ServerRecorder, call: Call) -> None:
    """Count a call when its client has had the reply for long."""
    if call.method == CALL_TOOL:
        time.sleep(DELAY)
    _finished(self, call)


if __name__ == "__main__":
    ServerRecorder.finished = finished  # type: ignore[method-assign]
    sys.exit(main())

"""The exporter with one fault inside: it fails to observe one kind of notification.

No client can make observation fail, but what then shows must be seen.
"""

from __future__ import annotations

import sys

from exporter.cli.main import main
from exporter.telemetry.recorder import ServerRecorder

FATAL = "notifications/roots/list_changed"

_notified = ServerRecorder.notified


def stumble(self: ServerRecorder, method: str | None, to_server: bool) -> None:
    """Observe a notification, but not that one."""
    if method == FATAL:
        raise RuntimeError("observation fails")
    _notified(self, method, to_server)


if __name__ == "__main__":
    ServerRecorder.notified = stumble  # type: ignore[method-assign]
    sys.exit(main())

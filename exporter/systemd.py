"""Tells systemd how we are (sd_notify(3)): ready, reloading, stopping, and still alive.

Without systemd there is no socket, and nothing is sent.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from time import monotonic


class SystemdNotifier:
    """Sends to the socket that systemd names in the environment."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._watchdog_time = _watchdog_time(environ)
        self._next_beat = 0.0

    def ready(self, status: str) -> None:
        """Everything is open, or reloaded."""
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The configuration is read again; ``ready`` ends that."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic() * 1_000_000)}")

    def stopping(self, seconds: float) -> None:
        """No new work is taken, and the end comes within so many seconds."""
        limit = f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}"
        self._tell(f"STOPPING=1\n{limit}\nSTATUS=Lets requests end")

    def alive(self, now: float) -> None:
        """Note that the loop turns; call it often. Systemd is told twice in its watchdog's time."""
        if self._watchdog_time and now >= self._next_beat:
            self._next_beat = now + self._watchdog_time / 2
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        # A manager that reads nothing must not hold up clients.
        with contextlib.suppress(OSError), _datagram() as out:
            out.sendto(text.encode(), self._address)


def _datagram() -> socket.socket:
    out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    out.setblocking(False)
    return out


def _address(text: str) -> str:
    """A path, or a name in Linux' abstract namespace; other kinds (vsock) are not spoken."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _watchdog_time(environ: Mapping[str, str]) -> float:
    """Seconds without a beat after which systemd restarts this process; 0: never."""
    wanted, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    is_ours = not pid or pid == str(os.getpid())
    return int(wanted) / 1_000_000 if wanted.isascii() and wanted.isdigit() and is_ours else 0.0
